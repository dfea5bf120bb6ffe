"""Sampling from a causal language model: one batch of prompts, n samples of each.

Each prompt is read once; its key-value cache is then repeated for the n samples. Every sample has
random numbers of its own, drawn beforehand, so that a sample does not depend on how many others
are drawn beside it. Rows that have ended leave the batch as soon as half of it has.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

from harness.backends.base import GREEDY_BELOW, Sampling
from harness.backends.prefixes import Reading, room_for
from harness.hashing import seed_from

SHORTLISTS = (32, 1024, 1 << 30)  # tokens that top-p ranks: a wider list where one falls short
ROOM = 128  # positions by which a key-value buffer grows


@dataclass
class Decoded:
    """Tokens of R = prompts * n samples, samples of one prompt side by side.

    Attributes:
        tokens: (R, T) ids; only the first `lengths` of a row mean something.
        lengths: (R,) sampled tokens, the stopping one included.
        stopped: (R,) ended by a stop id rather than by its limit.
        broken: (R,) the model gave logits that are not numbers.
        top_ids, top_logps: (R, T, K) the likeliest tokens of each step, when asked for.
    """

    tokens: np.ndarray
    lengths: np.ndarray
    stopped: np.ndarray
    broken: np.ndarray
    top_ids: np.ndarray | None = None
    top_logps: np.ndarray | None = None


def uniforms(sampling: Sampling, request_id: str, length: int) -> np.ndarray:
    """(n, length) random numbers in [0, 1) fixed by (seed, request id, number of the sample).

    A longer or wider draw begins with the shorter or narrower one.
    """
    rows = []
    for sample in range(sampling.n):
        key = seed_from("sample", sampling.seed, request_id, sample)
        rows.append(np.random.Generator(np.random.Philox(key=key)).random(length))
    return np.stack(rows)


def next_tokens(
    logits: torch.Tensor, draws: torch.Tensor, *, temperature: float, top_p: float
) -> torch.Tensor:
    """One token for each row: inverse of the distribution function at `draws`.

    Temperature comes first, then top-p: the smallest set of likeliest tokens whose probabilities
    sum to at least `top_p` is kept and renormalised.

    Args:
        logits: (R, V).
        draws: (R,) float64 in [0, 1).

    Returns:
        (R,) ids. Below a temperature of 1e-4 the likeliest token, whatever the draws.
    """
    if temperature < GREEDY_BELOW:
        return logits.argmax(dim=-1)
    probabilities = torch.softmax(logits.float() / temperature, dim=-1)  # (R, V)
    if top_p >= 1:
        return _invert(probabilities.double().cumsum(dim=-1), draws, None)
    return _nucleus(probabilities, draws, top_p)


def penalised(logits: torch.Tensor, seen: torch.Tensor, penalty: float) -> torch.Tensor:
    """Logits (R, V) with those of seen tokens divided by the penalty, or multiplied below 0."""
    lowered = torch.where(logits > 0, logits / penalty, logits * penalty)
    return torch.where(seen, lowered, logits)


def _seen(
    prompts: Sequence[Sequence[int]], sampling: Sampling, logits: torch.Tensor
) -> torch.Tensor | None:
    """(R, V) whether a token stands in a row's prompt; None where that does not matter."""
    if sampling.repetition_penalty == 1:
        return None
    seen = torch.zeros(logits.shape, dtype=torch.bool, device=logits.device)
    for number, prompt in enumerate(prompts):
        first = number * sampling.n
        seen[first : first + sampling.n, list(prompt)] = True
    return seen


def _nucleus(probabilities: torch.Tensor, draws: torch.Tensor, top_p: float) -> torch.Tensor:
    """Sample from the likeliest tokens; most rows need only a few, so few are ranked at first."""
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
    """The first place where a row's cumulative sum exceeds draw * (sum of the kept places)."""
    if kept is None:
        mass = cumulative[:, -1]
        # Rounding may lift draw * mass to mass itself: stay on the last place that adds anything.
        last = (cumulative < mass[:, None]).sum(dim=-1)
    else:
        last = kept - 1
        mass = cumulative.gather(-1, last[:, None])[:, 0]
    place = torch.searchsorted(cumulative, (draws * mass)[:, None], right=True)[:, 0]
    return torch.minimum(place, last.clamp(max=cumulative.shape[-1] - 1))


