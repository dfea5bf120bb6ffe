"""A board as JSON for other programs; replicates are only in cells.jsonl."""

from __future__ import annotations

import json

from harness.core.records import Interval, Json
from leaderboards.board import Board, Row
from leaderboards.claims import ClaimResult
from leaderboards.preconditions import Measured
from leaderboards.render.text import limits, shown_details
from leaderboards.scores import Score, scope_of

FORMAT = 1
_LEFT_OUT = {"system", "suite", "metric", "replicates", "resampled", "details"}


def render(board: Board) -> str:
    """The board as indented JSON: sorted keys, numbers with at most six decimals."""
    return json.dumps(as_json(board), indent=2, sort_keys=True, ensure_ascii=True) + "\n"


def as_json(board: Board) -> dict[str, Json]:
    """The board as JSON values."""
    spec = board.spec
    # Boards without them have no such keys, as before there were any.
    more: dict[str, Json] = {}
    if board.preconditions:
        more["preconditions"] = [_precondition(row) for row in board.preconditions]
    if board.judges:
        more["judges"] = [pair.model_dump(mode="json") for pair in board.judges]
    if limited := limits(board.cells):
        more["limits"] = {suite: list(marks) for suite, marks in limited.items()}
    ranking = None if board.ranking is None else board.columns[board.ranking].key
    return {
        "format": FORMAT,
        "name": spec.name,
        "title": spec.title,
        "description": spec.description,
        "scales": list(board.scales),
        "ranked_by": ranking,
        "warnings": list(board.warnings),
        "columns": [
            {**column.model_dump(exclude={"optional"}), "key": column.key}
            for column in board.columns
        ],
        "rows": [_row(board, row) for row in board.rows],
        "claims": [_claim(result) for result in board.claims],
        "suites": [suite.model_dump(mode="json") for suite in board.suites],
        "references": [reference.model_dump() for reference in spec.references],
        "provenance": spec.provenance.model_dump(),
        **more,
    }


def _row(board: Board, row: Row) -> dict[str, Json]:
    table: dict[str, Json] = {
        column.key: {
            "value": _tidy(entry.value),
            "spread": _tidy(entry.spread),
            "interval": _interval(entry.interval),
            "standing": entry.standing,
            "scope": "" if entry.score is None else scope_of(entry.score.n_seeds),
            "reason": entry.reason,
        }
        for column, entry in zip(board.columns, row.entries, strict=True)
    }
    return {
        "rank": row.rank,
        "tied_with_best": row.tied,
        "system": row.system.name,
        "label": row.system.title,
        "group": row.system.group,
        "notes": list(row.system.notes),
        "table": table,
        "scores": [_score(score) for score in row.scores],
    }


def _score(score: Score) -> dict[str, Json]:
    shown = score.model_dump(
        mode="json", exclude={"cells", "interval", "value", "bounds", "details"}
    )
    return {
        **shown,
        "value": _tidy(score.value),
        "interval": _interval(score.interval),
        "bounds": None if score.bounds is None else [_tidy(bound) for bound in score.bounds],
        "details": {n: _tidy(value) for n, value in shown_details(score.details).items()},
        "n_seeds": score.n_seeds,
        "seeds": [
            cell.model_dump(mode="json", exclude=_LEFT_OUT)
            | {"details": {n: _tidy(v) for n, v in shown_details(cell.details).items()}}
            for cell in score.cells
        ],
    }


def _precondition(row: Measured) -> dict[str, Json]:
    return {"text": row.text, "needs": row.needs, **_score(row.score)}


def _claim(result: ClaimResult) -> dict[str, Json]:
    shown = result.model_dump(
        mode="json", exclude={"interval", "difference", "points", "slope", "detectable"}
    )
    if result.claim.kind == "slope":
        for name in ("ours_better", "ours_worse"):
            del shown[name]
        points = [
            {
                "system": point.system,
                "dose": point.dose,
                "value": _tidy(point.value),
                "interval": _interval(point.interval),
            }
            for point in result.points
        ]
        slope = {"slope": _tidy(result.slope), "per": result.claim.rate, "points": points}
        ends = {"interval": _interval(result.interval), "detectable": _tidy(result.detectable)}
        return {**shown, **slope, **ends}
    del shown["claim"]["paper_gain"]  # included below in the paper's difference
    return {
        **shown,
        "difference": _tidy(result.difference),
        "interval": _interval(result.interval),
        "detectable": _tidy(result.detectable),
        "paper_difference": result.claim.paper_difference,
    }


def _interval(interval: Interval | None) -> Json:
    if interval is None:
        return None
    return {
        "low": _tidy(interval.low),
        "high": _tidy(interval.high),
        "level": interval.level,
        "kind": interval.kind,
    }


def _tidy(value: float | int | str | bool | None) -> Json:
    return round(value, 6) + 0.0 if isinstance(value, float) else value
