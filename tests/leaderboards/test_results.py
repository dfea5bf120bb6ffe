"""The boards we publish are what their committed cells say, byte for byte."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from harness.core.hashing import canonical_json
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
        assert cell.judge is None or cell.judge_fingerprint
        assert cell.artifacts  # where the number comes from: answers, and the model if there is one
        if cell.value is not None and cell.interval is not None:
            assert cell.interval.low <= cell.value <= cell.interval.high


LARGEST = 500_000  # bytes of a committed board
# SHA-256 of the cells, one per line: what a published board says does not change by the way.
CELLS = {"wrpo-nano": "6754d25c55f84f58da4032689175db29e51f551a3159bdf48a76b87804f840f0"}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_published_board_is_small(folder: Path) -> None:
    assert sum(path.stat().st_size for path in folder.iterdir()) <= LARGEST


@pytest.mark.parametrize("name", sorted(CELLS))
def test_the_cells_are_the_published_ones(name: str) -> None:
    _, cells = read_board(RESULTS / name)
    lines = [canonical_json(cell.model_dump(mode="json")) + b"\n" for cell in cells]
    assert hashlib.sha256(b"".join(lines)).hexdigest() == CELLS[name]
