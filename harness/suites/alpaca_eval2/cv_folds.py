"""Assignment of rows to cross-validation folds, for today's and yesterday's libraries.

scikit-learn's GroupKFold ranks groups by size and deals them out in turn. When every group has
one size the ranking is the order of an argsort over equal keys: stable in recent versions, and
whatever numpy's unstable sort leaves in older ones. Published length-controlled win rates depend
on it in the second decimal (specs: tatsu-lab/alpaca_eval, metrics/glm_winrate.py), so both are
reproduced here.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

# Segments of at most this many entries are left to insertion sort, which moves no equal keys.
_INSERTION_SPAN = 15


def stable_folds(n: int, folds: int = 5) -> NDArray[np.int64]:
    """Fold of each of n rows as recent scikit-learn deals them: (n - 1 - row) mod folds.

    >>> stable_folds(7).tolist()
    [1, 0, 4, 3, 2, 1, 0]
    """
    return np.arange(n - 1, -1, -1, dtype=np.int64) % folds


@lru_cache(maxsize=32)
def legacy_folds(n: int, folds: int = 5) -> NDArray[np.int64]:
    """Fold of each of n rows as older versions dealt them (read-only).

    Groups were taken from the end of `np.argsort(equal sizes)`, computed by numpy's scalar
    introsort (builds without vector sort kernels).
    """
    ranks = np.empty(n, dtype=np.int64)
    ranks[introsort_order_of_equals(n)[::-1]] = np.arange(n) % folds
    ranks.setflags(write=False)
    return ranks


def introsort_order_of_equals(n: int) -> NDArray[np.int64]:
    """The permutation numpy's scalar argsort makes of n equal keys.

    Median-of-three quicksort: with equal keys no comparison is ever true, both scanning pointers
    stop at every step, and each partition swaps entry by entry towards the middle. Balanced
    halves never reach the depth at which introsort turns to heapsort.
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
