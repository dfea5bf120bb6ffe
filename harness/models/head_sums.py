"""Sums over positions of any function of the logits, without holding the logits in memory.

    total = sum over positions m of  f_m(head(h_m))

`function_sum` computes the logits of a few positions at a time, over the whole vocabulary, and with
them the gradient: the backward pass only scales what the forward pass computed. So every logit is
computed once, and only the gradients of hidden states and head are kept. Losses
that compare whole distributions use it; `harness.models.logprobs` is cheaper where only some
log-probabilities are needed.

A position's function may depend on other tensors of the same position, for example on a teacher's
hidden state, from which it computes the teacher's logits for these few positions alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from harness.models.heads import Head, slope, transform
from harness.models.logprobs import (
    HeadGradients,
    Tile,
    as_autocast,
    mixed_product,
    wide_dtype,
)

# Bytes of the logits of one chunk; a loss of several distributions needs many tensors of this size.
# One ADPA step (benchmarks/adpa_step.py, one thread): 8 MiB take 5.9 s of CPU and 0.18 GiB, 32 MiB
# 5.4 s and 0.65 GiB. The size for GPUs is not measured.
CHUNK_BYTES = {"cpu": 8 << 20, "cuda": 64 << 20}

# (positions of the chunk, their logits (c, V)) -> sum to differentiate, and detached sums to log.
Measure = Callable[[slice, Tensor], tuple[Tensor, Mapping[str, Tensor]]]


def function_sum(
    hidden: Tensor, head: Head, measure: Measure, *, chunk_bytes: int | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """The sum of `measure` over chunks of positions, differentiable, and its logged sums.

    The gradient is computed with the value, for a hidden state and a head that require one.

    Args:
        hidden: (M, H), the positions; M may be 0.
        measure: called once per chunk with logits in float32 (float64 for float64 models); without
            positions once with none, so that it logs the same names for every batch.

    Returns:
        scalar sum; logged sums by name.
    """
    logged: dict[str, Tensor] = {}
    total = _FunctionSum.apply(
        *as_autocast(hidden, head.weight, head.bias),
        (head.scale, head.cap),
        _rows(hidden, head, chunk_bytes),
        measure,
        logged,
        torch.is_grad_enabled(),
    )
    return total, logged


def head_logits(hidden: Tensor, head: Head, *, vocabulary: int | None = None) -> Tensor:
    """Logits (M, V) of a few positions, in float32 or float64, without a gradient.

    Args:
        vocabulary: number of ids to keep; None keeps all.
    """
    with torch.no_grad(), torch.autocast(hidden.device.type, enabled=False):
        weight, bias = head.weight[:vocabulary], head.bias
        bias = None if bias is None else bias[:vocabulary]
        wide = wide_dtype(weight)
        if mixed_product(weight):
            logits = torch.mm(hidden.to(weight.dtype), weight.T, out_dtype=wide)
        else:
            logits = hidden.to(wide) @ weight.to(wide).T
        if bias is not None:
            logits += bias.to(wide)
        return transform(logits, head.scale, head.cap)


def _rows(hidden: Tensor, head: Head, chunk_bytes: int | None) -> int:
    size = chunk_bytes or CHUNK_BYTES.get(hidden.device.type, CHUNK_BYTES["cuda"])
    return max(1, size // (len(head.weight) * wide_dtype(hidden).itemsize))


class _FunctionSum(torch.autograd.Function):
    """With d the gradient of the sum to the logits: grad h = d W, grad W = d' h, grad b = d' 1."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,  # (M, H)
        weight: Tensor,  # (V, H)
        bias: Tensor | None,
        transformation: tuple[float, float | None],
        height: int,
        measure: Measure,
        logged: dict[str, Tensor],
        differentiate: bool,
    ) -> Tensor:
        wanted = ctx.needs_input_grad[:3] if differentiate else (False,) * 3
        wide = wide_dtype(hidden)
        with torch.autocast(hidden.device.type, enabled=False):
            rows = hidden if mixed_product(hidden) else hidden.to(wide)
            part = weight if mixed_product(hidden) else weight.to(wide)
            sink = HeadGradients(rows, weight, bias, wanted)
            total = torch.zeros((), dtype=wide, device=hidden.device)
            for start in range(0, max(1, len(rows)), height):
                span = slice(start, min(start + height, len(rows)))
                logits = _logits(rows[span], part, bias, transformation)
                steepness = slope(logits, *transformation) if any(wanted) else None
                with torch.enable_grad():
                    leaf = logits.requires_grad_(any(wanted))
                    value, found = measure(span, leaf)
                total += value.detach()
                for name, each in found.items():
                    logged[name] = logged[name] + each if name in logged else each
                if any(wanted) and value.requires_grad:
                    (d,) = torch.autograd.grad(value, leaf)
                    d = d if steepness is None else d * steepness
                    sink.add(Tile(span, slice(0, len(weight)), d, part), d)
                del leaf, logits, value
        found_gradients = sink.result(hidden, weight, bias)
        ctx.present = [each is not None for each in found_gradients]
        ctx.save_for_backward(*(each for each in found_gradients if each is not None))
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        kept = iter(ctx.saved_tensors)
        each = [next(kept) if there else None for there in ctx.present]
        scaled = (None if one is None else one * gradient.to(one.dtype) for one in each)
        return (*scaled, None, None, None, None, None)


def _logits(
    rows: Tensor, weight: Tensor, bias: Tensor | None, transformation: tuple[float, float | None]
) -> Tensor:
    wide = wide_dtype(rows)
    logits = torch.mm(rows, weight.T, out_dtype=wide) if mixed_product(rows) else rows @ weight.T
    if bias is not None:
        logits += bias.to(wide)
    return transform(logits, *transformation)
