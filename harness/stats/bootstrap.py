"""Bootstrap over prompts: shared draws, percentile intervals, paired differences, seeds.

The resampling unit is the prompt (or a cluster of rows that share one), never a single verdict.
Draws depend only on the prompt set, so all systems and metrics of one prompt set use the same
resamples, and the difference of two cells has a paired interval (Efron and Tibshirani, An
Introduction to the Bootstrap, 1993, chapters 6, 13 and 16). Values must be given in the order of
the prompt set, because counts apply by position.

    counts = resample_counts(prompt_set, n)          # (rounds, n), each row sums to n
    replicates = replicate_means(values, counts)     # (rounds,)
    interval = percentile_interval(replicates, 0.95, point=values.mean(), units=n)

**Few units.** A percentile interval of n units is too narrow by a factor sqrt((n - 1) / n), and
ignores that the spread is estimated. With the number of units known, the quantile level alpha / 2
is replaced by Phi(-sqrt(n / (n - 1)) t_{n-1, 1 - alpha/2}), the expanded percentile interval of
Hesterberg (What Teachers Should Know About the Bootstrap, 2015, section 4). Below `FEW` units no
quantile reaches far enough, and the interval also contains the t interval. If all units have the
same value v, the resamples show no spread; with probability 1 - alpha at most q = 1 - alpha^(1/n)
of such units have another value, which bounds the mean within the span (lo, hi) of the metric by
v - q (v - lo) and v + q (hi - v) (the "rule of three"). This is applied to scores at an end of
their span (all won, all lost) and to differences other than 0. One unit has no interval.

**Seeds.** A score over S seeds is their mean. Its interval combines the interval over prompts of
the replicates averaged over seeds with t_{S-1} s / sqrt(S), s the standard deviation of the seeds'
values, by adding half-widths in quadrature on each side. Noise of prompts is also part of s, so
that the interval is slightly too wide if seeds do not matter; subtracting it makes verdicts on two
seeds wrong twice as often as stated.
"""

from __future__ import annotations

import math
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
NOT_IDENTIFIED = "not identified"  # kind of an interval that says the data cannot answer
FEW = 8  # fewer units than this also take the t interval


@dataclass(frozen=True)
class PairedDifference:
    """Difference of two scores, a minus b, with its paired bootstrap; or another contrast.

    Attributes:
        interval: None if only one unit was resampled.
        share_above: share of replicates above 0 (in which a is above b); ties count one half.
        p_value: two-sided: 1 minus the highest level at which the interval excludes 0, at least
            2 / (rounds + 1); None without an interval.
        rounds: number of resamples.
    """

    difference: float
    interval: Interval | None
    standard_error: float
    share_above: float
    p_value: float | None
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
    units: int | None = None,
    span: tuple[float, float] | None = None,
) -> Interval | None:
    """Percentile bootstrap interval, expanded for the number of units (see the module docstring).

    A percentile interval may not contain the estimate if the statistic is biased under resampling
    (a shrunken or bounded score) or the rounds are few. If `point` is given, the interval is
    widened to contain it.

    Args:
        units: number of resampling units; None takes the plain quantiles, 1 gives no interval.
        span: lowest and highest possible value of the statistic.

    Raises:
        BadData: no replicates, a NaN among them, or a level outside (0, 1).
    """
    return _Spread(replicates, point, units, _at_end(replicates, span)).interval(level, kind)


def seeds_interval(
    values: ArrayLike,
    replicates: ArrayLike,
    level: float = 0.95,
    *,
    kind: str = OVER_PROMPTS,
    units: int | None = None,
    span: tuple[float, float] | None = None,
) -> Interval | None:
    """Interval of the mean over seeds of values (S,) with replicates (S, R) on shared draws.

    Raises:
        BadData: as `percentile_interval`, or not one row of replicates per value.
    """
    seeds, table = _seeds(values, replicates)
    mean = table.mean(axis=0)
    spread = _Spread(mean, float(seeds.mean()), units, _at_end(mean, span), (seeds,))
    return spread.interval(level, kind)


