"""Agreement of two judges and each judge's length bias, with a bootstrap over prompts.

Rows are verdicts; each belongs to a unit (its prompt), and whole units are resampled. Functions
take `counts` (R, units), the number of times each unit is drawn in each of R resamples, and return
one value per resample (R,). `with_point` prepends the sample itself, so that row 0 is the estimate.

    counts = with_point(resample_counts(prompt_set, units))
    shares = agreement(tables(a, b, units, counts))       # (R + 1,)
    figure = estimate(shares)                             # value, interval, replicates

kappa = 1 - sum(w o) / sum(w e) over pairs of labels, with observed shares o, expected shares e, and
w = [i != j] or (i - j)^2 (Cohen 1960 and 1968). If both judges always give the same single label,
kappa is 0/0; it is defined as 1 here, because nothing disagrees.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.core.errors import BadData
from harness.core.records import Interval
from harness.stats.bootstrap import OVER_PROMPTS, percentile_interval

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]

# Weight of two artificial drawn rows, at t = -1 and t = 1, in the length regression. They keep the
# slope finite if length alone separates wins from losses, and otherwise move it by less than one
# real row would.
PRIOR = 0.1
_NEWTON_STEPS = 25
_CHUNK = 64  # resamples solved at a time


@dataclass(frozen=True)
class Estimate:
    """A value with its interval and replicates (R,); None if the sample does not define it."""

    value: float | None
    interval: Interval | None = None
    replicates: Floats = field(default_factory=lambda: np.empty(0), repr=False, compare=False)


def with_point(counts: NDArray[np.int32]) -> Floats:
    """Counts (R, units) with the sample itself, each unit once, as row 0: (R + 1, units)."""
    return np.vstack([np.ones((1, counts.shape[1])), counts]).astype(np.float64)


def estimate(
    values: ArrayLike,
    level: float = 0.95,
    kind: str = OVER_PROMPTS,
    units: int | None = None,
    span: tuple[float, float] | None = None,
) -> Estimate:
    """Value and percentile interval from a point (entry 0) and its replicates: values (R + 1,).

    `units` and `span` as in `percentile_interval`. Without a span, replicates that do not vary (two
    judges that agree on every row) say nothing about other prompts, and there is no interval.

    A resample that does not define the value (no rows, no variance) counts as the point itself.
    """
    array = np.asarray(values, dtype=np.float64)
    if np.isnan(array[0]):
        return Estimate(None)
    point = float(array[0])
    replicates = np.where(np.isnan(array[1:]), point, array[1:])
    if not replicates.size:
        return Estimate(point)
    if units is not None and span is None and np.ptp(replicates) == 0:
        return Estimate(point, None, replicates)
    interval = percentile_interval(
        replicates, level, point=point, kind=kind, units=units, span=span
    )
    return Estimate(point, interval, replicates)


def unit_sums(columns: ArrayLike, units: Whole, size: int) -> Floats:
    """Sums of rows (n, c) by unit (n,): (size, c)."""
    array = np.asarray(columns, dtype=np.float64).reshape(len(units), -1)
    sums = np.zeros((size, array.shape[1]))
    np.add.at(sums, units, array)
    return sums


def means(values: ArrayLike, units: Whole, counts: Floats) -> Floats:
    """Mean of values (n,) in each resample: (R,); NaN values are left out."""
    array = np.asarray(values, dtype=np.float64)
    valid = ~np.isnan(array)
    both = np.column_stack([np.where(valid, array, 0.0), valid])
    drawn = counts @ unit_sums(both, units, counts.shape[1])
    return _ratio(drawn[:, 0], drawn[:, 1])


def tables(a: ArrayLike, b: ArrayLike, units: Whole, counts: Floats) -> Floats:
    """Confusion tables in each resample: rows labelled i by `a` and j by `b` (R, k, k).

    The k categories are the sorted distinct labels of both sides.

    Raises:
        BadData: labels are not two arrays (n,) of the same length.
    """
    first, second = np.asarray(a), np.asarray(b)
    if first.shape != second.shape or first.ndim != 1:
        raise BadData(
            f"labels of two judges have shapes {first.shape} and {second.shape}; expected (n,)"
        )
    names, codes = np.unique(np.concatenate([first, second]), return_inverse=True)
    k, n = len(names), len(first)
    cells = codes[:n] * k + codes[n:]
    sums = np.zeros((counts.shape[1], k * k))
    np.add.at(sums, (units, cells), 1.0)
    found: Floats = (counts @ sums).reshape(-1, k, k)
    return found


def agreement(found: Floats) -> Floats:
    """Share of rows with equal labels (R,), from `tables`."""
    return _ratio(np.trace(found, axis1=1, axis2=2), found.sum(axis=(1, 2)))


def kappa(found: Floats) -> Floats:
    """Cohen's unweighted kappa (R,), from `tables`."""
    total = found.sum(axis=(1, 2))
    observed = _ratio(total - np.trace(found, axis1=1, axis2=2), total)
    chance = np.einsum("ri,ri->r", found.sum(axis=2), found.sum(axis=1))
    expected = 1.0 - _ratio(chance, total**2)
    return _one_minus(observed, expected)


