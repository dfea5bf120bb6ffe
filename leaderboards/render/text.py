"""Numbers, names and notes as text, shared by all formats.

Names are untrusted: `harness.core.text.visible` replaces hidden characters by visible codes, so
that a name cannot break a line, reorder a row or be hidden.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from harness.core.records import Cell, Interval
from harness.core.text import visible
from harness.stats.mcnemar import OUTCOMES
from harness.stats.power import ALPHA, POWER
from harness.suites.marks import LIMIT, OWN, PAPER
from leaderboards.board import Board, Entry
from leaderboards.by_judge import base
from leaderboards.claims import ClaimResult
from leaderboards.preconditions import Measured
from leaderboards.scores import Detail, scope_of
from leaderboards.spec import ColumnSpec

MISSING = "—"
NAME_LIMIT = 200
STAGE_NOTES = 20  # shown below a table; the board's specification has all
FEW = 4  # columns of one heading that have notes of their own

SCALES = {
    "nano": "nano: an offline miniature, not comparable with published figures",
    "rehearsal": "rehearsal: stand-in models and a few rows, no result at all",
    "small": "small: reduced models or data, not comparable with published figures",
    "published": "published: recomputed from annotations that others made",
    OWN: "own judge: another than the publication's, not comparable with published figures",
}


def number(value: float, digits: int, signed: bool = False) -> str:
    """A number with fixed decimals, never "-0.0".

    >>> number(-0.04, 1), number(2.35, 1, signed=True)
    ('0.0', '+2.4')
    """
    # Rounding twice hides the last bits, which may differ between platforms.
    text = f"{round(value, 9):.{digits}f}"
    if not text.strip("-0."):
        return text.lstrip("-")
    return f"+{text}" if signed and value > 0 else text


def span(interval: Interval, digits: int, signed: bool = False) -> str:
    """ "[49.1, 55.4]" """
    low, high = (number(v, digits, signed) for v in (interval.low, interval.high))
    return f"[{low}, {high}]"


def entry_value(entry: Entry, digits: int) -> str:
    """The value, with its spread if the column has one; a dash if missing."""
    if entry.value is None:
        return MISSING
    if isinstance(entry.value, bool):
        return "yes" if entry.value else "no"
    if isinstance(entry.value, str):
        return visible(entry.value, NAME_LIMIT)
    text = number(entry.value, digits)
    return text if entry.spread is None else f"{text} ± {number(entry.spread, digits)}"


def detail(value: float | int | str | bool | None) -> str:
    """A detail as text: integers without decimals, floats with at most four."""
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return number(value, 4).rstrip("0").rstrip(".")
    return visible(str(value), NAME_LIMIT)


def shown_details(details: Mapping[str, Detail]) -> dict[str, Detail]:
    """The details without the packed outcomes of rows, which are not readable."""
    return {name: value for name, value in details.items() if name != OUTCOMES}


def banner(board: Board) -> str:
    """Meaning of the board's scale, and which suites are limited; "" at the paper's scale."""
    parts = [SCALES.get(scale, scale) for scale in board.scales if scale != PAPER]
    return "; ".join(filter(None, (*parts, limit_note(board.cells))))


def limit_note(cells: Iterable[Cell]) -> str:
    """ "limited: first 40 of 805 prompts of alpaca_eval2"; "" if all prompts were asked."""
    suites: dict[str, dict[str, None]] = {}
    for suite, marks in limits(cells).items():
        suites.setdefault(", ".join(marks), {})[base(suite)] = None
    limited = [
        f"{visible(mark, NAME_LIMIT)} of {visible(', '.join(names), NAME_LIMIT)}"
        for mark, names in suites.items()
    ]
    return f"limited: {', '.join(limited)}" if limited else ""


def limits(cells: Iterable[Cell]) -> dict[str, list[str]]:
    """Suite -> "first 40 of 805 prompts", for suites of which a part was asked."""
    found: dict[str, set[str]] = {}
    for cell in cells:
        if mark := cell.details.get(LIMIT):
            found.setdefault(cell.suite, set()).add(str(mark))
    return {suite: sorted(found[suite]) for suite in sorted(found)}


def interval_note(board: Board) -> str:
    """One sentence on the table's intervals."""
    shown = [e.interval for row in board.rows for e in row.entries if e.interval]
    if not shown:
        return ""
    kinds = sorted({interval.kind for interval in shown})
    levels = sorted({interval.level for interval in shown})
    level = ", ".join(f"{100 * value:g} %" for value in levels)
    return f"Brackets: {level} interval ({'; '.join(visible(kind, 80) for kind in kinds)})."


