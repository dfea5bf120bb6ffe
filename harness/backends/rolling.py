"""Decoding many prompts, one sample each, in a batch that is refilled as rows end.

In fixed batches, most rows are idle while the longest answer of the batch is generated. Here a row
that has ended gives its slot to a prompt that has been read in the meantime. All rows write their
next token into the same column of the key-value cache, so a new row's prompt is placed immediately
before that column; columns that no row needs are dropped.

Which rows share a forward pass depends on the prompts and the model only, never on time or the
machine, so the same call gives the same answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

from harness.backends.base import GREEDY_BELOW, Sampling
from harness.backends.decoding import Decoded, next_tokens
from harness.backends.prefixes import Reading
from harness.backends.reading import ROOM, accepts, forward_options, read_prompts

SHARE = 8  # slots are refilled once 1/8 of them is free: moving one row costs as much as two


def can_roll(model: Any) -> bool:
    """Whether rows can be exchanged: one device, plain caches, and a position argument."""
    if not accepts(model, "position_ids") or len({p.device for p in model.parameters()}) > 1:
        return False
    try:
        layers = DynamicCache(config=model.config).layers
    except (AttributeError, KeyError, TypeError, ValueError):
        return False
    return bool(layers) and all(type(layer) is DynamicLayer for layer in layers)


@dataclass
class _Slots:
    """The rows in the batch; `used` is the next column of the cache to be written."""

    row: np.ndarray  # (A,) number of the prompt, -1 for none
    start: np.ndarray  # (A,) column of its first token
    mask: torch.Tensor  # (A, W) 1 where a token may be attended to
    positions: torch.Tensor  # (A, 1) position of the next token
    token: torch.Tensor  # (A, 1) next token to be fed
    used: int
    cache: Any

    @property
    def live(self) -> np.ndarray:
        return self.row >= 0


@dataclass
class _Waiting:
    """Prompts that have been read; those from number `taken` on wait for a slot."""

    row: np.ndarray
    length: np.ndarray
    token: torch.Tensor
    mask: torch.Tensor
    layers: list[tuple[torch.Tensor, torch.Tensor]]
    taken: int = 0

    def __len__(self) -> int:
        return len(self.row) - self.taken


@dataclass
class _Progress:
    """The tokens generated so far, for all prompts."""

    tokens: np.ndarray  # (R, T)
    lengths: np.ndarray  # (R,)
    stopped: np.ndarray
    broken: np.ndarray
    limits: np.ndarray
    stops: np.ndarray = field(default_factory=lambda: np.zeros(0, int))

    def note(self, rows: np.ndarray, chosen: np.ndarray, bad: np.ndarray) -> np.ndarray:
        """Append one token to each of `rows`; returns which of them are finished."""
        self.tokens[rows, self.lengths[rows]] = chosen
        self.lengths[rows] += 1
        ended = (chosen[:, None] == self.stops).any(axis=1)
        self.stopped[rows] = ended
        self.broken[rows] = bad
        finished: np.ndarray = ended | bad | (self.lengths[rows] >= self.limits[rows])
        return finished


class _RollingLayer(DynamicLayer):
    """A cache layer with fixed slots: rows are exchanged, columns are added and dropped."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, slots: int) -> None:
        super().__init__()
        self.lazy_initialization(keys, values)
        heads = keys.shape[1]
        self._keys = keys.new_zeros((slots, heads, ROOM, keys.shape[-1]))
        self._values = values.new_zeros((slots, heads, ROOM, values.shape[-1]))
        self.show(0, 0)

    def show(self, first: int, used: int) -> None:
        """Show attention the columns from `first` up to `used`."""
        self._first, self._used = first, used
        self.keys, self.values = self._keys[:, :, first:used], self._values[:, :, first:used]

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        self._keys[:, :, self._used : self._used + 1] = key_states
        self._values[:, :, self._used : self._used + 1] = value_states
        self.show(self._first, self._used + 1)
        return self.keys, self.values

    def move(self, shift: int, used: int, width: int) -> None:
        """Drop `shift` columns (negative: add free ones in front) and allocate `width` in total.

        `used` counts the columns in use before the move.
        """
        for name in ("_keys", "_values"):
            old = getattr(self, name)
            new = old.new_zeros((*old.shape[:2], width, old.shape[-1]))
            first = max(0, -shift)
            kept = old[:, :, max(0, shift) : used]
            new[:, :, first : first + kept.shape[2]] = kept
            setattr(self, name, new)

    def put(self, slots: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, used: int) -> None:
        """Write whole prompts into slots; their last token is in the column before `used`."""
        span = slice(used - keys.shape[2], used)
        for room, states in ((self._keys, keys), (self._values, values)):
            room[slots, :, : span.start] = 0  # masked, but must be finite
            room[slots, :, span] = states

    def keep(self, slots: torch.Tensor) -> None:
        self._keys, self._values = self._keys[slots], self._values[slots]


