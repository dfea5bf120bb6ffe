"""Two systems of one board, or one system on two boards, metric by metric.

Each line is the paired difference, always first minus second, over the prompts both were scored
on. Metrics by category appear wherever both sides have cells for them. Where both hold the outcome
of every row (labels of authors), McNemar's exact test stands beside the interval.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from harness.core.errors import UserError, unknown
from harness.core.records import Cell, Interval, Record
from harness.core.text import visible
from harness.stats.mcnemar import OUTCOMES, McNemar, mcnemar, unpack
from leaderboards.render.text import MISSING, number, span
from leaderboards.scores import Score, ScoreKey, combine_all, difference, mismatch, tidy


class ComparisonLine(Record):
    """One metric: both values, their difference, and who is ahead ("first", "second" or "")."""

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
    note: str = ""


class Comparison(Record):
    first: str
    second: str
    lines: tuple[ComparisonLine, ...]

    @property
    def summary(self) -> str:
        """ "A ahead on 2, B ahead on 1, 3 not distinguishable" over primary metrics."""
        primary = [line for line in self.lines if line.primary and line.interval]
        wins = sum(line.ahead == "first" for line in primary)
        losses = sum(line.ahead == "second" for line in primary)
        return (
            f"{visible(self.first, 60)} ahead on {wins}, {visible(self.second, 60)} ahead on "
            f"{losses}, {len(primary) - wins - losses} not distinguishable "
            f"(of {sum(line.primary for line in self.lines)} main metrics)"
        )


def compare_systems(
    cells: Iterable[Cell], first: str, second: str, level: float = 0.95
) -> Comparison:
    """Compare two systems of the same cells.

    Raises:
        UnknownName: a system has no cell.
        UserError: they have no metric in common.
    """
    scores = combine_all(tidy(cells), level)
    return _compare(_of(scores, first), _of(scores, second), first, second, level)


def compare_boards(
    cells: Iterable[Cell],
    other: Iterable[Cell],
    system: str,
    other_system: str | None = None,
    level: float = 0.95,
) -> Comparison:
    """Compare a system of one board with a system (the same name unless given) of another."""
    name = other_system or system
    here = _of(combine_all(tidy(cells), level), system)
    there = _of(combine_all(tidy(other), level), name)
    return _compare(here, there, f"{system} (first)", f"{name} (second)", level)


def common_systems(cells: Iterable[Cell], other: Iterable[Cell]) -> tuple[str, ...]:
    """Systems that both boards hold."""
    return tuple(sorted({cell.system for cell in cells} & {cell.system for cell in other}))


def as_text(comparison: Comparison, digits: int = 2) -> str:
    """The comparison as aligned plain text, main metrics first."""
    head = ("metric", visible(comparison.first, 24), visible(comparison.second, 24), "difference")
    table = [head, *(_cells(line, digits) for line in comparison.lines)]
    widths = [max(len(row[index]) for row in table) for index in range(len(head))]
    lines = []
    for row in table:
        padded = [row[0].ljust(widths[0])]
        padded += [value.rjust(width) for value, width in zip(row[1:3], widths[1:3], strict=True)]
        lines.append("  ".join([*padded, row[3]]).rstrip())
    return "\n".join([*lines, "", f"{comparison.summary}; * the interval excludes 0"]) + "\n"


def _cells(line: ComparisonLine, digits: int) -> tuple[str, str, str, str]:
    first, second = (
        MISSING if value is None else number(value, digits) for value in (line.first, line.second)
    )
    shown = MISSING if line.difference is None else number(line.difference, digits, signed=True)
    if line.interval is not None:
        shown += f" {span(line.interval, digits, signed=True)}"
        shown += " *" if line.ahead else ""
    shown += mcnemar_text(line)
    if line.note:
        shown += f" ({visible(line.note, 200)})"
    return visible(f"{line.suite} {line.metric}", 60), first, second, shown


def mcnemar_text(line: ComparisonLine) -> str:
    """ "; McNemar 12:25, p 0.047": rows that only the first, only the second has right."""
    test = line.mcnemar
    return "" if test is None else f"; McNemar {test.b}:{test.c}, p {test.p_value:.2g}"


def _mcnemar(first: Score, second: Score) -> McNemar | None:
    """The test of two single cells on the same rows; over seeds outcomes are not independent."""
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


def _compare(
    first: Mapping[tuple[str, str], Score],
    second: Mapping[tuple[str, str], Score],
    first_name: str,
    second_name: str,
    level: float,
) -> Comparison:
    common = [key for key in first if key in second]
    if not common:
        raise UserError(
            f"{first_name} and {second_name} have no metric in common; expected both to be "
            "evaluated on one suite (crucible eval MODEL --suite S)"
        )
    common.sort(key=lambda key: (not first[key].primary, key))
    lines = tuple(_line(first[key], second[key], level) for key in common)
    return Comparison(first=first_name, second=second_name, lines=lines)


def _line(first: Score, second: Score, level: float) -> ComparisonLine:
    delta = difference(first, second, level)
    ahead = ""
    if delta.distinguishable and delta.interval is not None:
        ahead = "first" if (delta.interval.low > 0) == first.higher_is_better else "second"
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
        mcnemar=_mcnemar(first, second),
        ahead=ahead,
        note=delta.reason or mismatch(first, second),
    )
