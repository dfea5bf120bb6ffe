"""Scores: cells of one system, suite and metric combined over seeds, and their differences.

The value is the mean over the seeds that have one; counts are summed; the interval resamples
prompts with seeds nested (`harness.stats.bootstrap.combine_seeds`), so it covers both prompt and
seed variation. A score does not depend on other systems' cells.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import BadData
from harness.core.records import Cell, Interval, Record
from harness.stats.bootstrap import (
    OVER_PROMPTS,
    combine_seeds,
    paired_difference,
    percentile_interval,
)

ScoreKey = tuple[str, str, str]  # system, suite, metric
Detail = float | int | str | bool | None

SEEDS_NESTED = OVER_PROMPTS + ", seeds nested"

# Fields in which all seeds of a score, and all scores of a column, must agree.
SHARED = ("scale", "prompt_set", "judge_fingerprint")

# Stored precision. Replicates are only used for quantiles and differences of two decimals.
DECIMALS = 6
REPLICATE_DECIMALS = 4


class Score(Record):
    """One metric of one system, combined over seeds.

    Attributes:
        value: mean over seeds, in `unit`; None if no seed has a value.
        interval: over prompts, seeds nested; None if replicates are missing or differ in number.
        bounds: value if all failed judgments were lost, and if all were won.
        n_expected, n_scored, n_failed: sums over seeds.
        cells: in order of seed.
        details: averaged over seeds if numeric, "varies" where others differ.
        reason: why the value, or that of a seed, is missing.
    """

    system: str
    suite: str
    metric: str
    unit: str
    value: float | None
    interval: Interval | None
    bounds: tuple[float, float] | None
    n_expected: int
    n_scored: int
    n_failed: int
    higher_is_better: bool
    primary: bool
    cells: tuple[Cell, ...]
    details: dict[str, Detail]
    reason: str = ""

    @property
    def n_seeds(self) -> int:
        """Number of seeds with a value."""
        return sum(cell.value is not None for cell in self.cells)

    @property
    def replicates(self) -> tuple[tuple[float, ...], ...]:
        """Replicates of each seed with a value."""
        return tuple(cell.replicates for cell in self.cells if cell.value is not None)

    @property
    def failed(self) -> str:
        """Number of failed judgments and resulting bounds as text; "" when none failed."""
        if not self.n_failed:
            return ""
        count = f"{self.n_failed} of {self.n_expected} judgments failed"
        if self.bounds is None:
            return count
        low, high = self.bounds
        return f"{count}: between {low:.1f} (all lost) and {high:.1f} (all won)"

    def shared(self, field: str) -> tuple[str, ...]:
        """Distinct values of a cell field over the seeds; more than one is a mixture."""
        return tuple(sorted({str(getattr(cell, field)) for cell in self.cells}))


class Difference(Record):
    """One score minus another.

    Attributes:
        interval, p_value: paired over prompts; None if the replicates do not allow pairing.
        reason: why there is no value or no interval.
    """

    value: float | None = None
    interval: Interval | None = None
    p_value: float | None = None
    reason: str = ""

    @property
    def distinguishable(self) -> bool | None:
        """Whether the interval excludes 0; None without an interval."""
        if self.interval is None:
            return None
        return self.interval.low > 0 or self.interval.high < 0


def tidy(cells: Iterable[Cell]) -> tuple[Cell, ...]:
    """Cells rounded to the stored precision, sorted, without exact duplicates; idempotent."""
    ordered = sorted(
        (_rounded(cell) for cell in cells),
        key=lambda cell: (cell.suite, cell.metric, cell.system, cell.seed),
    )
    out: list[Cell] = []
    for cell in ordered:
        if not out or cell != out[-1]:
            out.append(cell)
    return tuple(out)


def _rounded(cell: Cell) -> Cell:
    interval = cell.interval
    if interval is not None:
        interval = interval.model_copy(
            update={"low": _round(interval.low), "high": _round(interval.high)}
        )
    return cell.model_copy(
        update={
            "value": None if cell.value is None else _round(cell.value),
            "interval": interval,
            "bounds": None if cell.bounds is None else tuple(_round(v) for v in cell.bounds),
            "replicates": tuple(_round(v, REPLICATE_DECIMALS) for v in cell.replicates),
            "artifacts": dict(sorted(cell.artifacts.items())),
            "details": {
                name: _round(value) if isinstance(value, float) else value
                for name, value in sorted(cell.details.items())
            },
        }
    )


def _round(value: float, decimals: int = DECIMALS) -> float:
    return round(float(value), decimals) + 0.0  # + 0.0 turns -0.0 into 0.0


def combine_all(cells: Iterable[Cell], level: float = 0.95) -> dict[ScoreKey, Score]:
    """Combine cells over seeds; keys are sorted.

    Raises:
        BadData: two different cells have the same system, suite, metric and seed, or the seeds of
            a score differ in unit or direction.
    """
    groups: dict[ScoreKey, dict[int, Cell]] = defaultdict(dict)
    for cell in cells:
        seeds = groups[cell.system, cell.suite, cell.metric]
        if seeds.setdefault(cell.seed, cell) != cell:
            raise BadData(
                f"two different cells for {cell.system}, {cell.suite} {cell.metric}, "
                f"seed {cell.seed}; expected one: a board takes each cell from one run"
            )
    return {
        key: combine([groups[key][seed] for seed in sorted(groups[key])], level)
        for key in sorted(groups)
    }


def combine(cells: Sequence[Cell], level: float = 0.95) -> Score:
    """Combine the cells of one system, suite and metric, given in order of seed.

    Raises:
        BadData: the cells differ in unit or direction.
    """
    first = cells[0]
    for field in ("unit", "higher_is_better"):
        found = {str(getattr(cell, field)) for cell in cells}
        if len(found) > 1:
            raise BadData(
                f"{first.system}, {first.suite} {first.metric}: {field} differs over seeds "
                f"({', '.join(sorted(found))}); expected one"
            )
    valued = [cell for cell in cells if cell.value is not None]
    value = _mean([cell.value for cell in valued if cell.value is not None])
    return Score(
        system=first.system,
        suite=first.suite,
        metric=first.metric,
        unit=first.unit,
        value=value,
        interval=_interval(valued, value, level),
        bounds=_bounds(valued),
        n_expected=sum(cell.n_expected for cell in cells),
        n_scored=sum(cell.n_scored for cell in cells),
        n_failed=sum(cell.n_failed for cell in cells),
        higher_is_better=first.higher_is_better,
        primary=any(cell.primary for cell in cells),
        cells=tuple(cells),
        details=_details(valued),
        reason=_reason(cells),
    )


def difference(first: Score, second: Score, level: float = 0.95) -> Difference:
    """`first` minus `second`, paired by prompt."""
    if first.value is None or second.value is None:
        absent = first if first.value is None else second
        return Difference(reason=f"{absent.system}: {absent.reason}")
    value = round(first.value - second.value, 9)
    reason = mismatch(first, second, ("prompt_set",))
    lengths = {len(row) for row in first.replicates + second.replicates}
    if not reason and lengths == {0}:
        reason = "the cells hold no replicates"
    elif not reason and len(lengths) > 1:
        reason = "the cells hold different numbers of replicates"
    if reason:
        return Difference(value=value, reason=f"no paired interval: {reason}")
    found = paired_difference(
        _nested(first.cells), _nested(second.cells), first.value, second.value, level=level
    )
    return Difference(value=value, interval=_holding(found.interval, value), p_value=found.p_value)


def _nested(cells: Sequence[Cell]) -> NDArray[np.float64]:
    """Replicates of the cells with a value, seeds nested.

    Systems with the same seeds share the resamples of seeds: a common seed often means a common
    ancestor (the same fine-tuned model), whose variation then cancels in a difference.
    """
    valued = [cell for cell in cells if cell.value is not None]
    seeds = ", ".join(str(cell.seed) for cell in valued)
    return combine_seeds([cell.replicates for cell in valued], f"{valued[0].prompt_set} {seeds}")


def mismatch(first: Score, second: Score, fields: Sequence[str] = SHARED) -> str:
    """The first of `fields` in which two scores differ, as a sentence; "" if comparable."""
    for field in fields:
        a, b = first.shared(field), second.shared(field)
        if a != b or len(a) > 1:
            name = field.replace("_", " ")
            return (
                f"{name} differs ({first.system}: {', '.join(a)}; {second.system}: {', '.join(b)})"
            )
    return ""


def _interval(valued: Sequence[Cell], value: float | None, level: float) -> Interval | None:
    if value is None:
        return None
    if len(valued) == 1 and valued[0].interval is not None:
        return _holding(valued[0].interval, value)
    lengths = {len(cell.replicates) for cell in valued}
    if lengths == {0} or len(lengths) > 1 or len({cell.prompt_set for cell in valued}) > 1:
        return None
    kind = OVER_PROMPTS if len(valued) == 1 else SEEDS_NESTED
    return _holding(percentile_interval(_nested(valued), level, kind=kind), value)


def _holding(interval: Interval, value: float) -> Interval:
    """The interval rounded to 9 decimals, widened if necessary to contain its point."""
    low, high = min(round(interval.low, 9), value), max(round(interval.high, 9), value)
    return interval.model_copy(update={"low": low, "high": high})


def _reason(cells: Sequence[Cell]) -> str:
    """Why the value, or that of a seed, is missing."""
    absent = [cell for cell in cells if cell.value is None]
    if not absent:
        return ""
    stated = absent[0].details.get("reason")
    if stated:
        why = str(stated)
    elif absent[0].n_failed and not absent[0].n_scored:
        why = f"all {absent[0].n_failed} judgments failed"
    else:
        why = "the suite gave no value"
    if len(absent) == len(cells):
        return why
    return f"seed {', '.join(str(cell.seed) for cell in absent)} without a value: {why}"


def _details(cells: Sequence[Cell]) -> dict[str, Detail]:
    """Details over seeds: numbers are averaged, other values kept if the seeds agree."""
    names = sorted({name for cell in cells for name in cell.details})
    return {name: _one_detail([cell.details.get(name) for cell in cells]) for name in names}


def _one_detail(values: Sequence[Detail]) -> Detail:
    if len(values) == 1 or all(value == values[0] for value in values):
        return values[0]
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    return _mean(numbers) if len(numbers) == len(values) else "varies"


def _mean(values: Sequence[float]) -> float | None:
    # fsum: the result does not depend on the order of the cells.
    return round(math.fsum(values) / len(values), 9) if values else None


def _bounds(valued: Sequence[Cell]) -> tuple[float, float] | None:
    """Mean bounds over seeds; a seed without failures is bounded by its own value."""
    if not any(cell.n_failed for cell in valued):
        return None
    lows, highs = [], []
    for cell in valued:
        assert cell.value is not None
        if cell.bounds is None and cell.n_failed:
            return None
        low, high = cell.bounds or (cell.value, cell.value)
        lows.append(low)
        highs.append(high)
    return (_mean(lows) or 0.0, _mean(highs) or 0.0)
