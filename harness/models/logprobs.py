"""Log-probabilities of responses, without holding the logits in memory.

    log pi(y|x) = sum over response tokens t of  log softmax(head(h[t-1]))[y[t]]

A causal model gives hidden states (N, T, H); its head computes V logits from each. Holding
(N, T, V) in float32 takes 3.1 GiB for 6 sequences of 1,024 tokens and a vocabulary of 128,256, and
the log-softmax and its gradient take as much again. Here only the positions that predict a response
token reach the head, in tiles of (positions x vocabulary): the forward pass keeps one number per
position, the log of the normaliser, and the backward pass computes each tile again. All arithmetic
after the matrix product is float32 (float64 for float64 models).

Data flow: batch {input_ids, attention_mask, labels} each (N, T), label -100 where nothing is
scored -> hidden states -> `token_logprobs` (N, T-1) -> `sequence_logprobs` (N,) sums and counts.
`gathered_logprobs` returns any few tokens of each position, `top_logprobs` the most likely ones.
`dense_logprobs` is the plain computation on given logits, the reference of tests and benchmarks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from harness.core.errors import BadData
from harness.models.heads import Head, hidden_states, output_head, slope, transform
from harness.models.tokenize import IGNORE

# Bytes of one tile of logits. On a CPU, tiles that stay in the cache are the fastest: 2 to 16 MiB
# took 4.5 to 4.8 s where 64 MiB took 7.8 s (4,608 positions, vocabulary 128,256, 2 cores). A GPU
# needs enough work for each kernel.
TILE_BYTES = {"cpu": 8 << 20, "cuda": 256 << 20}
TILE_ROWS = 512

Batch = Mapping[str, Tensor]


def sequence_logprobs(
    model: nn.Module, batch: Batch, *, tile_bytes: int | None = None
) -> tuple[Tensor, Tensor]:
    """Summed log-probability and number of scored tokens of each sequence.

    Args:
        model: a transformers causal language model.
        batch: `input_ids`, `attention_mask` and `labels`, each (N, T), padded on either side.
        tile_bytes: size of a tile of logits; see `TILE_BYTES`.

    Returns:
        sums (N,) in float32 or float64, 0 for a sequence without labels; counts (N,).

    Raises:
        UserError: a model without a separate output head.
        BadData: `labels` not of the shape of `input_ids`.
    """
    logps, counted = token_logprobs(model, batch, tile_bytes=tile_bytes)
    return logps.sum(dim=1), counted.sum(dim=1)


def token_logprobs(
    model: nn.Module, batch: Batch, *, tile_bytes: int | None = None
) -> tuple[Tensor, Tensor]:
    """Log-probability of every scored token: column t is the token at position t + 1.

    Returns:
        log-probabilities (N, T-1), 0 where nothing is scored; boolean mask (N, T-1).

    Raises:
        UserError, BadData: as for `sequence_logprobs`.
    """
    labels = batch["labels"]
    if labels.shape != batch["input_ids"].shape:
        raise BadData(
            f"labels have shape {tuple(labels.shape)}; expected that of input_ids, "
            f"{tuple(batch['input_ids'].shape)}"
        )
    head = output_head(model)
    hidden = hidden_states(model, batch)[:, :-1]  # the last position predicts nothing
    targets = labels[:, 1:]
    counted = targets != IGNORE  # (N, T-1)
    tokens = targets[counted][:, None]
    values = gathered_logprobs(hidden[counted], head, tokens, tile_bytes=tile_bytes)[:, 0]
    # masked_scatter keeps a batch without any label connected to the model: its gradient is zero.
    return values.new_zeros(counted.shape).masked_scatter(counted, values), counted


def gathered_logprobs(
    hidden: Tensor, head: Head, tokens: Tensor, *, tile_bytes: int | None = None
) -> Tensor:
    """Log-probabilities of some tokens at each position, differentiable.

    Args:
        hidden: (M, H), the positions.
        tokens: (M, m) ids, possibly repeated in a row.

    Returns:
        (M, m) in float32 or float64.
    """
    return _GatheredLogProbs.apply(
        *as_autocast(hidden, head.weight, head.bias),
        tokens,
        (head.scale, head.cap),
        tile_bytes or default_tile_bytes(hidden),
    )


@torch.no_grad()
def top_logprobs(
    hidden: Tensor, head: Head, k: int, tokens: Tensor, *, tile_bytes: int | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """The k largest log-probabilities at each position, and those of given tokens.

    Args:
        hidden: (M, H), the positions.
        tokens: (M, m) ids.

    Returns:
        log-probabilities (M, k), the largest first; their ids (M, k); those of `tokens` (M, m). All
        values of a position are NaN where its logits contain NaN or infinity.
    """
    rows = hidden if mixed_product(hidden) else hidden.to(wide_dtype(hidden))
    sums = _LogSumExp(rows)
    chosen = torch.zeros(tokens.shape, dtype=wide_dtype(hidden), device=rows.device)
    best = torch.full((len(rows), k), -torch.inf, dtype=wide_dtype(hidden), device=rows.device)
    ids = torch.zeros((len(rows), k), dtype=torch.long, device=rows.device)
    head_parts = (head.weight, head.bias, (head.scale, head.cap))
    for tile in _tiles(rows, *head_parts, tile_bytes or default_tile_bytes(hidden)):
        part = tile.rows
        at, inside = tile.places(tokens)
        chosen[part] = torch.where(inside, tile.logits.gather(1, at), chosen[part])
        values, found = tile.logits.topk(min(k, tile.logits.shape[1]), dim=1)
        values, kept = torch.cat([best[part], values], dim=1).topk(k, dim=1)
        ids[part] = torch.cat([ids[part], found + tile.vocabulary.start], dim=1).gather(1, kept)
        best[part] = values
        sums.add(tile)
    normaliser = sums.result()[:, None]
    return best - normaliser, ids, chosen - normaliser


def default_tile_bytes(hidden: Tensor) -> int:
    return TILE_BYTES.get(hidden.device.type, TILE_BYTES["cuda"])


def as_autocast(*tensors: Tensor | None) -> tuple[Tensor | None, ...]:
    """Round the operands of the head as autocast would; products and sums stay wide."""
    device = next(tensor.device.type for tensor in tensors if tensor is not None)
    if not torch.is_autocast_enabled(device):
        return tensors
    dtype = torch.get_autocast_dtype(device)
    return tuple(None if tensor is None else tensor.to(dtype) for tensor in tensors)


def dense_logprobs(
    logits: Tensor, labels: Tensor, *, average: bool = False, released: bool = False
) -> Tensor:
    """Log-probabilities of the labels from whole logits.

    Args:
        logits: (N, T, V); position t predicts label t + 1.
        labels: (N, T); -100 is not scored.
        average: divide by the number of scored tokens.
        released: a sequence without scored tokens averages to NaN, as in the code released with
            SimPO and WRPO; by default the denominator is at least 1.

    Returns:
        (N,)

    Raises:
        BadData: shapes that do not match.
    """
    if logits.shape[:-1] != labels.shape:
        raise BadData(
            f"logits have shape {tuple(logits.shape)} and labels {tuple(labels.shape)}; expected "
            "the same except for the vocabulary"
        )
    targets = labels[:, 1:]
    counted = targets != IGNORE
    logps = logits[:, :-1].log_softmax(-1).gather(2, targets.clamp(min=0)[..., None])[..., 0]
    sums = (logps * counted).sum(-1)
    return mean_logprobs(sums, counted.sum(-1), released=released) if average else sums


def mean_logprobs(sums: Tensor, counts: Tensor, *, released: bool = False) -> Tensor:
    """Per-token means; see `dense_logprobs` for sequences without tokens."""
    return sums / (counts if released else counts.clamp(min=1))


class _GatheredLogProbs(torch.autograd.Function):
    """log softmax of some logits, tile by tile; the backward pass repeats the tiles.

    With p the softmax, g the incoming gradient and a the transformation of the logits z:
        d logp_w / d z = a'(z) * (onehot_w - p),    grad h = sum_w g_w (dlogp_w/dz) W,
        grad W = (...)' h
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,  # (M, H)
        weight: Tensor,  # (V, H)
        bias: Tensor | None,
        tokens: Tensor,  # (M, m)
        transformation: tuple[float, float | None],
        tile_bytes: int,
    ) -> Tensor:
        with torch.autocast(hidden.device.type, enabled=False):
            rows = hidden if mixed_product(hidden) else hidden.to(wide_dtype(hidden))
            sums = _LogSumExp(rows)
            chosen = torch.zeros(tokens.shape, dtype=wide_dtype(hidden), device=rows.device)
            for tile in _tiles(rows, weight, bias, transformation, tile_bytes):
                at, inside = tile.places(tokens)
                values = tile.logits.gather(1, at)
                chosen[tile.rows] = torch.where(inside, values, chosen[tile.rows])
                sums.add(tile)
            normaliser = sums.result()
        ctx.save_for_backward(hidden, weight, bias, tokens, normaliser)
        ctx.options = (transformation, tile_bytes)
        return chosen.sub_(normaliser[:, None])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, tokens, normaliser = ctx.saved_tensors
        transformation, tile_bytes = ctx.options
        with torch.autocast(hidden.device.type, enabled=False):
            rows = hidden if mixed_product(hidden) else hidden.to(wide_dtype(hidden))
            sink = HeadGradients(rows, weight, bias, ctx.needs_input_grad[:3])
            for tile in _tiles(rows, weight, bias, transformation, tile_bytes):
                part, steepness = tile.rows, slope(tile.logits, *transformation)
                at, inside = tile.places(tokens)
                incoming = gradient[part].to(normaliser.dtype)
                d = tile.logits.sub_(normaliser[part][:, None]).exp_()  # softmax
                d.mul_(-incoming.sum(dim=1, keepdim=True))
                d.scatter_add_(1, at, incoming * inside)
                if steepness is not None:
                    d.mul_(steepness)
                sink.add(tile, d)
        return (*sink.result(hidden, weight, bias), None, None, None)


