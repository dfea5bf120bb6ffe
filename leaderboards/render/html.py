"""A board as one self-contained HTML page, see `leaderboards.render.page`.

Without its script the page shows all details; with it, columns can be sorted and rows folded.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

from markupsafe import Markup

from harness.core.records import Cell
from leaderboards.board import Board, Entry, Row
from leaderboards.by_judge import base
from leaderboards.claims import OUTCOMES, ClaimResult
from leaderboards.render import judges, text
from leaderboards.render.details import detail_name, plain_name
from leaderboards.render.extras import (
    ANSWERS_COLUMN,
    EARLY,
    Extras,
    View,
    answers_view,
    extra_notes,
    link_of,
    range_text,
)
from leaderboards.render.page import asset, policy, templates
from leaderboards.scores import Score

BAR_WIDTH = 104
FOREST_WIDTH = 260
MARKS = {"best": "★", "tied": "≈", "": ""}
SAID = {"best": "best", "tied": "not distinguishable from the best", "": ""}
SIGNS = {"holds": "✓", "contradicted": "✕", "not shown": "~", "not tested": "–"}


class Scale(NamedTuple):
    """Decimals of a column, and the range of its bars."""

    digits: int
    domain: tuple[float, float]


def render(board: Board, extras: Extras | None = None) -> str:
    """The page, ending in a newline.

    Args:
        extras: for the front page of a published folder.
    """
    style, script = asset("board.css.jinja"), asset("board.js.jinja")
    early = "" if extras is None else EARLY
    if extras is not None:
        style += "\n" + asset("site.css.jinja")
        script += "\n" + asset("site.js.jinja")
    page = templates().get_template("board.html.jinja")
    scales = _scales(board)
    return (
        page.render(
            spec=board.spec,
            policy=policy(style, *filter(None, (early, script))),
            style=Markup(style),
            early=Markup(early),
            script=Markup(script),
            banner=text.banner(board),
            facts=_facts(board),
            groups=_groups(board, extras),
            columns=_columns(board, extras),
            rows=[_row(board, row, scales, extras) for row in board.rows],
            claims=_claims(board),
            verdicts=_verdicts(board.claims),
            preconditions=text.precondition_rows(board.preconditions),
            precondition_heads=text.PRECONDITION_HEADS,
            precondition_note=text.PRECONDITIONS,
            judges=judges.rows(board.judges),
            judge_heads=judges.HEADS,
            judge_title=judges.TITLE,
            judge_note=judges.NOTE,
            warnings=board.warnings,
            notes=[*text.notes(board), *extra_notes(board, extras)],
            files=() if extras is None else extras.files,
            provenance=text.provenance_lines(board),
        ).rstrip()
        + "\n"
    )


def _facts(board: Board) -> list[tuple[str, str]]:
    """Tiles in the page's header: (name, value)."""
    seeds = {seed for suite in board.suites for seed in suite.seeds}
    facts = [
        ("systems", f"{len(board.rows):,}"),
        ("suites", str(len({base(suite.suite) for suite in board.suites}))),
        ("seeds", str(len(seeds))),
        ("judgments", f"{sum(suite.n_scored for suite in board.suites):,}"),
    ]
    failed = sum(suite.n_failed for suite in board.suites)
    if failed:
        facts.append(("failed", f"{failed:,}"))
    return facts


def _groups(board: Board, extras: Extras | None) -> list[tuple[str, int]]:
    """Headings above the columns with their widths."""
    headings = []
    for index, column in enumerate(board.columns):
        headings.append(column.heading)
        if extras is not None and _closes(board, index):
            headings.append(column.heading)
    return [(name, len(list(run))) for name, run in groupby(headings)]


def _closes(board: Board, index: int) -> bool:
    """Whether a column is the last of its suite, after which the answers are described."""
    suite = board.columns[index].suite
    return all(column.suite != suite for column in board.columns[index + 1 :])


def _columns(board: Board, extras: Extras | None) -> list[View]:
    views: list[View] = []
    for index, column in enumerate(board.columns):
        scores = [row.entries[index].score for row in board.rows]
        first = next((score for score in scores if score is not None), None)
        higher = column.detail is not None or first is None or first.higher_is_better
        unit = "" if first is None or column.detail else first.unit
        views.append(
            {
                "title": column.title,
                "heading": column.heading,
                "unit": unit,
                "direction": "descending" if higher else "ascending",
                "arrow": "" if column.detail else ("↑" if higher else "↓"),
                "ranking": index == board.ranking,
            }
        )
        if extras is not None and _closes(board, index):
            views.append(dict(ANSWERS_COLUMN))
    return views


