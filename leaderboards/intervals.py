"""Intervals of scores: over prompts, and over seeds where a score has several."""

from __future__ import annotations

from collections.abc import Sequence

from harness.core.records import Cell, Interval
from harness.engine.preconditions import SUITE as PRECONDITIONS
from harness.stats.bootstrap import (
    NOT_IDENTIFIED,
    OVER_PROMPTS,
    percentile_interval,
    seeds_interval,
)

SEEDS_NESTED = OVER_PROMPTS + ", seeds nested"


def units_of(cell: Cell) -> int:
    """Number of resampling units; cells that do not state it have at most their scored prompts."""
    return cell.n_scored if cell.resampled is None else cell.resampled.units


def interval_of(valued: Sequence[Cell], value: float | None, level: float) -> Interval | None:
    """Interval of the mean over seeds of cells that have a value.

    None without usable replicates, if a single prompt was resampled, or if seeds have different
    prompts. Preconditions are measured on a run's training prompts, which each seed draws anew and
    which overlap to an unknown extent: their replicates are sorted, so that they rise and fall
    together, which gives the widest interval that any overlap can.
    """
    if value is None:
        return None
    unknown = [c.interval for c in valued if c.interval and c.interval.kind == NOT_IDENTIFIED]
    if unknown:
        return holding(unknown[0].model_copy(update={"level": level}), value)
    lengths = {len(cell.replicates) for cell in valued}
    if len(valued) == 1:
        return _interval_of_one(valued[0], level)
    replicates = [cell.replicates for cell in valued]
    if lengths == {0} or len(lengths) > 1:
        return None
    if len({cell.prompt_set for cell in valued}) > 1:
        if valued[0].suite != PRECONDITIONS:
            return None
        replicates = [tuple(sorted(row)) for row in replicates]
    found = seeds_interval(
        [cell.value for cell in valued if cell.value is not None],
        replicates,
        level,
        kind=SEEDS_NESTED,
        units=min(units_of(cell) for cell in valued),
        span=valued[0].resampled.span if valued[0].resampled else None,
    )
    if found is None:
        return None
    if valued[0].unit == "%":
        limited = {"low": max(found.low, 0.0), "high": min(found.high, 100.0)}
        found = found.model_copy(update=limited)
    return holding(found, value)


def _interval_of_one(cell: Cell, level: float) -> Interval | None:
    """The cell's own interval if it has the level, else one from its replicates."""
    stored, value = cell.interval, cell.value
    assert value is not None
    if cell.replicates and units_of(cell) < 2:
        return None
    if stored is not None and (stored.level == level or not cell.replicates):
        return holding(stored, value)
    if not cell.replicates or (stored is None and cell.resampled is not None):
        return None
    found = percentile_interval(
        cell.replicates,
        level,
        point=value,
        kind=stored.kind if stored is not None else OVER_PROMPTS,
        units=units_of(cell),
        span=cell.resampled.span if cell.resampled else None,
    )
    return None if found is None else holding(found, value)


def holding(interval: Interval, value: float) -> Interval:
    """The interval rounded to 9 decimals, widened if necessary to contain its point."""
    low, high = min(round(interval.low, 9), value), max(round(interval.high, 9), value)
    return interval.model_copy(update={"low": low, "high": high})