def spread_note(board: Board) -> str:
    """One sentence on the quantities after ±."""
    names = list(dict.fromkeys(c.spread.replace("_", " ") for c in board.columns if c.spread))
    return f"Behind ±: {visible(', '.join(names), NAME_LIMIT)}." if names else ""


def standing_note(board: Board) -> str:
    """One sentence on the marks of the table."""
    standings = {entry.standing for row in board.rows for entry in row.entries}
    notes = []
    if "best" in standings:
        notes.append("★ best of its column")
    if "tied" in standings:
        notes.append("≈ not distinguishable from the best (paired over prompts)")
    return "; ".join(notes) + "." if notes else ""


def seeds_note(board: Board) -> str:
    """One sentence on the number of seeds, and on what comparisons of one seed show."""
    seeds = {score.n_seeds for row in board.rows for score in row.scores if score.n_seeds}
    if not seeds:
        return ""
    if seeds == {1}:
        return (
            f"One seed each: marks and verdicts are about {scope_of(1)} and say nothing of the "
            "methods beyond them, because the variation between trainings is unknown."
        )
    counts = " to ".join(str(count) for count in sorted({min(seeds), max(seeds)}))
    return f"Values are means over {counts} seeds."


def failure_notes(board: Board) -> list[str]:
    """One line per entry of the table with failed judgments or without a value.

    More than `FEW` columns of one heading with the same note have one line.
    """
    notes: list[str] = []
    for row in board.rows:
        name = visible(row.system.title, NAME_LIMIT)
        found: dict[tuple[str, str], list[str]] = {}  # heading and note -> names of columns
        for column, entry in zip(board.columns, row.entries, strict=True):
            said = []
            if entry.value is None or entry.reason:
                said.append(visible(entry.reason, 300) or "missing")
            if entry.failed:
                said.append(f"† {entry.failed}")
            for note in said:
                found.setdefault((column.heading, note), []).append(column_name(column))
        for (heading, note), columns in found.items():
            if len(columns) > FEW:
                columns = [f"{visible(heading, NAME_LIMIT)} ({len(columns)} columns)"]
            notes += [f"{name}, {column}: {note}" for column in columns]
    return list(dict.fromkeys(notes))


def column_name(column: ColumnSpec) -> str:
    """ "AlpacaEval 2 LC win rate": heading and title."""
    return visible(f"{column.heading} {column.title}", NAME_LIMIT)


def column_digits(board: Board, index: int) -> int:
    """Decimals of a column: as declared, or 0 if it has a detail whose values are all integers."""
    column = board.columns[index]
    if column.digits is None and column.detail:
        values = (row.entries[index].value for row in board.rows)
        if all(v is None or type(v) is int for v in values):
            return 0
    return board.spec.digits_of(column)


def all_digits(board: Board) -> list[int]:
    """Decimals of every column."""
    return [column_digits(board, index) for index in range(len(board.columns))]


def claim_digits(board: Board, result: ClaimResult) -> int:
    """Decimals of a claim's scores: those of its column, if the table contains it."""
    for column in board.columns:
        same = (column.suite, column.metric) == (result.claim.suite, result.claim.metric)
        if same and not column.detail:
            return board.spec.digits_of(column)
    return board.spec.digits


