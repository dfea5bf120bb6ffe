"""Bootstrap over prompts: shared draws, percentile intervals, paired differences, nested seeds.

The resampling unit is the prompt (or a cluster of rows that share one), never a single verdict.
Draws depend only on the prompt set, so all systems and metrics of one prompt set use the same
resamples, and the difference of two cells has a paired interval (Efron and Tibshirani, An
Introduction to the Bootstrap, 1993, chapters 6, 13 and 16). Values must be given in the order of
the prompt set, because counts apply by position.

    counts = resample_counts(prompt_set, n)          # (rounds, n), each row sums to n
    replicates = replicate_means(values, counts)     # (rounds,)
    interval = percentile_interval(replicates, 0.95, point=values.mean())
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.core.errors import BadData
from harness.core.hashing import seed_from
from harness.core.records import Interval

Counts = NDArray[np.int32]
Floats = NDArray[np.float64]

OVER_PROMPTS = "bootstrap over prompts"


@dataclass(frozen=True)
class PairedDifference:
    """Difference of two scores, a minus b, with its paired bootstrap.

    Attributes:
        share_above: share of replicates in which a is above b; ties count one half.
        p_value: two-sided bootstrap p-value of no difference, at least 2 / (rounds + 1).
        rounds: number of resamples.
    """

    difference: float
    interval: Interval
    standard_error: float
    share_above: float
    p_value: float
    rounds: int


@lru_cache(maxsize=16)
def resample_counts(prompt_set: str, n: int, rounds: int = 1000) -> Counts:
    """Number of times each of `n` prompts is drawn in each of `rounds` resamples (rounds, n).

    Every row is a multinomial draw of n prompts with equal probabilities. The seed depends only on
    (prompt_set, n, rounds). The returned array is cached and read-only.

    Raises:
        BadData: n or rounds is below 1.
    """
    if n < 1 or rounds < 1:
        raise BadData(f"cannot resample {n} prompts {rounds} times; both must be at least 1")
    generator = np.random.Generator(np.random.PCG64(seed_from("bootstrap", prompt_set, n, rounds)))
    counts = np.empty((rounds, n), dtype=np.int32)
    for row in counts:
        row[:] = np.bincount(generator.integers(0, n, n), minlength=n)
    counts.setflags(write=False)
    return counts


def cluster_counts(
    prompt_set: str, clusters: Sequence[Hashable], rounds: int = 1000
) -> NDArray[np.int32]:
    """Counts of rows if whole clusters are drawn: (rounds, len(clusters)) int32.

    `clusters` contains the cluster of each row (the question of a turn, the topic of a prompt).
    Clusters are numbered in order of first appearance; k clusters are drawn as in
    `resample_counts(prompt_set, k, rounds)`, to which this is equal with one row per cluster.
    """
    numbers: dict[Hashable, int] = {}
    member = [numbers.setdefault(name, len(numbers)) for name in clusters]
    drawn: Counts = resample_counts(prompt_set, len(numbers), rounds)[:, member]
    return drawn


def replicate_means(values: ArrayLike, counts: NDArray[np.int32]) -> Floats:
    """Mean of `values` (n,) in each resample of `counts` (rounds, n): replicates (rounds,).

    NaN marks a missing value (a failed judgment) and is left out of sum and count. A resample
    without any valid value gets the mean of all values (possible only if nearly all are NaN).

    Raises:
        BadData: lengths differ, or no value is valid.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or counts.ndim != 2 or counts.shape[1] != array.size:
        raise BadData(
            f"values have shape {array.shape} and counts {counts.shape}; expected (n,), (rounds, n)"
        )
    valid = ~np.isnan(array)
    if not valid.any():
        raise BadData("no valid value to average: every judgment failed")
    # BLAS multiplies float64 matrices, not integer ones.
    drawn = counts.astype(np.float64)
    # Centred, so that equal values give replicates that are equal to the last bit.
    centre = float(array[valid].mean())
    total = drawn @ np.where(valid, array - centre, 0.0)
    weight = drawn @ valid.astype(np.float64)
    replicates: Floats = centre + np.divide(
        total, weight, out=np.zeros_like(total), where=weight > 0
    )
    return replicates


def percentile_interval(
    replicates: ArrayLike,
    level: float = 0.95,
    *,
    point: float | None = None,
    kind: str = OVER_PROMPTS,
) -> Interval:
    """Percentile bootstrap interval: the (1-level)/2 and (1+level)/2 quantiles of the replicates.

    A percentile interval may not contain the estimate if the statistic is biased under resampling
    (a shrunken or bounded score) or the rounds are few. If `point` is given, the interval is
    widened to contain it.

    Raises:
        BadData: no replicates, a NaN among them, or a level outside (0, 1).
    """
    array = np.asarray(replicates, dtype=np.float64)
    if array.size == 0 or np.isnan(array).any():
        found = f"NaN among {array.size}" if array.size else "none"
        raise BadData(f"cannot make an interval of replicates: {found}; expected finite replicates")
    if not 0.0 < level < 1.0:
        raise BadData(f"interval level is {level}; expected a value between 0 and 1, like 0.95")
    low, high = (float(q) for q in np.quantile(array, [(1 - level) / 2, (1 + level) / 2]))
    if point is not None:
        low, high = min(low, point), max(high, point)
    return Interval(low=low, high=high, level=level, kind=kind)


def paired_difference(
    replicates_a: ArrayLike,
    replicates_b: ArrayLike,
    value_a: float,
    value_b: float,
    *,
    level: float = 0.95,
) -> PairedDifference:
    """Difference a - b with the interval of the differences of replicates, round by round.

    Both replicates (rounds,) must come from the same draws (same prompt set, n and rounds). The
    caller must check this; only the lengths are checked here.

    Raises:
        BadData: the two have different numbers of rounds, or none.
    """
    a, b = np.asarray(replicates_a, dtype=np.float64), np.asarray(replicates_b, dtype=np.float64)
    if a.shape != b.shape or a.size == 0:
        raise BadData(
            f"paired scores have {a.size} and {b.size} replicates; expected equally many, not 0"
        )
    gaps = a - b
    point = float(value_a - value_b)
    above = float(np.mean(gaps > 0) + 0.5 * np.mean(gaps == 0))
    tail = min(float(np.sum(gaps <= 0)), float(np.sum(gaps >= 0)))
    return PairedDifference(
        difference=point,
        interval=percentile_interval(gaps, level, point=point, kind=f"paired {OVER_PROMPTS}"),
        standard_error=float(gaps.std(ddof=1)) if gaps.size > 1 else 0.0,
        share_above=above,
        p_value=min(1.0, 2.0 * (tail + 1.0) / (gaps.size + 1.0)),
        rounds=int(gaps.size),
    )


def combine_seeds(replicates: ArrayLike, seeded: str) -> Floats:
    """Nest seeds in the prompt bootstrap: (S, R) replicates of S seeds -> (R,).

    In each round S seeds are drawn with replacement and their replicates of that round are
    averaged, so the interval covers the variation between runs as well as between prompts. The
    draws depend only on (seeded, S, R); systems with the same `seeded` share them.

    Raises:
        BadData: not a table of at least one seed and one round.
    """
    table = np.asarray(replicates, dtype=np.float64)
    if table.ndim != 2 or table.size == 0:
        raise BadData(f"replicates of seeds have shape {table.shape}; expected (seeds, rounds)")
    seeds, rounds = table.shape
    drawn = resample_counts(f"seeds of {seeded}", seeds, rounds)  # (R, S)
    combined: Floats = np.einsum("rs,sr->r", drawn.astype(np.float64), table) / seeds
    return combined
