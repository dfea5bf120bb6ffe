"""Occurrence of verb-noun pairs in a data set: number, mean, deviation, and the commonest."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

Pair = tuple[str, str]


@dataclass(frozen=True)
class PairStatistics:
    """Occurrence of pairs.

    Attributes:
        texts: number of instructions, with and without a pair.
        total: number of pairs, repeats included.
        counts: pair -> number of occurrences, the commonest first, then in alphabetical order.
    """

    texts: int
    total: int
    counts: dict[Pair, int]

    @property
    def unique(self) -> int:
        return len(self.counts)

    @property
    def average(self) -> float | None:
        """Mean occurrence of a pair, total / unique; None without pairs."""
        return self.total / self.unique if self.counts else None

    def deviation(self, sample: bool = False) -> float | None:
        """Standard deviation of the occurrence over pairs; which one papers use is not known.

        Args:
            sample: divide by unique - 1, None for a single pair; otherwise by unique.
        """
        mean, divisor = self.average, self.unique - sample
        if mean is None or divisor < 1:
            return None
        return math.sqrt(sum((count - mean) ** 2 for count in self.counts.values()) / divisor)

    def top(self, k: int = 15) -> list[tuple[Pair, int, float]]:
        """The k commonest pairs with their number and their share of all pairs."""
        first = list(self.counts.items())[:k]
        return [(pair, count, count / self.total) for pair, count in first]

    def top_share(self, k: int = 15) -> float | None:
        """Share of the k commonest pairs in all pairs; None without pairs."""
        return sum(count for _, count, _ in self.top(k)) / self.total if self.total else None


def pair_statistics(pairs: Iterable[Pair | None]) -> PairStatistics:
    """Statistics of the pairs of a data set, one per instruction; None is an instruction without.

    >>> found = pair_statistics([("write", "poem"), ("write", "poem"), ("list", "idea"), None])
    >>> found.unique, found.average, found.top(1)
    (2, 1.5, [(('write', 'poem'), 2, 0.6666666666666666)])
    """
    listed = [None if pair is None else (pair[0], pair[1]) for pair in pairs]
    counted = Counter(pair for pair in listed if pair is not None)
    ordered = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    return PairStatistics(len(listed), counted.total(), dict(ordered))