def paired_difference(
    replicates_a: ArrayLike,
    replicates_b: ArrayLike,
    value_a: float,
    value_b: float,
    *,
    level: float = 0.95,
    units: int | None = None,
    span: tuple[float, float] | None = None,
    seeds: Sequence[ArrayLike] = (),
) -> PairedDifference:
    """Difference a - b with the interval of the differences of replicates, round by round.

    Both replicates (rounds,) must come from the same draws (same prompt set, n and rounds). The
    caller must check this; only the lengths are checked here.

    Args:
        units: number of resampling units, see `percentile_interval`.
        span: lowest and highest possible value of a and of b.
        seeds: per-seed values whose means vary between trainings: (the differences,) of systems
            with the same seeds, (values of a, values of b) of systems with different seeds.

    Raises:
        BadData: the two have different numbers of rounds, or none.
    """
    return contrast(
        (replicates_a, replicates_b), (1.0, -1.0), float(value_a - value_b),
        level=level, units=units, span=span, seeds=seeds,
    )  # fmt: skip


def contrast(
    replicates: Sequence[ArrayLike],
    weights: Sequence[float],
    value: float,
    *,
    level: float = 0.95,
    units: int | None = None,
    span: tuple[float, float] | None = None,
    seeds: Sequence[ArrayLike] = (),
) -> PairedDifference:
    """A weighted sum of scores with the interval of the same sum of replicates, round by round.

    As `paired_difference`, which has the weights (1, -1), for K scores: `replicates` are K rows
    (rounds,) from the same draws, `weights` K numbers with sum 0, `value` the sum of the scores
    themselves. A least-squares slope is one, see `harness.stats.slopes`.

    Args:
        seeds: (the weighted sums,) by seed of systems with the same seeds, else weight times
            per-seed values of each system.

    Raises:
        BadData: scores have different numbers of rounds, or none.
    """
    rows = [np.asarray(row, dtype=np.float64) for row in replicates]
    if len({row.shape for row in rows}) > 1 or rows[0].size == 0:
        sizes = " and ".join(str(row.size) for row in rows)
        raise BadData(f"paired scores have {sizes} replicates; expected equally many, not 0")
    gaps = np.zeros_like(rows[0])
    for weight, row in zip(weights, rows, strict=True):
        gaps += weight * row
    # Systems that never differ have [0, 0]: no verdict follows from it.
    reach = None if span is None or value == 0 else _reach(weights, span)
    spread = _Spread(gaps, value, units, reach, tuple(np.asarray(s, float) for s in seeds))
    return PairedDifference(
        difference=value,
        interval=spread.interval(level, f"paired {OVER_PROMPTS}"),
        standard_error=float(gaps.std(ddof=1)) if gaps.size > 1 else 0.0,
        share_above=float(np.mean(gaps > 0) + 0.5 * np.mean(gaps == 0)),
        p_value=spread.p_value(),
        rounds=int(gaps.size),
    )


def _reach(weights: Sequence[float], span: tuple[float, float]) -> tuple[float, float]:
    """Lowest and highest possible weighted sum of scores within a span."""
    ends = [sorted((weight * span[0], weight * span[1])) for weight in weights]
    return sum(low for low, _ in ends), sum(high for _, high in ends)


def _at_end(replicates: ArrayLike, span: tuple[float, float] | None) -> tuple[float, float] | None:
    """The span, or None if all replicates have one value inside of it (all draws)."""
    array = np.asarray(replicates, dtype=np.float64)
    inside = array.size > 0 and np.ptp(array) == 0 and span is not None and array[0] not in span
    return None if inside else span


