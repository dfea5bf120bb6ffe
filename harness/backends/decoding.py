"""Sampling from a causal language model: one batch of prompts, n samples of each.

Each prompt is read once; its key-value cache is then repeated for the n samples. Every sample has
its own random numbers, drawn in advance, so that it does not depend on the number of other samples.
Rows that have ended are removed from the batch once they are half of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from harness.backends.base import GREEDY_BELOW, Sampling
from harness.backends.prefixes import Reading
from harness.backends.reading import forward_options, read_prompts, repeat_cache
from harness.core.hashing import seed_from

SHORTLISTS = (32, 1024, 1 << 30)  # numbers of tokens that top-p ranks: wider if one is too short


@dataclass
class Decoded:
    """Tokens of R = prompts * n samples; samples of one prompt are consecutive.

    Attributes:
        tokens: ids (R, T); only the first `lengths` of a row are valid.
        lengths: number of sampled tokens (R,), including the stopping one.
        stopped: whether a stop id rather than the limit ended the sample (R,).
        broken: whether the model returned logits that are not numbers (R,).
        top_ids, top_logps: the most likely tokens of each step (R, T, K), if requested.
    """

    tokens: np.ndarray
    lengths: np.ndarray
    stopped: np.ndarray
    broken: np.ndarray
    top_ids: np.ndarray | None = None
    top_logps: np.ndarray | None = None


def uniforms(sampling: Sampling, request_id: str, length: int) -> np.ndarray:
    """Random numbers (n, length) in [0, 1) from (seed, request id, number of the sample).

    A larger array begins with the numbers of a smaller one.
    """
    rows = []
    for sample in range(sampling.n):
        key = seed_from("sample", sampling.seed, request_id, sample)
        rows.append(np.random.Generator(np.random.Philox(key=key)).random(length))
    return np.stack(rows)


def next_tokens(
    logits: torch.Tensor, draws: torch.Tensor, *, temperature: float, top_p: float
) -> torch.Tensor:
    """One token per row: the inverse of the distribution function at `draws`.

    Temperature is applied first, then top-p: the smallest set of most likely tokens whose
    probabilities sum to at least `top_p` is kept and renormalised.

    Args:
        logits: (R, V).
        draws: (R,) float64 in [0, 1).

    Returns:
        Ids (R,). Below a temperature of 1e-4 the most likely token, for any draws.
    """
    if temperature < GREEDY_BELOW:
        return logits.argmax(dim=-1)
    probabilities = torch.softmax(logits.float() / temperature, dim=-1)  # (R, V)
    if top_p >= 1:
        return _invert(probabilities.double().cumsum(dim=-1), draws, None)
    return _nucleus(probabilities, draws, top_p)


def penalised(logits: torch.Tensor, seen: torch.Tensor, penalty: float) -> torch.Tensor:
    """Logits (R, V); those of seen tokens are divided by the penalty, negative ones multiplied."""
    lowered = torch.where(logits > 0, logits / penalty, logits * penalty)
    return torch.where(seen, lowered, logits)


def _seen(
    prompts: Sequence[Sequence[int]], sampling: Sampling, logits: torch.Tensor
) -> torch.Tensor | None:
    """Whether a token occurs in a row's prompt (R, V); None without a penalty."""
    if sampling.repetition_penalty == 1:
        return None
    seen = torch.zeros(logits.shape, dtype=torch.bool, device=logits.device)
    for number, prompt in enumerate(prompts):
        first = number * sampling.n
        seen[first : first + sampling.n, list(prompt)] = True
    return seen