def effect_digits(board: Board, result: ClaimResult) -> int:
    """Decimals of a claim's difference; of a slope, enough to show two digits of it."""
    digits = claim_digits(board, result)
    if result.claim.kind == "difference":
        return digits
    sizes = [result.slope, result.claim.paper_slope]
    if result.interval is not None:
        sizes += [result.interval.low, result.interval.high]
    largest = max((abs(size) for size in sizes if size), default=1.0)
    return max(digits, min(9, 1 - math.floor(math.log10(largest))))


def signed(value: float | None, digits: int) -> str:
    """A difference with its sign, or a dash."""
    return MISSING if value is None else number(value, digits, signed=True)


def against(better: float | None, worse: float | None, digits: int) -> str:
    """ "55.9 against 50.7", or "" where either is missing."""
    if better is None or worse is None:
        return ""
    return f"{number(better, digits)} against {number(worse, digits)}"


def claim_ours(result: ClaimResult, digits: int) -> str:
    """ "+3.2 [+0.4, +6.1]", the difference or slope with its interval; a dash without one."""
    text = signed(result.effect, digits)
    if result.interval is None:
        return text
    return f"{text} {span(result.interval, digits, signed=True)}"


def claim_detectable(result: ClaimResult, digits: int) -> str:
    """The minimum detectable effect with one more decimal, or a dash."""
    return MISSING if result.detectable is None else number(result.detectable, digits + 1)


def power_note(board: Board) -> str:
    """One sentence on the claims' minimum detectable effects."""
    if all(result.detectable is None for result in board.claims):
        return ""
    return (
        "Detectable: the difference that a comparison with these prompts and seeds finds with "
        f"{100 * POWER:g} % probability (two-sided {100 * ALPHA:g} %)."
    )


def claim_rate(result: ClaimResult) -> str:
    """ "per unit of alpha": what a slope is per; "" for a difference."""
    return visible(result.claim.rate, NAME_LIMIT) if result.claim.kind == "slope" else ""


def claim_paper(result: ClaimResult, digits: int) -> str:
    """ "+5.2 (55.9 against 50.7)", the paper's difference or slope."""
    values = paper_values(result, digits)
    text = signed(result.claim.paper_effect, digits)
    return f"{text} ({values})" if values else text


def paper_values(result: ClaimResult, digits: int) -> str:
    """ "55.9 against 50.7", the values of the paper's difference; "" without them."""
    claim = result.claim
    if claim.kind == "slope":
        return ""
    return against(claim.paper_better, claim.paper_worse, digits)


def claim_values(board: Board, result: ClaimResult) -> str:
    """Our scores behind a claim: "55.9 against 50.7", or those of a dose-response by dose.

    The latter as "47.2 % at 0 (DPO), 48.1 % at 0.5 (WRPO)".
    """
    digits = claim_digits(board, result)
    if result.claim.kind == "difference":
        return against(result.ours_better, result.ours_worse, digits)
    names, unit = labels(board), " %" if result.unit == "%" else ""
    return ", ".join(
        f"{MISSING if point.value is None else number(point.value, digits) + unit} at "
        f"{point.dose:g} ({visible(names.get(point.system, point.system), NAME_LIMIT)})"
        for point in result.points
    )


def claim_statement(board: Board, result: ClaimResult) -> str:
    """The claim's text, or the comparison written with the board's labels."""
    claim = result.claim
    if claim.text:
        return visible(claim.text, 300)
    names = {name: visible(label, NAME_LIMIT) for name, label in labels(board).items()}
    names = {name: names.get(name, visible(name, NAME_LIMIT)) for name in claim.systems}
    metric = visible(f"{claim.suite} {claim.metric.replace('_', ' ')}", NAME_LIMIT)
    for column in board.columns:
        if (column.suite, column.metric, column.detail) == (claim.suite, claim.metric, None):
            metric = column_name(column)
    return visible(claim.said(names, metric))


def labels(board: Board) -> dict[str, str]:
    """Displayed title of each system, by name; not yet made visible."""
    return {row.system.name: row.system.title for row in board.rows}


