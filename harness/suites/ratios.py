"""Cells of ratios of sums over questions, such as an F score, resampled as ratios."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from harness.core.records import Cell
from harness.stats.bootstrap import cluster_counts
from harness.suites.scoring import CellMaker, Tally, sample_of


def ratio_cell(
    maker: CellMaker,
    metric: str,
    ids: Sequence[str],
    parts: Sequence[float | None],
    weights: Sequence[float],
    *,
    most: float = 2.0,
    units: int | None = None,
    details: Mapping[str, Any] | None = None,
) -> Cell:
    """The cell of 100 sum(parts) / sum(weights).

    Args:
        parts: numerator of each question; None for a failed one, whose weight does not count.
        weights: denominator of each question, 0 where it has no share in the ratio.
        most: largest numerator and denominator of a question, for the bounds of failed ones.
        units: resampling units that carry the ratio; None counts all questions that did not fail.
    """
    scored = np.array([part is not None for part in parts])
    above = np.array([part or 0.0 for part in parts])
    below = np.array(weights, float) * scored
    tally = Tally(len(parts), int(scored.sum()))
    if not below.sum():
        return maker.cell(metric, None, tally, details=details)
    value = float(above.sum() / below.sum())
    counts = cluster_counts(maker.prompt_set, ids, maker.params.rounds)
    drawn = counts @ below
    # A resample without weight has the value of the sample, as a mean without rows has.
    replicates = np.where(drawn > 0, counts @ above / np.where(drawn > 0, drawn, 1.0), value)
    bounds = None
    if tally.failed:
        whole = float(below.sum()) + most * tally.failed
        low, high = (float(above.sum()) + end * tally.failed for end in (0.0, most))
        bounds = (100 * low / whole, 100 * high / whole)
    sample = sample_of(np.where(scored, 100 * above, np.nan), ids, below, span=(0.0, 100.0))
    if units is not None:
        sample = sample.model_copy(update={"units": units})
    return maker.cell(
        metric,
        100 * value,
        tally,
        replicates=100 * replicates,
        resampled=sample,
        bounds=bounds,
        details=details,
    )
