"""What the front page of a published board adds: links, lengths, counts, rank ranges, equals."""

from __future__ import annotations

from collections.abc import Sequence

from harness.core.records import Cell
from leaderboards.board import Board, Row
from leaderboards.ranks import ranges_of_board
from leaderboards.render.extras import Answers, Extras
from leaderboards.scores import Score
from leaderboards.site.pages import Addresses, row_anchor, score_anchor

LENGTH = "avg_length"  # detail of cells whose suite counts characters itself


def extras_of(board: Board, found: Addresses, files: Sequence[tuple[str, str]]) -> Extras:
    """Links and additions for `leaderboards.render.html.render`."""
    links = {}
    for row in board.rows:
        for score in row.scores:
            for cell in score.cells:
                links[cell.system, cell.suite, cell.metric, cell.seed] = found.of(cell)
    suites = dict.fromkeys(column.suite for column in board.columns)
    return Extras(
        links=links,
        rows={row.system.name: row_anchor(row.system.name) for row in board.rows},
        scores={
            (s.system, s.suite, s.metric): score_anchor((s.system, s.suite, s.metric))
            for row in board.rows
            for s in row.scores
        },
        ranges=ranges_of_board(board),
        answers={
            (row.system.name, suite): answers
            for row in board.rows
            for suite in suites
            if (answers := _answers(row, suite, found)) is not None
        },
        equals=equals(board),
        files=tuple(files),
        reasons=tuple(
            f"{count} scores have no samples: {why}." for why, count in found.reasons.items()
        ),
    )


def _answers(row: Row, suite: str, found: Addresses) -> Answers | None:
    """Length and number of a system's answers on a suite; None if it was not run."""
    own = [score for score in row.scores if score.suite == suite]
    if not own:
        return None
    largest = max(own, key=lambda score: (score.primary, score.n_expected))
    known = [
        found.lengths[key]
        for cell in largest.cells
        if (key := (cell.system, cell.suite, cell.seed)) in found.lengths
    ]
    count = sum(n for n, _ in known)
    length = sum(n * mean for n, mean in known) / count if count else _stated(own)
    return Answers(length, largest.n_scored, largest.n_expected)


def _stated(scores: Sequence[Score]) -> float | None:
    """The mean length that a suite's details state."""
    for score in scores:
        value = score.details.get(LENGTH)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    return None


def equals(board: Board) -> dict[str, tuple[str, ...]]:
    """System -> systems whose every common score is equal, row by row where cells hold rows.

    "Not distinguishable" says that a difference was not shown; these have none here. At least one
    score with rows is required: equal means alone may be a coincidence.
    """
    cells = {
        row.system.name: {
            (cell.suite, cell.metric, cell.seed): cell for s in row.scores for cell in s.cells
        }
        for row in board.rows
    }
    found: dict[str, tuple[str, ...]] = {}
    for name, own in cells.items():
        same = [other for other, theirs in cells.items() if other != name and _equal(own, theirs)]
        if same:
            found[name] = tuple(same)
    return found


def _equal(
    ours: dict[tuple[str, str, int], Cell], theirs: dict[tuple[str, str, int], Cell]
) -> bool:
    common = ours.keys() & theirs.keys()
    pairs = [(ours[key], theirs[key]) for key in common]
    if not all(a.value == b.value and _rows(a) == _rows(b) for a, b in pairs):
        return False
    return any(_rows(a) for a, _ in pairs)


def _rows(cell: Cell) -> tuple[object, ...]:
    sample = cell.resampled
    if sample is None or not (sample.values or sample.columns):
        return ()
    return cell.prompt_set, cell.judge_fingerprint, sample.values, sample.columns