class _RoomyLayer(DynamicLayer):
    """A cache layer that writes new keys and values into spare room instead of copying them all.

    The library's layer concatenates at every token; for the tiny models of the nano world on a
    CPU those copies took more than half of the decoding time.
    """

    def __init__(self, key_room: torch.Tensor, value_room: torch.Tensor, used: int) -> None:
        super().__init__()
        self.lazy_initialization(key_room, value_room)
        self._key_room, self._value_room, self._used = key_room, value_room, used
        self._show()

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        end = self._used + key_states.shape[-2]
        if end > self._key_room.shape[-2]:
            self._key_room = _with_room(self.keys)
            self._value_room = _with_room(self.values)
        self._key_room[:, :, self._used : end] = key_states
        self._value_room[:, :, self._used : end] = value_states
        self._used = end
        self._show()
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        self._key_room = self._key_room[indices]
        self._value_room = self._value_room[indices]
        self._show()

    def _show(self) -> None:
        self.keys = self._key_room[:, :, : self._used]
        self.values = self._value_room[:, :, : self._used]


def _with_room(states: torch.Tensor, repeats: int = 1) -> torch.Tensor:
    """A copy of (B, heads, L, d) states, each row `repeats` times, with room for more positions."""
    rows, heads, used, width = states.shape
    room = states.new_empty((rows * repeats, heads, used + ROOM, width))
    room[:, :, :used] = states.repeat_interleave(repeats, dim=0) if repeats > 1 else states
    return room


def _repeat_cache(cache: Any, n: int) -> None:
    """Repeat each row of a cache n times, in place."""
    for number, layer in enumerate(cache.layers):
        if type(layer) is DynamicLayer or (n > 1 and type(layer) is _RoomyLayer):
            keys, values = _with_room(layer.keys, n), _with_room(layer.values, n)
            cache.layers[number] = _RoomyLayer(keys, values, layer.keys.shape[-2])
        elif n > 1:
            layer.batch_repeat_interleave(n)


@dataclass
class _State:
    """The rows still being sampled."""

    rows: torch.Tensor  # (A,) their numbers in the whole batch
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
    """Sample `sampling.n` answers to each prompt.

    Args:
        prompts: token ids.
        draws: (R, T) random numbers, see `uniforms`.
        limits: most tokens for each prompt, at most T.
        stop: ids that end an answer.
        readings: how each prompt is read, where states are reused.
    """
    device = next(model.parameters()).device
    rows, longest = draws.shape
    uniform = torch.from_numpy(draws).to(device)
    limit = torch.tensor(limits, device=device).repeat_interleave(sampling.n)
    stops = torch.tensor(sorted(stop), device=device)
    tokens = torch.zeros((rows, longest), dtype=torch.long, device=device)
    lengths = torch.zeros(rows, dtype=torch.long, device=device)
    stopped = torch.zeros(rows, dtype=torch.bool, device=device)
    broken = torch.zeros(rows, dtype=torch.bool, device=device)
    tops: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
    logits, state = _prefill(model, prompts, sampling.n, longest, readings)
    seen = _seen(prompts, sampling, logits)
    for step in range(longest):
        if sampling.top_logprobs:
            logps = torch.log_softmax(logits.float(), dim=-1)
            values, ids = logps.topk(min(sampling.top_logprobs, logps.shape[-1]), dim=-1)
            tops.append((state.rows, ids, values))
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
        live = state.rows[state.running]
        tokens[live, step] = chosen[state.running]
        if seen is not None:
            seen[live, chosen[state.running]] = True
        lengths[live] += 1
        ended = torch.isin(chosen, stops)
        stopped[live] = ended[state.running]
        broken[live] = bad[state.running]
        state.running &= ~(ended | bad | (limit[state.rows] <= step + 1))
        left = int(state.running.sum())
        if left == 0:
            break
        if left <= len(state.running) // 2:
            chosen = _compact(state, chosen)
        logits = _advance(model, state, chosen, step, longest)
    top_ids, top_logps = _stack_tops(tops, rows, longest)
    return Decoded(
        tokens.cpu().numpy(),
        lengths.cpu().numpy(),
        stopped.cpu().numpy(),
        broken.cpu().numpy(),
        top_ids,
        top_logps,
    )


def left_padded(
    prompts: Sequence[Sequence[int]], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(B, L) ids, attention mask and positions; the pads' ids are 0 and are never attended to."""
    longest = max(len(prompt) for prompt in prompts)
    ids = np.zeros((len(prompts), longest), dtype=np.int64)
    mask = np.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt) :] = prompt
        mask[row, longest - len(prompt) :] = 1
    positions = np.maximum(mask.cumsum(axis=1) - 1, 0)
    return (
        torch.from_numpy(ids).to(device),
        torch.from_numpy(mask).to(device),
        torch.from_numpy(positions).to(device),
    )


