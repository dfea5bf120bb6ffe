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
COMMON = 2  # k: 1 and 4 took a third longer on 50,000 texts


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
    """The kept texts so far, each at its place."""

    def __init__(self, encoded: Encoded, limit: Threshold) -> None:
        self.encoded = encoded
        self.limit = limit
        self._lengths = np.diff(encoded.starts)
        self._members: list[int] = []
        self._sizes = np.zeros(len(encoded.rows), dtype=np.int64)  # number of elements, by place
        self._rests = np.zeros(len(encoded.rows), dtype=np.int64)  # elements behind the prefix
        self._starts = np.zeros(len(encoded.rows), dtype=np.int64)
        self._postings: dict[int, array[int]] = {}  # element -> places with it in their prefix
        self._exact: set[tuple[str, ...]] = set()
        self._marks = np.zeros(encoded.size, dtype=np.int64)

    def add(self, index: int) -> None:
        """Keep text `index`."""
        place = len(self._members)
        for element in self._prefix(index):
            self._postings.setdefault(element, array("i")).append(place)
        self._members.append(index)
        self._exact.add(tuple(self.encoded.rows[index]))
        self._sizes[place] = self._lengths[index]
        self._rests[place] = self._lengths[index] - self.encoded.prefixes[index]
        self._starts[place] = self.encoded.starts[index]

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
        for place in near:
            partner = self.encoded.rows[self._members[place]]
            if self.limit.exceeded(lcs_with(places, partner, n), len(partner), n):
                return True
        return False

    def _prefix(self, index: int) -> list[int]:
        start = self.encoded.starts[index]
        end = start + self.encoded.prefixes[index]
        found: list[int] = self.encoded.elements[start:end].tolist()
        return found

    def _meeting(self, index: int) -> Ints:
        """Places that share enough of the prefix.

        What two texts share lies in both prefixes, where it is counted, or behind the one that ends
        first.
        """
        met = [self._postings[e] for e in self._prefix(index) if e in self._postings]
        shared = np.bincount(np.frombuffer(b"".join(met), dtype=np.intc))
        candidates = (shared >= self.encoded.common[index]).nonzero()[0]
        n = self._lengths[index]
        others = self._sizes[candidates]
        rests = np.maximum(self._rests[candidates], n - self.encoded.prefixes[index])
        most = np.minimum(shared[candidates] + rests, np.minimum(others, n))
        found: Ints = candidates[2 * most > self.encoded.bound * (others + n)]
        return found

    def _overlapping(self, index: int, candidates: Ints) -> list[int]:
        """Those of the candidates that share enough elements, the most similar first."""
        if not candidates.size:
            return []
        encoded, others = self.encoded, self._sizes[candidates]
        own = encoded.elements[encoded.starts[index] : encoded.starts[index + 1]]
        self._marks[own] = 1
        ends = others.cumsum()
        begins = ends - others
        at = np.arange(ends[-1]) + (self._starts[candidates] - begins).repeat(others)
        shared = np.add.reduceat(self._marks[encoded.elements[at]], begins)
        self._marks[own] = 0
        spare = 2 * shared - encoded.bound * (others + len(own))
        near = (spare > 0).nonzero()[0]
        if near.size > 1:
            near = near[np.argsort(-spare[near], kind="stable")]
        found: list[int] = candidates[near].tolist()
        return found
