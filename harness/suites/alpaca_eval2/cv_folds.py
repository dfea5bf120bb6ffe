"""Cross-validation folds of length control, as in recent and in older scikit-learn.

GroupKFold sorts groups by size and assigns them to folds in turn. If all groups have the same
size, the order is that of an argsort of equal keys: stable in recent versions, and that of numpy's
unstable sort in older ones. Published length-controlled win rates depend on it in the second
decimal (tatsu-lab/alpaca_eval, metrics/glm_winrate.py), so both orders are reproduced.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

# Segments up to this size are insertion-sorted, which does not move equal keys.
_INSERTION_SPAN = 15


def stable_folds(n: int, folds: int = 5) -> NDArray[np.int64]:
    """Fold of each of n rows in recent scikit-learn, (n - 1 - row) mod folds: (n,) int64.

    >>> stable_folds(7).tolist()
    [1, 0, 4, 3, 2, 1, 0]
    """
    return np.arange(n - 1, -1, -1, dtype=np.int64) % folds


@lru_cache(maxsize=32)
def legacy_folds(n: int, folds: int = 5) -> NDArray[np.int64]:
    """Fold of each of n rows in older scikit-learn: (n,) int64, cached and read-only.

    Groups were taken from the end of `np.argsort(equal sizes)`, computed by numpy's scalar
    introsort (builds without vector sort kernels).
    """
    ranks = np.empty(n, dtype=np.int64)
    ranks[introsort_order_of_equals(n)[::-1]] = np.arange(n) % folds
    ranks.setflags(write=False)
    return ranks


def introsort_order_of_equals(n: int) -> NDArray[np.int64]:
    """Permutation (n,) that numpy's scalar argsort returns for n equal keys.

    Median-of-three quicksort: with equal keys no comparison is true, both scanning pointers stop at
    every step, and each partition swaps entry by entry towards the middle. The halves are balanced,
    so introsort never falls back to heapsort.
    """
    order = list(range(n))
    pending = [(0, n - 1)]
    while pending:
        low, high = pending.pop()
        while high - low > _INSERTION_SPAN:
            middle = low + ((high - low) >> 1)
            order[middle], order[high - 1] = order[high - 1], order[middle]
            left, right = low + 1, high - 2
            while left < right:
                order[left], order[right] = order[right], order[left]
                left, right = left + 1, right - 1
            order[left], order[high - 1] = order[high - 1], order[left]
            if left - low < high - left:
                pending.append((left + 1, high))
                high = left - 1
            else:
                pending.append((low, left - 1))
                low = left + 1
    return np.array(order, dtype=np.int64)
