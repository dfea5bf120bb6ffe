"""The table of preconditions on a board: apart from ranks, rows, columns and facts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.core.records import Cell, parse
from harness.engine.preconditions import SUITE, Precondition
from leaderboards.board import Board, build_board
from leaderboards.claims import Claim
from leaderboards.files import check_board, read_board, write_board
from leaderboards.preconditions import measured
from leaderboards.render import FORMATS, render
from leaderboards.spec import BoardSpec, SystemSpec

Make = Callable[..., list[Cell]]
LINES = (
    Precondition(text="sources that are <better>", metric="above", needs="many"),
    Precondition(text="bits", metric="bits:*"),
    Precondition(text="win rate of all", metric="win_rate", suite="alpaca_eval2", systems=("b",)),
)


def spec(**more: object) -> BoardSpec:
    return parse(BoardSpec, {"name": "x", "title": "X", **more}, "test")


@pytest.fixture
def scores(cells: Make) -> list[Cell]:
    return cells({"a": 20.0, "b": 60.0}, [("alpaca_eval2", "win_rate")], (0, 1))


@pytest.fixture
def figures(cells: Make) -> list[Cell]:
    """Better than every score, of a model that is no row."""
    made = cells({"b": 90.0, "source": 95.0}, [(SUITE, "above")], (0, 1))
    made += cells({"source": 10.0}, [(SUITE, "bits:sort"), (SUITE, "unnamed_thing")], (0, 1))
    return [cell.model_copy(update={"primary": False, "judge": None}) for cell in made]


@pytest.fixture
def board(scores: list[Cell], figures: list[Cell]) -> Board:
    listed = [SystemSpec(name="a"), SystemSpec(name="b")]
    return build_board(
        spec(preconditions=LINES, systems=listed, only_listed=True), [*scores, *figures]
    )


def test_nothing_else_on_the_board_changes(
    board: Board, scores: list[Cell], figures: list[Cell]
) -> None:
    plain = build_board(spec(systems=board.spec.systems, only_listed=True), scores)
    assert board.columns == plain.columns
    assert board.rows == plain.rows
    assert board.suites == plain.suites
    assert board.warnings == plain.warnings
    assert {cell.suite for cell in board.cells} == {"alpaca_eval2", SUITE}
    assert plain.preconditions == ()
    for format in (*FORMATS, "terminal"):
        assert "recondition" not in render(plain, format), format


def test_lines_are_shown_by_part_and_system_and_nothing_is_hidden(board: Board) -> None:
    shown = [(row.text, row.score.system, row.needs) for row in board.preconditions]
    assert shown == [
        ("sources that are <better>", "b", "many"),
        ("sources that are <better>", "source", "many"),
        ("bits: sort", "source", ""),
        ("win rate of all", "b", ""),
        ("unnamed thing", "source", ""),
    ]
    first = board.preconditions[0]
    assert first.items == "240"  # two seeds of 120 prompts
    assert first.score.interval is not None


def test_a_cell_is_shown_by_the_first_line_that_names_it(board: Board) -> None:
    twice = (*LINES, Precondition(text="again", metric="above"))
    rows = measured(twice, [row.score for row in board.preconditions])
    assert "again" not in {row.text for row in rows}


def test_failed_items_are_counted(cells: Make) -> None:
    (cell,) = cells({"b": 50.0}, [(SUITE, "above")], (0,))
    failed = cell.model_copy(update={"n_scored": 100, "n_failed": 20})
    (row,) = build_board(spec(), [failed]).preconditions
    assert row.items == "100 of 120"


@pytest.mark.parametrize("format", ["md", "terminal", "html", "json"])
def test_the_table_is_in_every_format_that_has_room(board: Board, format: str) -> None:
    page = render(board, format)
    assert "recondition" in page
    assert "<better>" not in page or format in ("terminal", "json")
    found = json.loads(page)["preconditions"] if format == "json" else []
    if found:
        assert found[0]["text"] == "sources that are <better>"
        assert found[0]["n_scored"] == 240
        assert found[0]["interval"]["kind"] == "bootstrap over prompts, seeds nested"


@pytest.mark.parametrize("compact", [False, True])
def test_a_board_with_preconditions_is_rebuilt_byte_for_byte(
    scores: list[Cell], figures: list[Cell], tmp_path: Path, compact: bool
) -> None:
    wanted = spec(preconditions=LINES, compact=compact)
    board = write_board(tmp_path / "board", wanted, [*scores, *figures])
    assert check_board(tmp_path / "board") == ""
    read, cells = read_board(tmp_path / "board")
    assert read.preconditions == LINES
    assert build_board(read, cells).preconditions == board.preconditions


def test_a_claim_may_be_about_a_precondition(board: Board) -> None:
    claim = Claim(id="c", better="source", worse="b", suite=SUITE, metric="above", source="ours")
    both = build_board(spec(claims=[claim.model_dump()]), board.cells)
    assert both.claims[0].difference is not None