@torch.inference_mode()
def decode_rolling(
    model: Any,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    draws: np.ndarray,
    limits: Sequence[int],
    stop: Sequence[int],
    capacity: int,
    readings: Sequence[Reading] | None = None,
) -> Decoded:
    """One answer per prompt, `capacity` rows at a time; other arguments as for `decode`."""
    count, longest = draws.shape
    progress = _Progress(
        tokens=np.zeros((count, longest), dtype=np.int64),
        lengths=np.zeros(count, dtype=np.int64),
        stopped=np.zeros(count, dtype=bool),
        broken=np.zeros(count, dtype=bool),
        limits=np.asarray(limits),
        stops=np.asarray(sorted(stop)),
    )
    decoder = _Decoder(model, prompts, sampling, draws, progress, capacity, readings)
    decoder.run()
    return Decoded(progress.tokens, progress.lengths, progress.stopped, progress.broken)


class _Decoder:
    def __init__(
        self,
        model: Any,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        draws: np.ndarray,
        progress: _Progress,
        capacity: int,
        readings: Sequence[Reading] | None = None,
    ) -> None:
        self.model, self.prompts, self.sampling = model, prompts, sampling
        self.readings = readings
        self.draws, self.progress, self.capacity = draws, progress, capacity
        self.greedy = sampling.temperature < GREEDY_BELOW
        self.device = next(model.parameters()).device
        self.next_prompt = 0
        self.waiting: _Waiting | None = None
        self.slots: _Slots | None = None

    def run(self) -> None:
        """Decode until every prompt has an answer."""
        while self._fill():
            assert self.slots is not None
            self._step(self.slots)

    def _fill(self) -> bool:
        """Give free slots to waiting prompts; returns whether a row is left to decode."""
        while self.waiting or self._read():
            assert self.waiting is not None
            if self.slots is None:
                self.slots = self._empty(self.waiting)
            free = np.flatnonzero(~self.slots.live)
            if len(free) < max(1, self.capacity // SHARE):
                return True
            self._insert(self.slots, self.waiting, free[: len(self.waiting)])
        if self.slots is None:
            return False
        left = int(self.slots.live.sum())
        if 0 < left <= len(self.slots.row) // 2:
            self._compact(self.slots)
        return left > 0

    def _read(self) -> bool:
        """Read prompts until one needs more than its first token; False if none is left."""
        while self.next_prompt < len(self.prompts):
            ahead = max(1, self.capacity // 2) if self.slots is not None else self.capacity
            span = slice(self.next_prompt, self.next_prompt + ahead)
            batch = self.prompts[span]
            rows = np.arange(self.next_prompt, self.next_prompt + len(batch))
            self.next_prompt += len(batch)
            readings = self.readings[span] if self.readings else None
            logits, cache, mask = read_prompts(self.model, batch, readings)
            chosen, host, bad = self._choose(logits, rows)
            keep = np.flatnonzero(~self.progress.note(rows, host, bad))
            if not len(keep):
                continue  # one token was each whole answer
            place = torch.from_numpy(keep).to(self.device)
            self.waiting = _Waiting(
                row=rows[keep],
                length=np.array([len(self.prompts[row]) for row in rows[keep]]),
                token=chosen[place],
                mask=mask[place],
                layers=[(layer.keys[place], layer.values[place]) for layer in cache.layers],
            )
            return True
        return False

    def _empty(self, waiting: _Waiting) -> _Slots:
        cache = DynamicCache(config=self.model.config)
        cache.layers = [_RollingLayer(k, v, self.capacity) for k, v in waiting.layers]
        size, device = self.capacity, self.device
        return _Slots(
            row=np.full(size, -1),
            start=np.zeros(size, dtype=np.int64),
            mask=torch.ones((size, ROOM), dtype=torch.long, device=device),
            positions=torch.zeros((size, 1), dtype=torch.long, device=device),
            token=torch.zeros((size, 1), dtype=torch.long, device=device),
            used=0,
            cache=cache,
        )

    def _insert(self, slots: _Slots, waiting: _Waiting, free: np.ndarray) -> None:
        taken = slice(waiting.taken, waiting.taken + len(free))
        waiting.taken += len(free)
        wide = waiting.mask.shape[1]
        if wide > slots.used:
            self._make_room(slots, front=wide - slots.used)
        place = torch.from_numpy(free).to(self.device)
        for layer, (keys, values) in zip(slots.cache.layers, waiting.layers):
            layer.put(place, keys[taken], values[taken], slots.used)
        slots.mask[place, : slots.used - wide] = 0
        slots.mask[place, slots.used - wide : slots.used] = waiting.mask[taken]
        lengths = waiting.length[taken]
        slots.row[free] = waiting.row[taken]
        first = waiting.mask[taken].argmax(dim=1).cpu().numpy()
        slots.start[free] = slots.used - wide + first
        slots.positions[place] = torch.from_numpy(lengths[:, None]).to(self.device)
        slots.token[place] = waiting.token[taken][:, None]

    def _make_room(self, slots: _Slots, front: int = 0) -> None:
        """Drop columns that no row needs, add `front` before the first, and room at the end."""
        live = slots.start[slots.live]
        shift = -front if front else int(live.min()) if len(live) else 0
        used = slots.used - shift
        width = (used // ROOM + 2) * ROOM
        for layer in slots.cache.layers:
            layer.move(shift, slots.used, width)
        mask = slots.mask.new_ones((len(slots.row), width))
        first = max(0, -shift)
        kept = slots.mask[:, max(0, shift) : slots.used]
        mask[:, :first] = 0
        mask[:, first : first + kept.shape[1]] = kept
        slots.mask, slots.used = mask, used
        slots.start -= shift

    def _step(self, slots: _Slots) -> None:
        """Feed one token of every slot; results of free slots are ignored."""
        if slots.used + 1 > slots.mask.shape[1]:
            self._make_room(slots)
        live = np.flatnonzero(slots.live)
        first = int(slots.start[live].min())  # no row needs earlier columns
        for layer in slots.cache.layers:
            layer.show(first, slots.used)
        slots.used += 1
        output = self.model(
            input_ids=slots.token,
            attention_mask=slots.mask[:, first : slots.used],
            past_key_values=slots.cache,
            use_cache=True,
            **forward_options(self.model, slots.positions, keep=1),
        )
        slots.positions += 1
        chosen, host, bad = self._choose(output.logits[:, -1], slots.row)
        slots.token = chosen[:, None]
        finished = self.progress.note(slots.row[live], host[live], bad[live])
        slots.row[live[finished]] = -1

    def _choose(
        self, logits: torch.Tensor, rows: np.ndarray
    ) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
        """Next token of each row, on the device and on the host, and which logits are broken."""
        top = logits.amax(dim=-1)
        broken = ~torch.isfinite(top)
        if self.greedy:
            chosen = logits.argmax(dim=-1)
        else:
            steps = np.minimum(self.progress.lengths[rows], self.draws.shape[1] - 1)
            draws = torch.from_numpy(self.draws[rows, steps]).to(self.device)
            sound = torch.where(broken[:, None], torch.zeros_like(logits), logits)
            chosen = next_tokens(
                sound, draws, temperature=self.sampling.temperature, top_p=self.sampling.top_p
            )
        host = torch.stack([chosen, broken.long()]).cpu().numpy()
        return chosen, host[0], host[1].astype(bool)

    def _compact(self, slots: _Slots) -> None:
        """Remove the free slots when no prompt is left for them."""
        keep = np.flatnonzero(slots.live)
        place = torch.from_numpy(keep).to(self.device)
        for layer in slots.cache.layers:
            layer.keep(place)
        slots.row, slots.start = slots.row[keep], slots.start[keep]
        slots.mask, slots.positions = slots.mask[place], slots.positions[place]
        slots.token = slots.token[place]
