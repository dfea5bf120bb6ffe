"""Search for a kept text within a ROUGE-L threshold of another, without comparing every pair.

A common subsequence is at most as long as the overlap o of the two multisets of tokens, so that
F > t needs 2 o > t (m + n). Every (token, occurrence) is an element of a set with its own number,
rare ones first, and three tests follow one another:

    prefix    o > s = t n / (2 - t) for every partner of a text of n tokens; so two texts within
              the threshold share at least k elements among the rarest n - s + k of each (prefix
              filter, Bayardo et al. 2007; with k > 1, Wang et al. 2012, Adapt-Join)
    overlap   2 o > t (m + n), counted for all candidates at once
    LCS       of the survivors, bit-parallel, and the comparison that decides

The first two carry a small slack, so that only the last decides at the threshold.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.data.instructions.rouge_l import Threshold, lcs_with, positions

Ints = NDArray[np.int64]
SLACK = 1e-9
COMMON = 3


@dataclass(frozen=True)
class Encoded:
    """Texts as rows of numbers.

    Attributes:
        rows: tokens of each text.
        elements: numbers of the (token, occurrence) elements of all texts, rare ones first in each.
        starts: place of each text's first element, and the end of the last.
        common: number of elements that a near partner shares at least with a text's prefix.
        prefixes: number of elements in each prefix.
        bound: threshold minus the slack.
    """

    rows: Sequence[Sequence[str]]
    elements: Ints
    starts: Ints
    common: Ints
    prefixes: Ints
    bound: float
    size: int


def encode(rows: Sequence[Sequence[str]], threshold: float) -> Encoded:
    """Number the elements of texts (lists of tokens) for a threshold of at least 0."""
    numbers: dict[object, int] = {}
    flat: list[int] = []
    for row in rows:
        keys = row if len(set(row)) == len(row) else _occurrences(row)
        flat += [numbers.setdefault(key, len(numbers)) for key in keys]
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    starts = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)])
    found = np.array(flat, dtype=np.int64)
    size = len(numbers)
    order = np.argsort(np.bincount(found, minlength=size), kind="stable")
    ranks = np.empty(size, dtype=np.int64)
    ranks[order] = np.arange(size)
    # Sorted within each text: the text's number leads.
    owners = np.repeat(np.arange(len(rows)), lengths) * max(size, 1)
    elements = np.sort(owners + ranks[found]) - owners
    bound = max(threshold - SLACK, 0.0)
    shared = np.floor(lengths * bound / (2 - bound) - SLACK).astype(np.int64) + 1
    shared = np.maximum(shared, 1)
    common = np.minimum(shared, COMMON)
    prefixes = np.maximum(lengths - shared + common, 0)
    return Encoded(rows, elements, starts, common, prefixes, bound, size)


def _occurrences(row: Sequence[str]) -> list[object]:
    """Tokens, the second and later occurrences numbered."""
    seen: dict[str, int] = {}
    keys: list[object] = []
    for token in row:
        number = seen[token] = seen.get(token, 0) + 1
        keys.append(token if number == 1 else (token, number))
    return keys


class Kept:
    """The kept texts so far."""

    def __init__(self, encoded: Encoded, limit: Threshold) -> None:
        self.encoded = encoded
        self.limit = limit
        self._postings: dict[int, array[int]] = {}  # element -> kept texts with it in their prefix
        self._exact: set[tuple[str, ...]] = set()
        self._marks = np.zeros(encoded.size, dtype=np.int64)
        self._lengths = np.diff(encoded.starts)

    def add(self, index: int) -> None:
        for element in self._prefix(index):
            self._postings.setdefault(element, array("i")).append(index)
        self._exact.add(tuple(self.encoded.rows[index]))

    def is_near(self, index: int) -> bool:
        """Whether some kept text exceeds the threshold with text `index`."""
        row = self.encoded.rows[index]
        if not row or self.limit.value >= 1:
            return False
        if tuple(row) in self._exact:
            return True
        near = self._overlapping(index, self._meeting(index))
        if not near:
            return False
        places, n = positions(row), len(row)
        for other in near:
            partner = self.encoded.rows[other]
            if self.limit.exceeded(lcs_with(places, partner, n), len(partner), n):
                return True
        return False

    def _prefix(self, index: int) -> list[int]:
        start = self.encoded.starts[index]
        end = start + self.encoded.prefixes[index]
        found: list[int] = self.encoded.elements[start:end].tolist()
        return found

    def _meeting(self, index: int) -> NDArray[np.intc]:
        """Kept texts that share enough of the prefix."""
        met = [self._postings[e] for e in self._prefix(index) if e in self._postings]
        found = np.frombuffer(b"".join(met), dtype=np.intc).copy()
        found.sort()
        again = int(self.encoded.common[index]) - 1  # a candidate is repeated that often
        found = found[again:][found[again:] == found[: found.size - again]]
        return np.concatenate((found[:1], found[1:][found[1:] != found[:-1]]))

    def _overlapping(self, index: int, candidates: NDArray[np.intc]) -> list[int]:
        """Those of the candidates that share enough elements, the most similar first."""
        encoded = self.encoded
        n = self._lengths[index]
        others = self._lengths[candidates]
        fit = 2 * np.minimum(others, n) > encoded.bound * (others + n)
        candidates, others = candidates[fit], others[fit]
        if not candidates.size:
            return []
        own = encoded.elements[encoded.starts[index] : encoded.starts[index + 1]]
        self._marks[own] = 1
        ends = others.cumsum()
        begins = ends - others
        places = np.arange(ends[-1]) + (encoded.starts[candidates] - begins).repeat(others)
        shared = np.add.reduceat(self._marks[encoded.elements[places]], begins)
        self._marks[own] = 0
        spare = 2 * shared - encoded.bound * (others + n)
        near = (spare > 0).nonzero()[0]
        if near.size > 1:
            near = near[np.argsort(-spare[near], kind="stable")]
        found: list[int] = candidates[near].tolist()
        return found
