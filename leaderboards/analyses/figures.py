"""Figures of an analysis as text: one line per figure, one column per data set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from harness.core.text import visible
from harness.data.instructions.analysis import TOP, Analysis, Estimated, SetAnalysis
from leaderboards.render.text import MISSING, NAME_LIMIT, number, span

PERCENT = 100.0


@dataclass(frozen=True)
class Figure:
    """One figure of one data set: value, and interval or remark behind it."""

    value: str
    behind: str = ""


@dataclass(frozen=True)
class Line:
    """One figure of all data sets."""

    title: str
    figures: tuple[Figure, ...]


def lines(analysis: Analysis) -> list[Line]:
    """All figures, in the order of the table."""
    equal = analysis.equal_size
    size = f"{equal:,}" if equal is not None else ""
    wanted: list[tuple[str, Callable[[SetAnalysis], Figure], bool]] = [
        ("instructions", lambda s: Figure(f"{s.instructions:,}"), True),
        ("rows without an instruction", lambda s: Figure(f"{s.bad:,}", _of(s.bad, s.rows)), True),
        ("repeated word for word", lambda s: _part(s.repeated, s.instructions), True),
        (
            "repeated with the same input",
            lambda s: _part(s.repeated_with_input, s.instructions),
            True,
        ),
        ("with a verb-noun pair", lambda s: _part(s.paired, s.instructions), True),
        ("unique verb-noun pairs", lambda s: Figure(f"{s.unique_pairs:,}"), True),
        (
            f"unique pairs among {size} random instructions",
            lambda s: _decimal(s.unique_at_equal_size, 1),
            equal is not None,
        ),
        ("average occurrence of a pair", lambda s: _decimal(s.average_occurrence, 2), True),
        ("standard deviation of occurrence", _deviation, True),
        (f"share of the {TOP} commonest pairs", lambda s: _percent(s.top_share), True),
        ("ROUGE-L with the nearest other instruction", lambda s: _estimated(s.nearest), True),
        (f"nearest above {analysis.threshold:g}", lambda s: _estimated(s.near, percent=True), True),
        ("ROUGE-L of all pairs of instructions", lambda s: _estimated(s.pairwise), True),
    ]
    return [
        Line(title, tuple(make(each) for each in analysis.sets))
        for title, make, shown in wanted
        if shown
    ]


def _of(part: int, whole: int) -> str:
    return f"of {whole:,}" if part else ""


def _part(part: int, whole: int) -> Figure:
    return Figure(f"{part:,}", f"{number(PERCENT * part / whole, 1)} %" if whole else "")


def _decimal(value: float | None, digits: int) -> Figure:
    return Figure(MISSING if value is None else number(value, digits))


def _percent(value: float | None) -> Figure:
    return Figure(MISSING if value is None else f"{number(PERCENT * value, 1)} %")


def _deviation(found: SetAnalysis) -> Figure:
    sample = found.sample_deviation
    behind = "" if sample is None else f"{number(sample, 2)} dividing by n − 1"
    return Figure(_decimal(found.deviation, 2).value, behind)


def _estimated(found: Estimated | None, percent: bool = False) -> Figure:
    if found is None:
        return Figure(MISSING)
    scale, digits, unit = (PERCENT, 1, " %") if percent else (1.0, 3, "")
    value = f"{number(scale * found.value, digits)}{unit}"
    if found.interval is None:
        return Figure(value)
    ends = {"low": scale * found.interval.low, "high": scale * found.interval.high}
    return Figure(value, span(found.interval.model_copy(update=ends), digits))


def names(analysis: Analysis) -> list[str]:
    """Names of the data sets, safe to show."""
    return [visible(each.name, NAME_LIMIT) for each in analysis.sets]


def shared_table(analysis: Analysis) -> list[list[Figure]]:
    """Row: a data set; column: the other; how many of its instructions occur there."""
    found = {(each.set, each.other): each for each in analysis.shared}
    table = []
    for own in analysis.sets:
        row = []
        for other in analysis.sets:
            each = found.get((own.name, other.name))
            row.append(Figure("") if each is None else _part(each.rows, own.instructions))
        table.append(row)
    return table


def notes(analysis: Analysis) -> list[str]:
    """How the figures were made, and what limits them."""
    said = [
        f"Verb-noun pairs by {visible(analysis.parser, NAME_LIMIT)}: the verb of the main clause "
        "and the noun of its direct object, as lemmas.",
        "The number of unique pairs and the nearest overlap grow with the size of a data set.",
    ]
    if intervals := [e.interval for s in analysis.sets if (e := s.pairwise) and e.interval]:
        said.append(
            f"Brackets: {PERCENT * intervals[0].level:g} % interval ({intervals[0].kind}, "
            f"{analysis.rounds:,} resamples). Counts describe the file and have none."
        )
    if analysis.tokens == "words":
        said.append("ROUGE-L of the words of every script, not of the tokens of rouge-score.")
    for each in analysis.sets:
        name = visible(each.name, NAME_LIMIT)
        if 0 < each.compared < each.instructions:
            said.append(
                f"{name}: {each.compared:,} of {each.instructions:,} instructions, drawn at random,"
                " are compared with all others."
            )
        if each.without_tokens:
            said.append(
                f"{name}: {each.without_tokens:,} instructions have no token of ROUGE-L; they "
                "overlap with nothing, not even with each other."
            )
        if each.bad:
            more = "; ..." if each.bad > len(each.named) else ""
            listed = visible("; ".join(each.named), 3 * NAME_LIMIT)
            said.append(f"{name}: {each.bad:,} rows are left out: {listed}{more}")
    return said


def facts(analysis: Analysis, command: str = "") -> list[tuple[str, str]]:
    """Provenance as (name, value) pairs."""
    found = [("command", command)] if command else []
    for each in analysis.sets:
        name = visible(each.name, NAME_LIMIT)
        found.append((name, visible(each.ref, NAME_LIMIT)))
        found += [(f"{name}: {role}", id) for role, id in sorted(each.artifacts.items())]
    return found