def _row(board: Board, row: Row, scales: Sequence[Scale], extras: Extras | None) -> View:
    entries: list[View] = []
    for index, column in enumerate(board.columns):
        entries.append(_entry(board, row, index, scales[index], extras))
        if extras is not None and _closes(board, index):
            entries.append(answers_view(extras.answers.get((row.system.name, column.suite))))
    name = row.system.name
    return {
        "anchor": "" if extras is None else extras.rows[name],
        "range": "" if extras is None else range_text(extras.ranges.get(name)),
        "equals": [] if extras is None else _equals(board, extras.equals.get(name, ())),
        "label": text.visible(row.system.title, text.NAME_LIMIT),
        "group": text.visible(row.system.group, 60),
        "notes": [text.visible(note, 60) for note in row.system.notes],
        "rank": row.rank,
        "tied": row.tied,
        "entries": entries,
        "scores": [_score(board, score, extras) for score in row.scores],
        "artifacts": _artifacts(row),
    }


def _equals(board: Board, names: Sequence[str]) -> list[str]:
    labels = text.labels(board) if names else {}
    return [text.visible(labels.get(name, name), 60) for name in names]


def _entry(board: Board, row: Row, index: int, scale: Scale, extras: Extras | None) -> View:
    entry = row.entries[index]
    digits = scale.digits
    numeric = isinstance(entry.value, int | float) and not isinstance(entry.value, bool)
    return {
        "value": text.entry_value(entry, digits),
        # A detail, such as the setting of a sweep, is not made from samples.
        "link": "" if board.columns[index].detail else link_of(entry.score, extras),
        "sort": entry.value if numeric else None,
        "missing": entry.value is None,
        "span": None if entry.interval is None else text.span(entry.interval, digits),
        "bar": _bar(entry, scale.domain),
        "mark": MARKS[entry.standing],
        "said": SAID[entry.standing],
        "standing": entry.standing,
        "reason": entry.reason,
        "failed": entry.failed,
        "reference": text.reference_text(board, row.system.name, index),
    }


def _scales(board: Board) -> list[Scale]:
    return [Scale(digits, _domain(board, n)) for n, digits in enumerate(text.all_digits(board))]


def _domain(board: Board, index: int) -> tuple[float, float]:
    """The range of a column's interval bars: all its intervals plus a 6 % margin."""
    ends: list[float] = []
    for row in board.rows:
        entry = row.entries[index]
        if entry.interval is not None:
            ends += [entry.interval.low, entry.interval.high]
    if not ends:
        return (0.0, 1.0)
    low, high = min(ends), max(ends)
    room = 0.06 * (high - low) or 1.0
    return (low - room, high + room)


def _bar(entry: Entry, domain: tuple[float, float]) -> View | None:
    if entry.interval is None or not isinstance(entry.value, float):
        return None
    return {
        "low": _at(entry.interval.low, domain, BAR_WIDTH),
        "high": _at(entry.interval.high, domain, BAR_WIDTH),
        "point": _at(entry.value, domain, BAR_WIDTH),
        "width": BAR_WIDTH,
    }


def _at(value: float, domain: tuple[float, float], width: int) -> str:
    low, high = domain
    return text.number(width * (value - low) / (high - low), 1)


def _score(board: Board, score: Score, extras: Extras | None) -> View:
    """One line of a row's details."""
    digits = _score_digits(board, score)
    key = (score.system, score.suite, score.metric)
    links = {} if extras is None else extras.links
    named = detail_name if extras is not None else plain_name
    return {
        "anchor": "" if extras is None else extras.scores.get(key, ""),
        "name": f"{score.suite} {score.metric.replace('_', ' ')}",
        "primary": score.primary,
        "value": text.MISSING if score.value is None else text.number(score.value, digits),
        # A unit such as "1-10" would look like part of the number.
        "unit": "%" if score.unit == "%" and score.value is not None else "",
        "span": None if score.interval is None else text.span(score.interval, digits),
        "kind": "" if score.interval is None else score.interval.kind,
        "seeds": [
            (
                cell.seed,
                text.MISSING if cell.value is None else text.number(cell.value, digits),
                f"{cell.n_scored} of {cell.n_expected}",
                links.get((*key, cell.seed), ""),
            )
            for cell in score.cells
        ],
        "counts": f"{score.n_scored} of {score.n_expected}",
        "failed": score.failed,
        "details": [
            (named(name), text.detail(value))
            for name, value in text.shown_details(score.details).items()
        ],
        "reason": score.reason,
    }