class _LogSumExp:
    """Log-sum-exp of the logits of each position over the tiles seen so far."""

    def __init__(self, rows: Tensor) -> None:
        size = (len(rows),)
        self.highest = torch.full(size, -torch.inf, dtype=wide_dtype(rows), device=rows.device)
        self.total = torch.zeros_like(self.highest)

    def add(self, tile: Tile) -> None:
        """Add a tile; its logits are overwritten."""
        part = tile.rows
        top = torch.maximum(self.highest[part], tile.logits.amax(dim=1))
        self.total[part] *= (self.highest[part] - top).exp_()
        self.total[part] += tile.logits.sub_(top[:, None]).exp_().sum(dim=1)
        self.highest[part] = top

    def result(self) -> Tensor:
        return self.highest.add_(self.total.log_())


@dataclass(frozen=True)
class Tile:
    """Logits of some positions for a part of the vocabulary."""

    rows: slice
    vocabulary: slice
    logits: Tensor  # (rows, vocabulary), may be overwritten
    weight: Tensor  # (vocabulary, H), wide unless the product is mixed

    def places(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Columns of tokens (M, m) in the tile, clamped into it, and whether they are in it."""
        at = tokens[self.rows] - self.vocabulary.start
        return at.clamp(0, self.logits.shape[1] - 1), (at >= 0) & (at < self.logits.shape[1])


def _tiles(
    rows: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    transformation: tuple[float, float | None],
    tile_bytes: int,
) -> Iterator[Tile]:
    """All tiles; the outer loop is over the vocabulary, so that each slice of the head is widened
    once."""
    wide = wide_dtype(rows)
    height = max(1, min(TILE_ROWS, len(rows)))
    width = max(1, tile_bytes // (height * wide.itemsize))
    mixed = mixed_product(rows)
    for first in range(0, len(weight), width):
        vocabulary = slice(first, min(first + width, len(weight)))
        part = weight[vocabulary] if mixed else weight[vocabulary].to(wide)
        shift = None if bias is None else bias[vocabulary].to(wide)
        for start in range(0, len(rows), height):
            span = slice(start, min(start + height, len(rows)))
            if mixed:
                logits = torch.mm(rows[span], part.T, out_dtype=wide)
            else:
                logits = torch.mm(rows[span], part.T)
            if shift is not None:
                logits += shift
            yield Tile(span, vocabulary, transform(logits, *transformation), part)


class HeadGradients:
    """Accumulates the gradients of a head in wide arithmetic, one vocabulary slice at a time."""

    def __init__(
        self, rows: Tensor, weight: Tensor, bias: Tensor | None, wanted: tuple[bool, ...]
    ) -> None:
        self.inputs = rows
        wide = wide_dtype(rows)
        self.rows = torch.zeros_like(rows, dtype=wide) if wanted[0] else None
        self.weight = torch.zeros_like(weight) if wanted[1] else None
        self.bias = torch.zeros_like(bias) if bias is not None and wanted[2] else None
        self.slice: tuple[int, Tensor] | None = None

    def add(self, tile: Tile, d: Tensor) -> None:
        narrow = d.to(self.inputs.dtype)  # the same tensor unless the product is mixed
        if self.rows is not None:
            self._product(self.rows[tile.rows], narrow, tile.weight)
        if self.weight is not None:
            if self.weight.dtype == d.dtype:
                self.weight[tile.vocabulary].addmm_(d.T, self.inputs[tile.rows])
            else:
                self._add_to_slice(tile, narrow)
        if self.bias is not None:
            self.bias[tile.vocabulary] += d.sum(dim=0).to(self.bias.dtype)

    def _add_to_slice(self, tile: Tile, narrow: Tensor) -> None:
        """For a half-precision head: sum one slice in float32, round it when complete."""
        if self.slice is None or self.slice[0] != tile.vocabulary.start:
            self._flush()
            zeros = torch.zeros(tile.weight.shape, dtype=wide_dtype(narrow), device=narrow.device)
            self.slice = (tile.vocabulary.start, zeros)
        self._product(self.slice[1], narrow.T, self.inputs[tile.rows])

    def _flush(self) -> None:
        if self.slice is not None and self.weight is not None:
            start, total = self.slice
            self.weight[start : start + len(total)] = total.to(self.weight.dtype)

    @staticmethod
    def _product(target: Tensor, left: Tensor, right: Tensor) -> None:
        if left.dtype == target.dtype:
            target.addmm_(left, right)
        else:
            target.add_(torch.mm(left, right, out_dtype=target.dtype))

    def result(
        self, hidden: Tensor, weight: Tensor, bias: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        self._flush()
        rows = None if self.rows is None else self.rows.to(hidden.dtype)
        return rows, self.weight, self.bias


def wide_dtype(tensor: Tensor) -> torch.dtype:
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


def mixed_product(tensor: Tensor) -> bool:
    """Whether the device multiplies half-precision matrices into a float32 result."""
    return tensor.is_cuda and tensor.dtype in (torch.bfloat16, torch.float16)
