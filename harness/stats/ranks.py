"""Confidence sets for ranks, from all paired differences at once.

Mogstad, Romano, Shaikh and Wilhelm (Inference for Ranks with Applications to Mobility across
Neighbourhoods and Academic Achievement across Countries, Review of Economic Studies 91, 2024,
section 3): with simultaneous intervals for all differences of K systems, the rank of a system lies
between 1 + the number of systems shown to be above it and K - the number shown to be below it, and
with probability `level` this holds for all K ranks together. The intervals are those of the largest
studentised difference in the shared resamples (their single-step method):

    |d_jk| > c se_jk,    c = quantile over rounds r of max_jk |d_jk^r - mean d_jk| / se_jk

c grows with K (3.2 for 10 equal systems, 3.8 for 30), where a single difference has 1.96.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike


def simultaneous_factor(draws: Sequence[ArrayLike], level: float = 0.95) -> float:
    """The factor c of standard errors that all differences respect together.

    Args:
        draws: for each pair of systems, the differences in the shared resamples (rounds,). Pairs
            that never vary are left out.

    >>> rows = np.random.default_rng(0).normal(size=(1, 4000))
    >>> round(simultaneous_factor(rows), 1)
    2.0
    """
    table = np.array([np.asarray(row, dtype=np.float64) for row in draws])
    if not table.size:
        return 0.0
    spread = table.std(axis=1)
    kept = table[spread > 0]
    if not len(kept):
        return 0.0
    scaled = np.abs(kept - kept.mean(axis=1, keepdims=True)) / spread[spread > 0][:, None]
    return float(np.quantile(scaled.max(axis=0), level))


def expanded_factor(factor: float, units: int) -> float:
    """The factor for n resampling units: sqrt(n / (n - 1)) t, t Student's quantile of its level.

    As single intervals are expanded, see `harness.stats.bootstrap`. Infinite for one unit.
    """
    if units < 2:
        return math.inf
    from scipy.special import ndtr, stdtrit  # scipy.stats takes seconds to import

    # Far out, the quantile level is 1 to the last bit.
    share = min(float(ndtr(factor)), 1.0 - 1e-12)
    return math.sqrt(units / (units - 1)) * float(stdtrit(units - 1, share))


def rank_ranges(count: int, above: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Lowest and highest possible rank of each of `count` systems.

    Args:
        above: pairs (j, k) of which j is shown to be better than k.

    >>> rank_ranges(3, [(0, 2), (1, 2)])
    [(1, 2), (1, 2), (3, 3)]
    """
    better, worse = [0] * count, [0] * count
    for first, second in set(above):
        better[second] += 1
        worse[first] += 1
    return [(1 + better[place], count - worse[place]) for place in range(count)]