def _score_digits(board: Board, score: Score) -> int:
    for column in board.columns:
        if (column.suite, column.metric) == (score.suite, score.metric) and not column.detail:
            return board.spec.digits_of(column)
    return board.spec.digits


def _artifacts(row: Row) -> list[tuple[str, int, list[tuple[str, str]]]]:
    """Artifacts behind a row: (suite, seed, [(role, artifact id)])."""
    cells: dict[tuple[str, int], dict[str, str]] = {}
    for score in row.scores:
        for cell in score.cells:
            cells.setdefault((cell.suite, cell.seed), {}).update(_addresses(cell))
    return [(suite, seed, sorted(cells[suite, seed].items())) for suite, seed in sorted(cells)]


def _addresses(cell: Cell) -> dict[str, str]:
    return {role: text.visible(artifact, 80) for role, artifact in cell.artifacts.items()}


def _claims(board: Board) -> list[View]:
    domains = _claim_domains(board.claims)
    return [_claim(board, result, domains[_axis(result)]) for result in board.claims]


def _verdicts(results: Sequence[ClaimResult]) -> list[tuple[str, str, str, int]]:
    """Sign, style, name and count of each occurring verdict."""
    found = [result.verdict for result in results]
    return [
        (SIGNS[verdict], verdict.replace(" ", "-"), verdict, found.count(verdict))
        for verdict in OUTCOMES
        if verdict in found
    ]


def _claim_domains(results: Sequence[ClaimResult]) -> dict[str, tuple[float, float]]:
    """Unit -> one range around 0 for all its tested claims, so that bars are comparable."""
    reach: dict[str, float] = {_axis(result): 0.0 for result in results}
    for result in results:
        if result.effect is None:
            continue
        ends = [result.effect or 0.0, result.claim.paper_effect or 0.0]
        if result.interval is not None:
            ends += [result.interval.low, result.interval.high]
        reach[_axis(result)] = max([reach[_axis(result)], *(abs(end) for end in ends)])
    return {unit: (-1.08 * (far or 1.0), 1.08 * (far or 1.0)) for unit, far in reach.items()}


def _axis(result: ClaimResult) -> str:
    """Unit of what is judged; slopes per different doses have different ones."""
    return f"{result.unit} {text.claim_rate(result)}".rstrip()


def _claim(board: Board, result: ClaimResult, domain: tuple[float, float]) -> View:
    digits = text.effect_digits(board, result)
    ours = text.claim_values(board, result)
    return {
        "id": result.claim.id,
        "statement": text.claim_statement(board, result),
        "verdict": result.verdict,
        "scope": result.scope,
        "sign": SIGNS[result.verdict],
        "slug": result.verdict.replace(" ", "-"),
        "unit": result.unit,
        "rate": text.claim_rate(result),
        "doses": ours if result.points else "",
        "ours": text.signed(result.effect, digits),
        "span": text.span(result.interval, digits, signed=True) if result.interval else "",
        "detectable": text.claim_detectable(result, digits),
        "ours_values": "" if result.points else ours,
        "paper": text.signed(result.claim.paper_effect, digits),
        "paper_values": text.paper_values(result, digits),
        "source": result.claim.source,
        "reason": result.reason,
        "forest": _forest(result, domain),
        "margin": text.number(result.claim.margin, digits) if result.claim.margin else "",
    }


def _forest(result: ClaimResult, domain: tuple[float, float]) -> View:
    def at(value: float | None) -> str | None:
        return None if value is None else _at(value, domain, FOREST_WIDTH)

    interval, tested = result.interval, result.effect is not None
    return {
        "width": FOREST_WIDTH,
        "zero": at(0.0),
        "point": at(result.effect),
        "low": at(interval.low) if interval else None,
        "high": at(interval.high) if interval else None,
        "paper": at(result.claim.paper_effect) if tested else None,
    }
