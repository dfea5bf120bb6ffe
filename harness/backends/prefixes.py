"""Key-value states of prompts, stored so that a common beginning of prompts is read once.

Each turn of a dialogue begins with the turns before it, and dialogues about one text begin with
that text. A tree stores each beginning once: a node is a run of tokens with its states, which
follows the runs of its parents. `plan` decides for all prompts of a call how each is read: which of
its first tokens have states, which run is read before it (one that several prompts begin with), and
which nodes a reading fills. The plan depends on the prompts of this call and of earlier ones, never
on time or threads.

Up to rounding, the model computes the same states for the same tokens in any batch: reusing them
changes logits no more than another batch would. When the budget is spent, the least recently used
nodes are dropped, but none that the current call uses, so that rounds over more dialogues than fit
keep the nodes they have.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

AHEAD = 32  # minimum length of a common beginning that is read once, before the prompts


@dataclass(eq=False)
class Beginning:
    """A run of tokens; `states` is (2, layers, heads, tokens, width) once the model has read it."""

    ids: tuple[int, ...]
    parent: Beginning | None = None
    used: int = 0  # number of the last call that used it
    children: dict[int, Beginning] = field(default_factory=dict)
    states: torch.Tensor | None = None


@dataclass
class Reading:
    """How a prompt is read: its first `known` tokens have states along `path`, the rest has none.

    Attributes:
        sample: see `Prefixes`.
        fills: nodes that receive states of this reading, with the position of their first token.
    """

    ids: Sequence[int]
    known: int
    path: list[Beginning]
    fills: list[tuple[int, Beginning]]
    sample: torch.Tensor

    def load(self, room: torch.Tensor) -> None:
        """Write the known states into the last columns of (2, layers, heads, W, width)."""
        place = room.shape[3] - self.known
        room[:, :, :, :place] = 0  # masked, but must be finite
        for node in self.path:
            if place == room.shape[3]:
                break
            assert node.states is not None
            count = min(len(node.ids), room.shape[3] - place)
            room[:, :, :, place : place + count] = node.states[:, :, :, :count]
            place += count

    def fill(self, read: torch.Tensor) -> None:
        """Store the states of the tokens just read, the last of which is the last column."""
        for place, node in self.fills:
            first = read.shape[3] - len(self.ids) + place
            node.states = read[:, :, :, first : first + len(node.ids)].clone()


def room_for(readings: Sequence[Reading], wide: int, columns: int) -> torch.Tensor:
    """States (2, layers, B, heads, columns, width); the known ones end before column `wide`."""
    two, layers, heads, _, width = readings[0].sample.shape
    room = readings[0].sample.new_empty((two, layers, len(readings), heads, columns, width))
    for row, reading in enumerate(readings):
        reading.load(room[:, :, row, :, :wide])
    return room


class Prefixes:
    """A tree with at most `budget` bytes of states of one model.

    Args:
        sample: states (2, layers, heads, 1, width) of one token, see `sample_states`.
    """

    def __init__(self, sample: torch.Tensor, budget: int) -> None:
        self.sample, self.budget = sample, budget
        self.bytes = 0
        self._token_bytes = sample.numel() * sample.element_size()
        self._root = Beginning(())
        self._call = 0
        self._idle: Iterator[Beginning] = iter(())

    def plan(self, prompts: Sequence[Sequence[int]]) -> list[list[Reading]]:
        """Stages of readings: the last one reads the prompts, earlier ones their beginnings."""
        self._call += 1
        for ids in prompts:
            for node in self._walk(ids)[0]:
                node.used = self._call
        self._idle = self._least_used()
        for ids in prompts:
            self._grow(ids)
        walks = [self._walk(ids) for ids in prompts]
        passing = Counter(node for path, _ in walks for node in path)
        stages: list[list[Reading]] = []
        planned: set[Beginning] = set()
        last = []
        for ids, (path, shared) in zip(prompts, walks):
            *before, reading = self._readings(ids, path, shared, passing)
            last.append(reading)
            for level, early in enumerate(before):
                target = early.fills[-1][1]
                if target not in planned:
                    planned.add(target)
                    if level == len(stages):
                        stages.append([])
                    stages[level].append(early)
        stages.append(last)
        _fill_once(stages)
        return stages

    def _walk(self, ids: Sequence[int]) -> tuple[list[Beginning], int]:
        """The nodes along these tokens, and how many tokens agree with them."""
        node, place, path = self._root, 0, []
        while place < len(ids) and (child := node.children.get(ids[place])) is not None:
            path.append(child)
            agree = _agreeing(child.ids, ids[place : place + len(child.ids)])
            place += agree
            if agree < len(child.ids):
                break
            node = child
        return path, place

    def _grow(self, ids: Sequence[int]) -> None:
        """Add nodes up to the end of these tokens, if there is room for them."""
        path, place = self._walk(ids)
        if not self._make_room((len(ids) - place) * self._token_bytes):
            return
        last = path[-1] if path else self._root
        over = sum(len(node.ids) for node in path) - place
        if over and (place < len(ids) or last.states is None):
            last = self._split(last, len(last.ids) - over)
        if place < len(ids):
            last.children[ids[place]] = Beginning(tuple(ids[place:]), last, self._call)

    def _split(self, node: Beginning, at: int) -> Beginning:
        """Replace a node by two; returns the upper one."""
        assert node.parent is not None
        upper = Beginning(node.ids[:at], node.parent, node.used)
        lower = Beginning(node.ids[at:], upper, node.used, node.children)
        if node.states is not None:
            # Copies, because a view keeps the memory of both.
            upper.states = node.states[:, :, :, :at].clone()
            lower.states = node.states[:, :, :, at:].clone()
        for child in lower.children.values():
            child.parent = lower
        upper.children[lower.ids[0]] = lower
        node.parent.children[upper.ids[0]] = upper
        return upper

    def _make_room(self, wanted: int) -> bool:
        """Reserve bytes, dropping nodes that this call does not use; returns whether they fit."""
        if wanted > self.budget:
            return False
        while self.bytes + wanted > self.budget:
            node = next(self._idle, None)
            if node is None:
                return False
            assert node.parent is not None
            del node.parent.children[node.ids[0]]
            self.bytes -= len(node.ids) * self._token_bytes
        self.bytes += wanted
        return True

    def _least_used(self) -> Iterator[Beginning]:
        """Nodes that this call does not use, oldest first and children before their parents."""
        found, open_nodes = [], [(0, self._root)]
        while open_nodes:
            depth, node = open_nodes.pop()
            open_nodes += [(depth + 1, child) for child in node.children.values()]
            if node.parent is not None and node.used < self._call:
                found.append((node.used, -depth, node))
        yield from (node for *_, node in sorted(found, key=lambda entry: entry[:2]))

    def _readings(
        self, ids: Sequence[int], path: list[Beginning], shared: int, passing: Counter[Beginning]
    ) -> Iterator[Reading]:
        """Readings of beginnings that other prompts share; then the reading of the prompt."""
        known = end = 0
        unread: list[tuple[int, Beginning]] = []
        for number, node in enumerate(path):
            start, end = end, end + len(node.ids)
            if node.states is None and end > shared:
                break  # belongs to a longer prompt, and there was no room to split it
            if node.states is not None and not unread:
                known = min(end, shared)
                continue
            unread.append((start, node))
            if passing[node] > 1 and end - known >= AHEAD:
                yield Reading(ids[:end], known, path[: number + 1], unread, self.sample)
                known, unread = end, []
        yield Reading(ids, min(known, len(ids) - 1), path, unread, self.sample)


def _fill_once(stages: list[list[Reading]]) -> None:
    """Let only the first reading that can fill a node fill it."""
    filled: set[Beginning] = set()
    for reading in (reading for stage in stages for reading in stage):
        reading.fills = [entry for entry in reading.fills if entry[1] not in filled]
        filled.update(node for _, node in reading.fills)


def _agreeing(run: Sequence[int], ids: Sequence[int]) -> int:
    """Length of the common beginning of two runs of tokens."""
    if tuple(ids) == tuple(run):
        return len(run)
    pairs = enumerate(zip(run, ids))
    return next((place for place, (a, b) in pairs if a != b), min(len(run), len(ids)))


@torch.inference_mode()
def sample_states(model: Any) -> torch.Tensor | None:
    """States (2, layers, heads, 1, width) of one token; None if layers have different shapes."""
    token = torch.zeros((1, 1), dtype=torch.long, device=next(model.parameters()).device)
    layers = model(input_ids=token, use_cache=True).past_key_values.layers
    states = [layer.keys[0] for layer in layers] + [layer.values[0] for layer in layers]
    if len({(state.shape, state.dtype) for state in states}) > 1:
        return None
    return torch.stack(states).unflatten(0, (2, len(layers)))