class _Spread:
    """Replicates (R,) of a statistic, with what is known about its units and seeds.

    Args:
        seeds: groups of per-seed values, each of which adds the uncertainty of its mean to that of
            the point.
    """

    def __init__(
        self,
        replicates: ArrayLike,
        point: float | None,
        units: int | None,
        span: tuple[float, float] | None,
        seeds: tuple[Floats, ...] = (),
    ) -> None:
        array = np.asarray(replicates, dtype=np.float64)
        if array.size == 0 or np.isnan(array).any():
            found = f"NaN among {array.size}" if array.size else "none"
            raise BadData(
                f"cannot make an interval of replicates: {found}; expected finite replicates"
            )
        self.sorted = np.sort(array)
        self.point, self.units, self.span = point, units, span
        self.error = float(array.std()) if units is not None and units < FEW else 0.0
        self.seeds = [
            (len(group), float(group.std(ddof=1)) / math.sqrt(len(group)))
            for group in seeds
            if len(group) > 1
        ]

    def interval(self, level: float, kind: str) -> Interval | None:
        """The interval at `level`; None for a single unit."""
        if not 0.0 < level < 1.0:
            raise BadData(f"interval level is {level}; expected a value between 0 and 1, like 0.95")
        if self.units is not None and self.units < 2:
            return None
        low, high = self._ends(level)
        return Interval(low=low, high=high, level=level, kind=kind)

    def p_value(self) -> float | None:
        """1 minus the highest level at which the interval excludes 0, by bisection."""
        if self.units is not None and self.units < 2:
            return None

        def excludes(p: float) -> bool:
            low, high = self._ends(1.0 - p)
            return low > 0 or high < 0

        least, most = 2.0 / (self.sorted.size + 1.0), 1.0 - 1e-9
        if least >= most or not excludes(most):
            return 1.0
        if excludes(least):
            return least
        while most - least > 1e-6:
            middle = 0.5 * (least + most)
            least, most = (least, middle) if excludes(middle) else (middle, most)
        return most

    def _ends(self, level: float) -> tuple[float, float]:
        low, high = self._over_units(level)
        if self.point is None:
            return low, high
        centre = self.point
        low, high = min(low, centre), max(high, centre)
        if not self.seeds:
            return low, high
        halves = [student(count - 1, level) * error for count, error in self.seeds]
        return centre - math.hypot(centre - low, *halves), centre + math.hypot(
            high - centre, *halves
        )

    def _over_units(self, level: float) -> tuple[float, float]:
        least, greatest = float(self.sorted[0]), float(self.sorted[-1])
        if self.units is None:
            return self._quantile((1 - level) / 2), self._quantile((1 + level) / 2)
        if least == greatest and self.span is not None:
            other = 1.0 - (1.0 - level) ** (1.0 / self.units)
            low, high = self.span
            return least - other * (least - low), greatest + other * (high - greatest)
        tail = expanded_tail(level, self.units)
        low, high = self._quantile(tail), self._quantile(1.0 - tail)
        if self.units < FEW:
            centre = float(self.sorted.mean()) if self.point is None else self.point
            half = student(self.units - 1, level) * self.error
            half *= math.sqrt(self.units / (self.units - 1))
            low, high = min(low, centre - half), max(high, centre + half)
            if self.span is not None:
                low, high = max(low, self.span[0]), min(high, self.span[1])
        return low, high

    def _quantile(self, share: float) -> float:
        place = share * (self.sorted.size - 1)
        below = int(place)
        first, second = self.sorted[below], self.sorted[min(below + 1, self.sorted.size - 1)]
        return float(first + (place - below) * (second - first))


def expanded_tail(level: float, units: int) -> float:
    """Quantile level below the interval: Phi(-sqrt(n / (n - 1)) t_{n-1}) for n units.

    >>> round(expanded_tail(0.95, 20), 4), round(expanded_tail(0.95, 10**6), 4)
    (0.0159, 0.025)
    """
    from scipy.special import ndtr  # scipy.stats takes seconds to import

    return float(ndtr(-math.sqrt(units / (units - 1)) * student(units - 1, level)))


@lru_cache(maxsize=4096)
def student(freedom: int, level: float) -> float:
    """Two-sided quantile of Student's t: P(|t| <= student) = level.

    >>> round(student(1, 0.95), 3)
    12.706
    """
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.5 * (1.0 + level)))


def _seeds(values: ArrayLike, replicates: ArrayLike) -> tuple[Floats, Floats]:
    seeds, table = np.asarray(values, dtype=np.float64), np.asarray(replicates, dtype=np.float64)
    if table.ndim != 2 or table.size == 0 or seeds.shape != (len(table),):
        raise BadData(
            f"values of seeds have shape {seeds.shape} and replicates {table.shape}; expected "
            "(seeds,) and (seeds, rounds)"
        )
    return seeds, table