def kappa_of_sums(sums: ArrayLike) -> Floats:
    """Cohen's kappa (R,) of confusion tables as rows of k * k numbers (R, k * k)."""
    table = np.asarray(sums, dtype=np.float64)
    k = math.isqrt(table.shape[-1])
    return kappa(table.reshape(-1, k, k))


def quadratic_kappa(a: ArrayLike, b: ArrayLike, units: Whole, counts: Floats) -> Floats:
    """Kappa with weights (a - b)^2 (R,), for ratings a, b (n,).

    kappa = 1 - E(a - b)^2 / (var a + var b + (E a - E b)^2), with population variances: equal to
    the weighted kappa of the confusion table, and defined for non-integer ratings too.

    Raises:
        BadData: a and b are not two arrays (n,) of the same length.
    """
    m = _moments(a, b, units, counts)
    observed = m.aa - 2 * m.ab + m.bb
    expected = (m.aa - m.a**2) + (m.bb - m.b**2) + (m.a - m.b) ** 2
    return _one_minus(observed, expected)


def pearson(a: ArrayLike, b: ArrayLike, units: Whole, counts: Floats) -> Floats:
    """Pearson's correlation of a, b (n,) in each resample: (R,); NaN if one side is constant.

    Raises:
        BadData: a and b are not two arrays (n,) of the same length.
    """
    m = _moments(a, b, units, counts)
    first, second = m.aa - m.a**2, m.bb - m.b**2
    # The variance of equal numbers is 0 up to rounding, some 1e-16 of their mean square.
    defined = (first > 1e-13 * m.aa) & (second > 1e-13 * m.bb)
    scale = np.sqrt(np.where(defined, first * second, np.nan))
    return np.clip((m.ab - m.a * m.b) / scale, -1.0, 1.0)


def spearman(a: ArrayLike, b: ArrayLike) -> Floats:
    """Spearman's rank correlation along the last axis; ties get their mean rank."""
    return _correlation(_ranks(np.asarray(a, float)), _ranks(np.asarray(b, float)))


def kendall(a: ArrayLike, b: ArrayLike) -> Floats:
    """Kendall's tau-b along the last axis: concordant minus discordant pairs, with ties."""
    first, second = _signs(np.asarray(a, float)), _signs(np.asarray(b, float))
    both = np.sqrt((first**2).sum((-2, -1)) * (second**2).sum((-2, -1)))
    return _ratio((first * second).sum((-2, -1)), both)


def standard_gaps(lengths: ArrayLike, others: ArrayLike) -> Floats:
    """tanh(d / std(d)) of length differences d = lengths - others (n,), not centred.

    The length term of AlpacaEval 2's regression (Dubois et al. 2024, arXiv 2404.04475) with
    reversed sign: positive if the model's answer is longer. All are 0 if all differences are equal;
    NaN lengths stay NaN.
    """
    gaps = np.asarray(lengths, dtype=np.float64) - np.asarray(others, dtype=np.float64)
    known = gaps[~np.isnan(gaps)]
    spread = float(known.std(ddof=1)) if known.size > 1 else 0.0
    return np.tanh(gaps / spread) if spread > 0 else np.where(np.isnan(gaps), np.nan, 0.0)


