"""Replicates of a mean, a ratio or another function of sums, recomputed from rows to the last bit.

    replicate_r = sum_i c_ri v_i / sum_i c_ri w_i    c_ri: draws of row i's unit in round r

Values and weights are decimals with at most `DECIMALS` places. They are added as integers, which
float64 holds exactly, so that neither the order of addition nor the machine changes a result, and
stored rows stand for the replicates themselves. Other functions of sums (an F score, BLEU) take the
sums of several columns, `sums_of_rows`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from harness.stats.bootstrap import resample_counts

DECIMALS = 6
_SCALE = 10**DECIMALS
_MOST = 2**53  # integers up to here are exact in float64


def replicates_of_rows(
    prompt_set: str,
    values: Sequence[float | None],
    rounds: int,
    *,
    weights: Sequence[float] = (),
    clusters: Sequence[int] = (),
) -> NDArray[np.float64] | None:
    """Ratio of the sums in each resample of `prompt_set`: (rounds,).

    A resample without weight has the ratio of the sample.

    Args:
        values: numerator of each row; None leaves the row out.
        weights: denominator of each row; () takes 1.
        clusters: number of each row's resampling unit, from 0; () takes one unit per row.

    Returns:
        None if no row has weight, or if the sums are too large to be exact.
    """
    known = np.array([value is not None for value in values], dtype=bool)
    above = _whole([0.0 if value is None else value for value in values])
    below = np.where(known, _whole(weights or [1.0] * len(values)), 0.0)
    units = np.asarray(clusters or range(len(values)), dtype=np.int64)
    if not below.sum():
        return None
    n = int(units.max()) + 1
    # No unit is drawn more often than there are units.
    if n * max(np.abs(above).sum(), np.abs(below).sum()) >= _MOST:
        return None
    counts = resample_counts(prompt_set, n, rounds).astype(np.float64)
    totals = counts @ np.bincount(units, above, n)
    drawn = counts @ np.bincount(units, below, n)
    whole = float(above.sum() / below.sum())
    ratios: NDArray[np.float64] = np.divide(
        totals, drawn, out=np.full(rounds, whole), where=drawn > 0
    )
    return ratios


def sums_of_rows(
    prompt_set: str,
    columns: Sequence[Sequence[float]],
    rounds: int,
    *,
    clusters: Sequence[int] = (),
) -> NDArray[np.float64] | None:
    """Sums of columns in the sample and in each resample of `prompt_set`: (1 + rounds, columns).

    Args:
        columns: for each, one number per row.
        clusters: as in `replicates_of_rows`.

    Returns:
        None without rows, or if the sums are too large to be exact.
    """
    table = np.stack([_whole(column) for column in columns]) if columns else np.empty((0, 0))
    units = np.asarray(clusters or range(table.shape[1]), dtype=np.int64)
    if not units.size:
        return None
    n = int(units.max()) + 1
    if n * np.abs(table).sum(axis=1).max() >= _MOST:
        return None
    sums = np.stack([np.bincount(units, column, n) for column in table], axis=1)
    counts = resample_counts(prompt_set, n, rounds).astype(np.float64)
    whole = np.concatenate([sums.sum(axis=0, keepdims=True), counts @ sums])
    found: NDArray[np.float64] = whole / _SCALE
    return found


def _whole(numbers: Sequence[float]) -> NDArray[np.float64]:
    whole: NDArray[np.float64] = np.rint(np.asarray(numbers, dtype=np.float64) * _SCALE)
    return whole