def _nucleus(probabilities: torch.Tensor, draws: torch.Tensor, top_p: float) -> torch.Tensor:
    """Sample from the most likely tokens; most rows need few, so few are ranked at first."""
    vocabulary = probabilities.shape[-1]
    chosen = torch.zeros(len(probabilities), dtype=torch.long, device=probabilities.device)
    rows = torch.arange(len(probabilities), device=probabilities.device)
    for wide in SHORTLISTS:
        last_try = wide >= vocabulary or wide == SHORTLISTS[-1]
        ranked, order = probabilities[rows].topk(vocabulary if last_try else wide, dim=-1)
        cumulative = ranked.double().cumsum(dim=-1)  # (rows, K)
        kept = ((cumulative - ranked.double()) < top_p).sum(dim=-1).clamp(min=1)  # (rows,)
        place = _invert(cumulative, draws[rows], kept)
        chosen[rows] = order.gather(-1, place[:, None])[:, 0]
        rows = rows[cumulative[:, -1] < top_p]
        if last_try or len(rows) == 0:
            break
    return chosen


def _invert(
    cumulative: torch.Tensor, draws: torch.Tensor, kept: torch.Tensor | None
) -> torch.Tensor:
    """The first index where a row's cumulative sum exceeds draw * (sum of the kept entries)."""
    if kept is None:
        mass = cumulative[:, -1]
        # Rounding may make draw * mass equal to mass: take the last index that adds anything.
        last = (cumulative < mass[:, None]).sum(dim=-1)
    else:
        last = kept - 1
        mass = cumulative.gather(-1, last[:, None])[:, 0]
    place = torch.searchsorted(cumulative, (draws * mass)[:, None], right=True)[:, 0]
    return torch.minimum(place, last.clamp(max=cumulative.shape[-1] - 1))


@dataclass
class _State:
    """The rows that are still being sampled."""

    rows: torch.Tensor  # (A,) row numbers in the whole batch
    mask: torch.Tensor  # (A, prompt + T) 1 where a token may be attended to
    positions: torch.Tensor  # (A, 1) position of the next token
    cache: Any
    running: torch.Tensor  # (A,) bool


@torch.inference_mode()
def decode(
    model: Any,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    draws: np.ndarray,
    limits: Sequence[int],
    stop: Sequence[int],
    readings: Sequence[Reading] | None = None,
) -> Decoded:
    """Sample `sampling.n` answers per prompt.

    Args:
        prompts: token ids.
        draws: (R, T) random numbers, see `uniforms`.
        limits: maximum number of tokens per prompt, at most T.
        stop: ids that end an answer.
        readings: how each prompt is read if states are reused.
    """
    device = next(model.parameters()).device
    rows, longest = draws.shape
    uniform = torch.from_numpy(draws).to(device)
    limit = torch.tensor(limits, device=device).repeat_interleave(sampling.n)
    stops = torch.tensor(sorted(stop), device=device)
    written = _Written(rows, longest, device)
    logits, state = _prefill(model, prompts, sampling.n, longest, readings)
    seen = _seen(prompts, sampling, logits)
    for step in range(longest):
        if sampling.top_logprobs:
            written.note_likeliest(state.rows, logits, sampling.top_logprobs)
        bad = ~torch.isfinite(logits.amax(dim=-1)) | torch.isnan(logits).any(dim=-1)
        if bool(bad.any()):
            logits = torch.where(bad[:, None], torch.zeros_like(logits), logits)
        if seen is not None:
            logits = penalised(logits, seen[state.rows], sampling.repetition_penalty)
        chosen = next_tokens(
            logits,
            uniform[state.rows, step],
            temperature=sampling.temperature,
            top_p=sampling.top_p,
        )
        ended = torch.isin(chosen, stops)
        running, live = state.running, state.rows[state.running]
        written.note(step, live, chosen[running], ended[running], bad[running])
        if seen is not None:
            seen[live, chosen[running]] = True
        state.running = running & ~(ended | bad | (limit[state.rows] <= step + 1))
        left = int(state.running.sum())
        if left == 0:
            break
        if left <= len(state.running) // 2:
            chosen = _compact(state, chosen)
        logits = _advance(model, state, chosen, step, longest)
    return written.decoded()


