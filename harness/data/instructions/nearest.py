"""The nearest of a growing set of texts by ROUGE-L F, exactly.

The overlap o of two multisets of tokens bounds F by 2 o / (m + n). Texts are compared in the order
of their bounds until the next bound is below the best F found.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.data.instructions.cascade import SLACK, encode
from harness.data.instructions.rouge_l import f_measure, lcs_with, positions


@dataclass(frozen=True)
class Neighbour:
    """A text, its F, and (LCS, m, n) of the comparison."""

    index: int
    rouge_l: float
    counts: tuple[int, int, int]


class Nearest:
    """Texts that were added, of those given (lists of tokens)."""

    def __init__(self, rows: Sequence[Sequence[str]]) -> None:
        self._encoded = encode(rows, 0.0)
        self._lengths = np.diff(self._encoded.starts)
        self._postings: dict[int, array[int]] = {}  # element -> places in `_added`
        self._added: list[int] = []
        self._sizes = np.zeros(len(rows), dtype=np.int64)

    def add(self, index: int) -> None:
        """Add text `index`."""
        place = len(self._added)
        for element in self._elements(index):
            self._postings.setdefault(element, array("i")).append(place)
        self._sizes[place] = self._lengths[index]
        self._added.append(index)

    def of(self, index: int) -> Neighbour | None:
        """The first added text that reaches the highest F with text `index`; None without any."""
        if not self._added:
            return None
        rows = self._encoded.rows
        row, n = rows[index], len(rows[index])
        best = Neighbour(self._added[0], 0.0, (0, len(rows[self._added[0]]), n))
        met = [self._postings[e] for e in self._elements(index) if e in self._postings]
        if not met:
            return best
        shared = np.bincount(np.frombuffer(b"".join(met), dtype=np.intc))
        sharing = np.flatnonzero(shared)
        bounds = 2 * shared[sharing] / (self._sizes[sharing] + n)
        places, first = positions(row), len(self._added)
        order = np.argsort(-bounds, kind="stable")
        for bound, place in zip(bounds[order].tolist(), sharing[order].tolist(), strict=True):
            if bound < best.rouge_l - SLACK:
                break
            partner = rows[self._added[place]]
            lcs = lcs_with(places, partner, n)
            found = f_measure(lcs, len(partner), n)
            if found > best.rouge_l or (found == best.rouge_l and place < first):
                first = place
                best = Neighbour(self._added[place], found, (lcs, len(partner), n))
        return best

    def _elements(self, index: int) -> list[int]:
        start, end = self._encoded.starts[index : index + 2]
        found: list[int] = self._encoded.elements[start:end].tolist()
        return found