PRECONDITIONS = (
    "What must be true of the run before the claimed effects can appear; measured in the run "
    "itself, never ranked."
)


def precondition_rows(rows: Sequence[Measured]) -> list[tuple[str, ...]]:
    """The table of preconditions; what the effect needs is said once for each figure."""
    found: list[tuple[str, ...]] = []
    said = ""
    for row in rows:
        *cells, needs = _precondition(row)
        found.append((*cells, "" if row.text == said else needs))
        said = row.text
    return found


def _precondition(row: Measured) -> tuple[str, ...]:
    """What, of which system, figure, items, what is needed: in per cent with one decimal, others
    with three."""
    score = row.score
    figure = MISSING if score.value is None else precondition_figure(score.value, score.unit)
    if score.interval is not None:
        figure += f" {span(score.interval, precondition_digits(score.unit))}"
    return (
        visible(row.text, NAME_LIMIT),
        visible(score.system, NAME_LIMIT),
        figure if score.value is not None else f"{MISSING} ({visible(score.reason, NAME_LIMIT)})",
        row.items,
        visible(row.needs, NAME_LIMIT),
    )


PRECONDITION_HEADS = ("Precondition", "Of", "Here", "Items", "The effect needs")


def precondition_digits(unit: str) -> int:
    """Decimals of a figure of this unit."""
    return 1 if unit == "%" else 3


def precondition_figure(value: float, unit: str) -> str:
    """
    >>> precondition_figure(12.25, "%"), precondition_figure(0.5, "bits per byte")
    ('12.2 %', '0.500 bits per byte')
    """
    return f"{number(value, precondition_digits(unit))} {visible(unit, 30)}"


def provenance_lines(board: Board) -> list[tuple[str, str]]:
    """Provenance of the board as (name, value) pairs in a fixed order."""
    facts = board.spec.provenance
    lines = [("recipe", " ".join(filter(None, (facts.recipe, facts.recipe_id))))]
    lines += [("command", command) for command in (facts.command, *facts.also)]
    for suite in board.suites:
        lines += [
            (f"{suite.suite}: judge", ", ".join(suite.judges) or "none"),
            (f"{suite.suite}: judge fingerprint", ", ".join(suite.judge_fingerprints)),
            (f"{suite.suite}: decode fingerprint", ", ".join(suite.decode_fingerprints)),
            (f"{suite.suite}: prompt set", ", ".join(suite.prompt_sets)),
            (f"{suite.suite}: seeds", ", ".join(str(seed) for seed in suite.seeds)),
            (
                f"{suite.suite}: judgments",
                f"{suite.n_expected} expected, {suite.n_scored} scored, {suite.n_failed} failed",
            ),
        ]
    libraries = ", ".join(f"{name} {version}" for name, version in sorted(facts.libraries.items()))
    lines.append(("libraries", libraries))
    return [(visible(name), visible(value, 1000)) for name, value in lines if value]


def reference_text(board: Board, system: str, index: int) -> str:
    """ "paper 55.9"; "" if there is no published value or the scale is not comparable."""
    found = board.reference(system, board.columns[index])
    if found is None or set(board.scales) - {PAPER, "published"}:
        return ""
    return f"paper {number(found.value, board.spec.digits_of(board.columns[index]))}"


def notes(board: Board) -> list[str]:
    """Notes below the table: spread, intervals, marks, seeds, power, mixtures, failures, stages."""
    lines = [spread_note(board), interval_note(board), standing_note(board), seeds_note(board)]
    lines.append(power_note(board))
    lines += [f"Mixed: {visible(warning, 600)}" for warning in board.warnings]
    return [line for line in lines + failure_notes(board) + stage_notes(board) if line]


def stage_notes(board: Board) -> list[str]:
    """What the stages noted, at most STAGE_NOTES lines."""
    found = [f"Stage {visible(note, 600)}" for note in board.spec.stage_notes]
    more = len(found) - STAGE_NOTES
    return [*found[:STAGE_NOTES], *([f"... and {more} more notes of stages"] if more > 0 else [])]
