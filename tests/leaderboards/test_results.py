"""The boards we publish are what their committed cells say, byte for byte."""

from __future__ import annotations

from pathlib import Path

import pytest

from leaderboards.files import check_board, read_board

RESULTS = Path(__file__).resolve().parents[2] / "leaderboards" / "results"
FOLDERS = sorted(path.parent for path in RESULTS.glob("*/cells.jsonl"))


def test_there_are_published_boards() -> None:
    assert FOLDERS


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_published_board_is_rebuilt_byte_for_byte(folder: Path) -> None:
    assert check_board(folder) == ""


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_cell_is_accounted_for(folder: Path) -> None:
    _, cells = read_board(folder)
    for cell in cells:
        assert cell.n_expected == cell.n_scored + cell.n_failed
        assert cell.judge_fingerprint
        assert cell.artifacts["checkpoint"]
        if cell.value is not None and cell.interval is not None:
            assert cell.interval.low <= cell.value <= cell.interval.high
