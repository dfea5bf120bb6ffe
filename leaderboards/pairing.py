"""Pairing of several systems' cells by prompt and by seed.

Means are compared on the prompts that all systems have a value on. Where the failed prompts of the
cells differ, values and replicates of all are computed again from the rows that the cells hold
(`Cell.resampled`), on the draws that made the cells' own replicates:

    replicate_r = sum_i c_ri v_i / sum_i c_ri w_i    c_ri: draws of row i's prompt in round r
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.core.records import Cell, Interval, Record
from harness.stats.bootstrap import resample_counts
from harness.stats.power import minimum_detectable_effect, standard_error
from leaderboards.intervals import units_of

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


class Difference(Record):
    """One score minus another, or another weighted sum of scores, such as a slope.

    Attributes:
        value: over the prompts that all systems have a value on, where the cells hold their rows.
        interval, p_value: paired over prompts and seeds; None if the replicates do not allow it.
        bounds: lowest and highest value if the failed judgments of each system were all lost or all
            won; None if none failed, or if a metric with failures has no bounds.
        reason: why there is no value or no interval.
        note: what a reader must know of an interval that exists.
        detectable: minimum detectable effect, see `harness.stats.power`; None without an interval.
    """

    value: float | None = None
    interval: Interval | None = None
    p_value: float | None = None
    bounds: tuple[float, float] | None = None
    reason: str = ""
    note: str = ""
    detectable: float | None = None

    @property
    def _ends(self) -> tuple[float, float] | None:
        return None if self.interval is None else (self.interval.low, self.interval.high)

    def side(self, margin: float = 0.0) -> int:
        """1 or -1 if the interval lies above or below the margin and the bounds do not cross it."""
        found = _side(self._ends, margin)
        if self.bounds is not None and found != _side(self.bounds, margin):
            return 0
        return found

    def remark(self, margin: float = 0.0, noun: str = "difference") -> str:
        """The note, and whether failed judgments could reverse what the interval shows.

        Args:
            noun: what the value is.
        """
        found = _side(self._ends, margin)
        parts = [self.note] if self.note else []
        if found and self.bounds is not None and self.side(margin) == 0:
            low, high = self.bounds
            sign = "sign" if margin == 0 else "verdict"
            ends = " and ".join(f"{end:+.{'1f' if abs(end) >= 1 else '2g'}}" for end in (low, high))
            parts.append(
                f"failed judgments could change the {sign}: their bounds give a {noun} between "
                f"{ends}"
            )
        return "; ".join(parts)

    @property
    def distinguishable(self) -> bool | None:
        """Whether interval and bounds exclude 0; None without an interval."""
        return None if self.interval is None else self.side() != 0


def _side(ends: tuple[float, float] | None, margin: float) -> int:
    if ends is None:
        return 0
    return 1 if ends[0] > margin else -1 if ends[1] < margin else 0


@dataclass(frozen=True)
class Side:
    """Cells of one system, one per seed, on the prompts of a comparison.

    Attributes:
        values: by seed (S,); replicates: (S, rounds); units: fewest resampling units of a seed.
    """

    values: Floats
    replicates: Floats
    units: int


@dataclass(frozen=True)
class Pairing:
    """Systems on common prompts.

    Attributes:
        same_seeds: the systems have the same seeds, so that values are paired by seed.
        span: lowest and highest possible value, if all cells state it.
        aligned: the cells hold their rows, so that all sides are on the same ones.
        restricted: rows of a side had to be left out.
        rows: scored rows of each side, and `common`: the first's that all have; over seeds.
    """

    sides: tuple[Side, ...]
    same_seeds: bool
    span: tuple[float, float] | None
    aligned: bool = False
    restricted: bool = False
    rows: tuple[int, ...] = ()
    common: int = 0

    @property
    def units(self) -> int:
        return min(side.units for side in self.sides)

    def seeds(self, weights: Sequence[float]) -> tuple[Floats, ...]:
        """Groups of per-seed values of a weighted sum, see `harness.stats.bootstrap.contrast`."""
        parts = [weight * side.values for weight, side in zip(weights, self.sides, strict=True)]
        return (np.sum(parts, axis=0),) if self.same_seeds else tuple(parts)

    @property
    def draws(self) -> list[Floats]:
        """Replicates of each side (rounds,), averaged over its seeds."""
        return [side.replicates.mean(axis=0) for side in self.sides]

    def detectable(self, weights: Sequence[float]) -> float | None:
        """Minimum detectable effect of a weighted sum; None for systems that never differ."""
        whole = np.sum([w * draw for w, draw in zip(weights, self.draws, strict=True)], axis=0)
        found = minimum_detectable_effect(standard_error(whole, self.seeds(weights)))
        return round(found, 9) or None


def pair(*systems: Sequence[Cell]) -> Pairing | None:
    """Pair cells with values and equally many replicates; None if no prompt is common.

    Cells that do not hold their rows are paired as they are.

    Args:
        systems: the cells of each, one per seed.
    """
    same = len({tuple(cell.seed for cell in cells) for cells in systems}) == 1
    spans = {None if c.resampled is None else c.resampled.span for cells in systems for c in cells}
    span = spans.pop() if len(spans) == 1 else None
    whole = tuple(_as_is(cells) for cells in systems)
    known = [[_scored(cell) for cell in cells] for cells in systems]
    masks = [[mask for mask in side if mask is not None] for side in known]
    if (
        any(mask is None for side in known for mask in side)
        or len({mask.size for side in masks for mask in side}) > 1
    ):
        return Pairing(whole, same, span)
    kept = _common(masks, same)
    rows, common = (
        tuple(sum(int(mask.sum()) for mask in side) for side in sides) for sides in (masks, kept)
    )
    if rows == common:
        return Pairing(whole, same, span, aligned=True)
    if not all(mask.any() for side in kept for mask in side):
        return None
    sides = tuple(_over(cells, own) for cells, own in zip(systems, kept, strict=True))
    return Pairing(sides, same, span, True, True, rows, common[0])


def _scored(cell: Cell) -> Mask | None:
    """Which rows have a value; None if the cell does not hold its rows."""
    if cell.resampled is None or not cell.resampled.values:
        return None
    return np.array([value is not None for value in cell.resampled.values])


def _common(masks: Sequence[Sequence[Mask]], same_seeds: bool) -> list[list[Mask]]:
    """Rows scored on all sides: per seed if all have the same seeds, else by every cell."""
    if same_seeds:
        shared = [np.logical_and.reduce(seed) for seed in zip(*masks, strict=True)]
        return [shared] * len(masks)
    everywhere = np.logical_and.reduce([mask for side in masks for mask in side])
    return [[everywhere] * len(side) for side in masks]


def _as_is(cells: Sequence[Cell]) -> Side:
    values = np.array([cell.value for cell in cells], dtype=np.float64)
    replicates = np.array([cell.replicates for cell in cells], dtype=np.float64)
    return Side(values, replicates, min(units_of(cell) for cell in cells))


def _over(cells: Sequence[Cell], masks: Sequence[Mask]) -> Side:
    parts = [_restricted(cell, mask) for cell, mask in zip(cells, masks, strict=True)]
    values, replicates, units = zip(*parts, strict=True)
    return Side(np.array(values), np.array(replicates), min(units))


def _restricted(cell: Cell, mask: Mask) -> tuple[float, Floats, int]:
    """Value, replicates and number of units of a cell on some of its rows."""
    sample = cell.resampled
    assert sample is not None
    values = np.array([0.0 if v is None else v for v in sample.values])
    weights = np.array(sample.weights or np.ones(len(values)), dtype=np.float64)
    clusters = np.array(sample.clusters or range(len(values)))
    values, weights = np.where(mask, values, 0.0), np.where(mask, weights, 0.0)
    value = float(values.sum() / weights.sum())
    drawn = resample_counts(cell.prompt_set, int(clusters.max()) + 1, len(cell.replicates))
    counts = drawn[:, clusters].astype(np.float64)
    # Centred, so that equal rows give replicates that are equal to the last bit.
    total, weight = counts @ (values - value * weights), counts @ weights
    shift = np.divide(total, weight, out=np.zeros_like(total), where=weight > 0)
    return value, value + shift, len(set(clusters[mask].tolist()))
