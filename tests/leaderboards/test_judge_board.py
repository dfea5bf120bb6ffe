"""Boards of judges: one is added after the other, against the same reference only."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.core.errors import UserError
from harness.judging.agreement import compare
from harness.judging.agreement_cells import cells
from harness.judging.verdict_sets import JudgedItem, VerdictSet
from leaderboards.files import check_board, write_board
from leaderboards.judge_board import add_to_board
from leaderboards.spec import BoardSpec


def judged(judge: str, values: list[float]) -> VerdictSet:
    rows = tuple(JudgedItem(f"p{number}", "m", value) for number, value in enumerate(values))
    return VerdictSet(judge, "alpaca", rows, judge, "alpaca_eval2", scale="nano")


GOLD = judged("gold", [0.9, 0.1, 0.8, 0.2, 0.7, 0.3])
GOOD = judged("good", [0.8, 0.2, 0.9, 0.1, 0.6, 0.7])
POOR = judged("poor", [0.2, 0.2, 0.9, 0.6, 0.3, 0.7])


def test_judges_are_added_and_replaced_and_ranked(tmp_path: Path) -> None:
    folder = tmp_path / "judges"
    add_to_board(folder, cells(compare(POOR, GOLD, rounds=30)))
    add_to_board(folder, cells(compare(GOOD, GOLD, rounds=30)))
    board = add_to_board(folder, cells(compare(GOOD, GOLD, rounds=30)))
    assert [row.system.name for row in board.rows] == ["good", "poor"]
    assert board.rows[0].entries[0].value == pytest.approx(2 / 3)
    assert check_board(folder) == ""


def test_another_reference_is_not_ranked_beside(tmp_path: Path) -> None:
    add_to_board(tmp_path / "judges", cells(compare(GOOD, GOLD, rounds=30)))
    other = judged("gold", [0.1, 0.1, 0.8, 0.2, 0.7, 0.3])
    with pytest.raises(UserError, match="mixes judge fingerprints"):
        add_to_board(tmp_path / "judges", cells(compare(POOR, other, rounds=30)))
    assert check_board(tmp_path / "judges") == ""


def test_a_board_of_something_else_is_left_alone(tmp_path: Path) -> None:
    made = cells(compare(GOOD, GOLD, rounds=30))
    foreign = [cell.model_copy(update={"suite": "arena_hard"}) for cell in made]
    write_board(tmp_path / "mine", BoardSpec(name="mine", title="Mine"), foreign)
    with pytest.raises(UserError, match="is a board of arena_hard"):
        add_to_board(tmp_path / "mine", made)
