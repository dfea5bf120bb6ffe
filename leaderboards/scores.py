"""Scores: cells of one system, suite and metric combined over seeds, and their differences.

The value is the mean over the seeds that have one; counts are summed; the interval combines the
bootstrap over prompts with Student's t over seeds (`harness.stats.bootstrap`), so it covers both
prompt and seed variation. A score does not depend on other systems' cells. A difference of means is
over the prompts that both systems have a value on, another weighted sum over those that all have
(`leaderboards.pairing`).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

from harness.core.errors import BadData
from harness.core.records import Cell, Interval, Record, Resampled
from harness.stats.bootstrap import NOT_IDENTIFIED
from harness.stats.bootstrap import contrast as contrast_of
from leaderboards.compact import REPLICATE_DECIMALS, recomputed
from leaderboards.intervals import holding, interval_of
from leaderboards.pairing import Difference, Pairing, pair

ScoreKey = tuple[str, str, str]  # system, suite, metric
Detail = float | int | str | bool | None

# Fields in which all seeds of a score, and all scores of a column, must agree.
SHARED = ("scale", "prompt_set", "judge_fingerprint")

CHECKPOINTS = "these checkpoints"

# Stored precision. Replicates are only used for quantiles and differences of two decimals.
DECIMALS = 6


class Score(Record):
    """One metric of one system, combined over seeds.

    Attributes:
        value: mean over seeds, in `unit`; None if no seed has a value.
        interval: over prompts and seeds; None if replicates are missing or differ in number, or
            belong to a single prompt.
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

    @property
    def unresolved(self) -> int:
        """Number of failed judgments without a value in the score."""
        return sum(
            cell.n_failed
            for cell in self.cells
            if cell.resampled is None or not cell.resampled.failed_scored
        )

    def shared(self, field: str) -> tuple[str, ...]:
        """Distinct values of a cell field over the seeds; more than one is a mixture."""
        return tuple(sorted({str(getattr(cell, field)) for cell in self.cells}))


