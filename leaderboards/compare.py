"""Comparison of two systems of one board, metric by metric.

Each line is the paired difference, first minus second, over the prompts both systems were scored
on. Metrics by category appear where both systems have cells for them. If both cells hold the
outcome of every row (labels of authors), McNemar's exact test is reported with the interval.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from harness.core.errors import UserError, unknown
from harness.core.records import Cell, Interval, Record
from harness.core.text import visible
from harness.stats.mcnemar import OUTCOMES, McNemar, mcnemar, unpack
from leaderboards.scores import Score, ScoreKey, combine_all, difference, mismatch, scope_of, tidy


class ComparisonLine(Record):
    """One metric of a comparison.

    Attributes:
        primary: whether the metric is primary for both systems.
        first, second, difference: in the metric's unit; difference = first - second.
        interval: paired interval of the difference, None where replicates allow none.
        p_value: two-sided, from the paired replicates.
        mcnemar: exact test on the outcomes of the rows, where both cells hold them.
        ahead: "first" or "second" if the interval excludes 0, and failed judgments could not
            change that, else "".
        seeds: number of seeds behind both values.
        note: why there is no interval, how the two cells differ, or what failed judgments change.
    """

    suite: str
    metric: str
    unit: str
    primary: bool
    first: float | None
    second: float | None
    difference: float | None
    interval: Interval | None
    p_value: float | None = None
    mcnemar: McNemar | None = None
    ahead: str = ""
    seeds: int = 0
    note: str = ""


class Comparison(Record):
    """Two systems and one line per common metric, primary metrics first."""

    first: str
    second: str
    lines: tuple[ComparisonLine, ...]

    @property
    def summary(self) -> str:
        """ "A ahead on 2, B ahead on 1, 3 not distinguishable" over primary metrics."""
        primary = [line for line in self.lines if line.primary and line.interval]
        wins = sum(line.ahead == "first" for line in primary)
        losses = sum(line.ahead == "second" for line in primary)
        scope = scope_of(max((line.seeds for line in primary), default=0))
        return (
            f"{visible(self.first, 60)} ahead on {wins}, {visible(self.second, 60)} ahead on "
            f"{losses}, {len(primary) - wins - losses} not distinguishable "
            f"(of {sum(line.primary for line in self.lines)} main metrics)"
            + (f"; one seed: {scope} only" if scope else "")
        )


def compare_systems(
    cells: Iterable[Cell], first: str, second: str, level: float = 0.95
) -> Comparison:
    """Compare two systems of the same cells.

    Raises:
        UnknownName: a system has no cell.
        UserError: the systems have no metric in common.
    """
    scores = combine_all(tidy(cells), level)
    ours, theirs = _of(scores, first), _of(scores, second)
    common = [key for key in ours if key in theirs]
    if not common:
        raise UserError(
            f"{first} and {second} have no metric in common; expected both to be evaluated on one "
            "suite (crucible eval MODEL --suite S)"
        )
    common.sort(key=lambda key: (not ours[key].primary, key))
    lines = tuple(_line(ours[key], theirs[key], level) for key in common)
    return Comparison(first=first, second=second, lines=lines)


def mcnemar_text(line: ComparisonLine) -> str:
    """ "; McNemar 12:25, p 0.047": rows only the first system and only the second has right."""
    test = line.mcnemar
    return "" if test is None else f"; McNemar {test.b}:{test.c}, p {test.p_value:.2g}"


def _mcnemar(first: Score, second: Score) -> McNemar | None:
    """McNemar's test, for one seed only: outcomes are not independent across seeds."""
    if len(first.cells) != 1 or len(second.cells) != 1 or mismatch(first, second, ("prompt_set",)):
        return None
    packed = [score.cells[0].details.get(OUTCOMES) for score in (first, second)]
    if not all(isinstance(text, str) for text in packed) or first.n_expected != second.n_expected:
        return None
    return mcnemar(*(unpack(str(text), first.n_expected) for text in packed))


def _of(scores: Mapping[ScoreKey, Score], system: str) -> dict[tuple[str, str], Score]:
    found = {(s.suite, s.metric): s for s in scores.values() if s.system == system}
    if not found:
        raise unknown("system", system, {name for name, _, _ in scores}, "crucible board")
    return found


def _line(first: Score, second: Score, level: float) -> ComparisonLine:
    delta = difference(first, second, level)
    ahead = ""
    if shown := delta.side():
        ahead = "first" if (shown > 0) == first.higher_is_better else "second"
    test = _mcnemar(first, second)
    notes = [delta.reason] if delta.reason else [mismatch(first, second), delta.remark()]
    if test is not None and not test.decidable:
        notes.append(f"McNemar: only {test.b + test.c} rows differ, too few for p below 0.05")
    return ComparisonLine(
        suite=first.suite,
        metric=first.metric,
        unit=first.unit,
        primary=first.primary and second.primary,
        first=first.value,
        second=second.value,
        difference=delta.value,
        interval=delta.interval,
        p_value=delta.p_value,
        mcnemar=test,
        ahead=ahead,
        seeds=min(first.n_seeds, second.n_seeds),
        note="; ".join(note for note in notes if note),
    )