def length_slopes(
    preferences: ArrayLike,
    gaps: ArrayLike,
    units: Whole,
    counts: Floats,
    systems: Whole | None = None,
) -> Floats:
    """Slope s of logit P(model wins) = c + s t, in each resample: (R,); NaN if all t are equal.

    Args:
        preferences: probability that the model wins, in [0, 1] (n,).
        gaps: t (n,), see `standard_gaps`.
        systems: number of each row's system (n,). Every system has a separate intercept c, so that
            a strong system with long answers does not look like a preference for length.

    e^s is the odds ratio between a much longer answer and one of equal length.
    """
    p, t = np.asarray(preferences, dtype=np.float64), np.asarray(gaps, dtype=np.float64)
    group = np.zeros(len(p), dtype=np.int64) if systems is None else systems
    valid = ~(np.isnan(p) | np.isnan(t))
    if not valid.any() or not np.ptp(t[valid]):
        return np.full(len(counts), np.nan)
    own = np.unique(group[valid])
    order = np.argsort(np.concatenate([group[valid], own, own]), kind="stable")
    p = np.concatenate([p[valid], np.full(2 * len(own), 0.5)])[order]
    t = np.concatenate([t[valid], np.full(len(own), -1.0), np.full(len(own), 1.0)])[order]
    sorted_groups = np.concatenate([group[valid], own, own])[order]
    starts = np.searchsorted(sorted_groups, own)
    # Column of each row's count; the artificial rows use an extra last column.
    column = np.concatenate([units[valid], np.full(2 * len(own), counts.shape[1])])[order]
    widths = np.diff(np.append(starts, len(p)))
    found = np.empty(len(counts))
    start = None
    for low in range(0, len(counts), _CHUNK):
        drawn = counts[low : low + _CHUNK]
        weights = np.hstack([drawn, np.full((len(drawn), 1), PRIOR)])[:, column]
        if start is None:
            start = _newton(p, t, weights[:1], starts, widths, np.zeros((1, len(own) + 1)))
        found[low : low + _CHUNK] = _newton(p, t, weights, starts, widths, start)[:, -1]
    return found


def _newton(
    p: Floats, t: Floats, weights: Floats, starts: Whole, widths: Whole, start: Floats
) -> Floats:
    """Logistic regressions with one intercept per group and one slope, for each row of weights.

    The Hessian's intercept block is diagonal, so the slope's Newton step needs only sums by group
    (Schur complement). Returns (R, groups + 1), the slope last.
    """
    found = np.repeat(start, len(weights) // len(start), axis=0)
    for _ in range(_NEWTON_STEPS):
        scores = np.repeat(found[:, :-1], widths, axis=1) + found[:, -1:] * t
        chance = 1.0 / (1.0 + np.exp(-scores))
        slack, bend = weights * (p - chance), weights * chance * (1.0 - chance)
        g0, h0 = (np.add.reduceat(part, starts, axis=1) for part in (slack, bend))
        h1 = np.add.reduceat(bend * t, starts, axis=1)
        h0 = np.maximum(h0, 1e-12)
        curve = np.maximum(bend @ t**2 - (h1**2 / h0).sum(1), 1e-12)
        slope = (slack @ t - (h1 * g0 / h0).sum(1)) / curve
        step = np.column_stack([(g0 - h1 * slope[:, None]) / h0, slope])
        found += np.clip(step, -2.0, 2.0)  # far from the optimum a full step may overshoot
        if np.abs(step).max() < 1e-7:  # the remaining error is about the square of the last step
            break
    return found


@dataclass(frozen=True)
class _Moments:
    a: Floats
    b: Floats
    aa: Floats
    bb: Floats
    ab: Floats


def _moments(a: ArrayLike, b: ArrayLike, units: Whole, counts: Floats) -> _Moments:
    """Means of a, b and their products in each resample, a and b centred by one common shift."""
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if x.shape != y.shape or x.ndim != 1:
        raise BadData(f"ratings of two judges have shapes {x.shape} and {y.shape}; expected (n,)")
    centre = float(np.concatenate([x, y]).mean()) if x.size else 0.0
    x, y = x - centre, y - centre
    columns = np.column_stack([x, y, x * x, y * y, x * y, np.ones_like(x)])
    drawn = counts @ unit_sums(columns, units, counts.shape[1])
    return _Moments(*(_ratio(drawn[:, place], drawn[:, 5]) for place in range(5)))


def _ratio(part: Floats, whole: Floats) -> Floats:
    """part / whole; NaN where whole is not above 0."""
    found = np.full(np.shape(whole), np.nan)
    np.divide(part, whole, out=found, where=np.asarray(whole) > 0)
    return found


def _one_minus(observed: Floats, expected: Floats) -> Floats:
    """1 - observed / expected; 1 where expected is 0 up to rounding, NaN where observed is NaN."""
    nothing = expected <= 1e-12
    found = 1.0 - np.divide(observed, np.where(nothing, 1.0, expected))
    return np.where(np.isnan(observed), np.nan, np.where(nothing, 1.0, found))


def _ranks(values: Floats) -> Floats:
    column, row = values[..., :, None], values[..., None, :]
    below = (row < column).sum(-1)
    same = (row == column).sum(-1)
    return np.asarray(below + (same + 1) / 2, dtype=np.float64)


def _signs(values: Floats) -> Floats:
    return np.sign(values[..., :, None] - values[..., None, :])


def _correlation(a: Floats, b: Floats) -> Floats:
    a = a - a.mean(-1, keepdims=True)
    b = b - b.mean(-1, keepdims=True)
    return _ratio((a * b).sum(-1), np.sqrt((a * a).sum(-1) * (b * b).sum(-1)))