def tidy(cells: Iterable[Cell], *, compact: bool = False) -> tuple[Cell, ...]:
    """Cells rounded to the stored precision, sorted, without exact duplicates; idempotent.

    Args:
        compact: take replicates that differ only in precision from those of the rounded rows.
    """
    ordered = sorted(
        (_of_rows(_rounded(cell)) if compact else _rounded(cell) for cell in cells),
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
        ends = {"low": _round(interval.low), "high": _round(interval.high)}
        interval = interval.model_copy(update=ends)
    # No call per number: a board has millions of them.
    draws = [round(float(draw), REPLICATE_DECIMALS) + 0.0 for draw in cell.replicates]
    return cell.model_copy(
        update={
            "value": None if cell.value is None else _round(cell.value),
            "interval": interval,
            "bounds": None if cell.bounds is None else tuple(_round(v) for v in cell.bounds),
            "replicates": tuple(draws),
            "artifacts": dict(sorted(cell.artifacts.items())),
            "details": {
                name: _round(value) if isinstance(value, float) else value
                for name, value in sorted(cell.details.items())
            },
            "resampled": None if cell.resampled is None else _rounded_sample(cell.resampled),
        }
    )


def _of_rows(cell: Cell) -> Cell:
    draws = recomputed(cell.prompt_set, cell.resampled, len(cell.replicates))
    if draws is None or draws == cell.replicates:
        return cell
    if any(
        abs(draw - stored) > 2 * 10**-REPLICATE_DECIMALS
        for draw, stored in zip(draws, cell.replicates, strict=True)
    ):
        return cell
    return cell.model_copy(update={"replicates": draws})


def _rounded_sample(sample: Resampled) -> Resampled:
    values = tuple(None if value is None else _round(value) for value in sample.values)
    weights = tuple(_round(weight) for weight in sample.weights)
    columns = tuple(tuple(_round(number) for number in column) for column in sample.columns)
    return sample.model_copy(update={"values": values, "weights": weights, "columns": columns})


def _round(value: float) -> float:
    return round(float(value), DECIMALS) + 0.0  # + 0.0 turns -0.0 into 0.0


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
        interval=interval_of(valued, value, level),
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
    """`first` minus `second`, paired by prompt, and by seed where both have the same seeds."""
    return contrast((first, second), (1.0, -1.0), level)


def contrast(scores: Sequence[Score], weights: Sequence[float], level: float = 0.95) -> Difference:
    """The sum of weight times score, over the prompts and seeds that the scores share.

    Args:
        weights: one per score, with sum 0.
    """
    absent = next((score for score in scores if score.value is None), None)
    if absent is not None:
        return Difference(reason=f"{absent.system}: {absent.reason}")
    value = _weighted([score.value for score in scores if score.value is not None], weights)
    pairing, reason = pairing_of(scores)
    if pairing is None:
        return Difference(value=value, reason=f"no paired interval: {reason}")
    if pairing.restricted:
        means = [math.fsum(side.values) / len(side.values) for side in pairing.sides]
        value = _weighted(means, weights)
    found = contrast_of(
        pairing.draws,
        weights,
        value,
        level=level,
        units=pairing.units,
        span=pairing.span,
        seeds=pairing.seeds(weights),
    )
    if found.interval is None:
        return Difference(value=value, reason="no paired interval: only one prompt is common")
    return Difference(
        value=value,
        interval=holding(found.interval, value),
        p_value=found.p_value,
        bounds=_bounds_of_contrast(scores, weights),
        note=_note(scores, pairing),
        detectable=pairing.detectable(weights),
    )


def _weighted(values: Sequence[float], weights: Sequence[float]) -> float:
    return round(math.fsum(w * value for w, value in zip(weights, values, strict=True)), 9)


def pairing_of(scores: Sequence[Score]) -> tuple[Pairing | None, str]:
    """The cells paired by prompt, or the reason why they cannot be."""
    if reason := mismatch_of(scores, ("prompt_set",)):
        return None, reason
    for score in scores:
        if score.interval is not None and score.interval.kind == NOT_IDENTIFIED:
            return None, f"{score.metric} of {score.system} is not identified"
    lengths = {len(row) for score in scores for row in score.replicates}
    if lengths == {0}:
        return None, "the cells hold no replicates"
    if len(lengths) > 1:
        return None, "the cells hold different numbers of replicates"
    found = pair(*([cell for cell in s.cells if cell.value is not None] for s in scores))
    if found is None:
        return None, f"no prompt has a value of {_all(scores)} systems"
    return found, ""


def _all(scores: Sequence[Score]) -> str:
    return "both" if len(scores) == 2 else "all"


def _bounds_of_contrast(
    scores: Sequence[Score], weights: Sequence[float]
) -> tuple[float, float] | None:
    if not any(score.unresolved for score in scores):
        return None
    lows, highs = [], []
    for score, weight in zip(scores, weights, strict=True):
        if score.unresolved and score.bounds is None:
            return None
        assert score.value is not None
        known = score.bounds if score.unresolved else None
        ends = sorted(weight * end for end in known or (score.value, score.value))
        lows.append(ends[0])
        highs.append(ends[1])
    return round(math.fsum(lows), 9), round(math.fsum(highs), 9)


def _note(scores: Sequence[Score], pairing: Pairing) -> str:
    """Which judgments a comparison is over, if some failed."""
    names = [score.system for score in scores]
    if pairing.restricted:
        own = ", ".join(f"{name}: {n}" for name, n in zip(names, pairing.rows, strict=True))
        return f"over the {pairing.common} judgments that {_all(scores)} have (of {own})"
    if pairing.aligned or not any(score.unresolved for score in scores):
        return ""
    own = ", ".join(f"{score.system}: {score.n_scored}" for score in scores)
    note = f"each over its own scored judgments ({own})"
    unbounded = any(score.unresolved and score.bounds is None for score in scores)
    return f"{note}; the failed ones have no bounds" if unbounded else note


def scope_of(seeds: int) -> str:
    """What a comparison over this many seeds is about: "these checkpoints" for one, else "".

    A single training does not show how much trainings vary, so that nothing follows for the method.
    """
    return CHECKPOINTS if seeds == 1 else ""


def mismatch(first: Score, second: Score, fields: Sequence[str] = SHARED) -> str:
    """The first of `fields` in which two scores differ, as a sentence; "" if comparable."""
    for field in fields:
        a, b = first.shared(field), second.shared(field)
        if a != b or len(a) > 1:
            name = field.replace("_", " ")
            sizes = [_size(score) if field == "prompt_set" else "" for score in (first, second)]
            return (
                f"{name} differs ({first.system}: {', '.join(a)}{sizes[0]}; "
                f"{second.system}: {', '.join(b)}{sizes[1]})"
            )
    return ""


def mismatch_of(scores: Sequence[Score], fields: Sequence[str] = SHARED) -> str:
    """The first mismatch of several scores with the first of them."""
    first, *others = scores
    return next(filter(None, (mismatch(first, other, fields) for other in others)), "")


def _size(score: Score) -> str:
    """ " of 120 prompts": the number of judgments that each seed expects."""
    counts = sorted({cell.n_expected for cell in score.cells})
    return f" of {' or '.join(str(count) for count in counts)} prompts"


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