def accepts(model: Any, option: str) -> bool:
    """Whether the model's forward pass has an argument of this name."""
    return option in _arguments(type(model).forward)


@cache
def _arguments(forward: Any) -> frozenset[str]:
    # Reading a signature takes longer than a layer of a tiny model, and is asked for every token.
    return frozenset(inspect.signature(forward).parameters)


def forward_options(model: Any, positions: torch.Tensor, keep: int) -> dict[str, Any]:
    """Arguments that only some architectures take: positions, and how many logits to compute."""
    options: dict[str, Any] = {}
    if accepts(model, "position_ids"):
        options["position_ids"] = positions
    if accepts(model, "logits_to_keep"):
        options["logits_to_keep"] = keep
    return options


@torch.inference_mode()
def read_prompts(
    model: Any, prompts: Sequence[Sequence[int]], readings: Sequence[Reading] | None = None
) -> tuple[torch.Tensor, Any, torch.Tensor]:
    """Logits (B, V) of each prompt's next token, the cache, and its mask (B, L).

    With readings only the tokens without known states go through the model; their columns stand
    behind those of the known ones, so that a row may have pads between the two.
    """
    device = next(model.parameters()).device
    if not readings:
        ids, mask, positions = left_padded(prompts, device)
        cache = None
    else:
        known = torch.tensor([reading.known for reading in readings], device=device)[:, None]
        rest = [prompt[reading.known :] for prompt, reading in zip(prompts, readings)]
        ids, mask, positions = left_padded(rest, device)
        positions += known
        wide = int(known.max())
        before = torch.arange(wide, device=device) >= wide - known
        mask = torch.cat([before.to(mask.dtype), mask], dim=1)
        room = room_for(readings, wide, mask.shape[1] + ROOM)
        cache = DynamicCache(config=model.config)
        cache.layers = [_RoomyLayer(keys, values, wide) for keys, values in zip(*room)]
    output = model(
        input_ids=ids,
        attention_mask=mask,
        past_key_values=cache,
        use_cache=True,
        **forward_options(model, positions, keep=1),
    )
    for row, reading in enumerate(readings or ()):
        reading.fill(room[:, :, row, :, : mask.shape[1]])
    return output.logits[:, -1], output.past_key_values, mask


def _prefill(
    model: Any,
    prompts: Sequence[Sequence[int]],
    n: int,
    longest: int,
    readings: Sequence[Reading] | None,
) -> tuple[torch.Tensor, _State]:
    """Read the prompts once; logits of the first token and the state of all samples."""
    logits, cache, mask = read_prompts(model, prompts, readings)
    device = mask.device
    following = mask.sum(dim=1, keepdim=True)
    _repeat_cache(cache, n)
    if n > 1:
        mask, following, logits = (x.repeat_interleave(n, 0) for x in (mask, following, logits))
    rows = torch.arange(len(mask), device=device)
    room = torch.ones((len(mask), longest), dtype=mask.dtype, device=device)
    running = torch.ones(len(mask), dtype=torch.bool, device=device)
    return logits, _State(rows, torch.cat([mask, room], dim=1), following, cache, running)


def _compact(state: _State, chosen: torch.Tensor) -> torch.Tensor:
    """Drop the rows that have ended from the state and from the tokens just chosen."""
    keep = state.running.nonzero()[:, 0]
    state.cache.batch_select_indices(keep)
    state.rows, state.mask = state.rows[keep], state.mask[keep]
    state.positions, state.running = state.positions[keep], state.running[keep]
    return chosen[keep]


def _advance(
    model: Any, state: _State, chosen: torch.Tensor, step: int, longest: int
) -> torch.Tensor:
    """Feed the tokens of one step; (A, V) logits of the next."""
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


def _stack_tops(
    tops: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]], rows: int, longest: int
) -> tuple[np.ndarray | None, np.ndarray | None]:
    if not tops:
        return None, None
    wide = tops[0][1].shape[-1]
    ids = np.zeros((rows, longest, wide), dtype=np.int64)
    logps = np.full((rows, longest, wide), -np.inf, dtype=np.float64)
    for step, (place, step_ids, values) in enumerate(tops):
        ids[place.cpu().numpy(), step] = step_ids.cpu().numpy()
        logps[place.cpu().numpy(), step] = values.double().cpu().numpy()
    return ids, logps