class _Written:
    """The tokens sampled so far, on the model's device; see `Decoded`."""

    def __init__(self, rows: int, longest: int, device: torch.device) -> None:
        self.tokens = torch.zeros((rows, longest), dtype=torch.long, device=device)
        self.lengths = torch.zeros(rows, dtype=torch.long, device=device)
        self.stopped = torch.zeros(rows, dtype=torch.bool, device=device)
        self.broken = torch.zeros(rows, dtype=torch.bool, device=device)
        self._tops: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []

    def note(
        self,
        step: int,
        rows: torch.Tensor,
        chosen: torch.Tensor,
        ended: torch.Tensor,
        bad: torch.Tensor,
    ) -> None:
        """Append one token to each of `rows`."""
        self.tokens[rows, step] = chosen
        self.lengths[rows] += 1
        self.stopped[rows] = ended
        self.broken[rows] = bad

    def note_likeliest(self, rows: torch.Tensor, logits: torch.Tensor, count: int) -> None:
        """Append the most likely tokens of one step."""
        logps = torch.log_softmax(logits.float(), dim=-1)
        values, ids = logps.topk(min(count, logps.shape[-1]), dim=-1)
        self._tops.append((rows, ids, values))

    def decoded(self) -> Decoded:
        top_ids, top_logps = self._stacked()
        return Decoded(
            self.tokens.cpu().numpy(),
            self.lengths.cpu().numpy(),
            self.stopped.cpu().numpy(),
            self.broken.cpu().numpy(),
            top_ids,
            top_logps,
        )

    def _stacked(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        if not self._tops:
            return None, None
        shape = (*self.tokens.shape, self._tops[0][1].shape[-1])
        ids = np.zeros(shape, dtype=np.int64)
        logps = np.full(shape, -np.inf, dtype=np.float64)
        for step, (rows, step_ids, values) in enumerate(self._tops):
            ids[rows.cpu().numpy(), step] = step_ids.cpu().numpy()
            logps[rows.cpu().numpy(), step] = values.double().cpu().numpy()
        return ids, logps


def _prefill(
    model: Any,
    prompts: Sequence[Sequence[int]],
    n: int,
    longest: int,
    readings: Sequence[Reading] | None,
) -> tuple[torch.Tensor, _State]:
    """Read the prompts once; returns logits of the first tokens and the state of all samples."""
    logits, cache, mask = read_prompts(model, prompts, readings)
    device = mask.device
    following = mask.sum(dim=1, keepdim=True)
    repeat_cache(cache, n)
    if n > 1:
        mask, following, logits = (x.repeat_interleave(n, 0) for x in (mask, following, logits))
    rows = torch.arange(len(mask), device=device)
    room = torch.ones((len(mask), longest), dtype=mask.dtype, device=device)
    running = torch.ones(len(mask), dtype=torch.bool, device=device)
    return logits, _State(rows, torch.cat([mask, room], dim=1), following, cache, running)


def _compact(state: _State, chosen: torch.Tensor) -> torch.Tensor:
    """Remove the rows that have ended from the state and from the chosen tokens."""
    keep = state.running.nonzero()[:, 0]
    state.cache.batch_select_indices(keep)
    state.rows, state.mask = state.rows[keep], state.mask[keep]
    state.positions, state.running = state.positions[keep], state.running[keep]
    return chosen[keep]


def _advance(
    model: Any, state: _State, chosen: torch.Tensor, step: int, longest: int
) -> torch.Tensor:
    """Feed the tokens of one step; returns logits (A, V) of the next."""
    seen = state.mask.shape[1] - longest + step + 1
    output = model(
        input_ids=chosen[:, None],
        attention_mask=state.mask[:, :seen],
        past_key_values=state.cache,
        use_cache=True,
        **forward_options(model, state.positions, keep=1),
    )
    state.positions = state.positions + 1
    logits: torch.Tensor = output.logits[:, -1]
    return logits
