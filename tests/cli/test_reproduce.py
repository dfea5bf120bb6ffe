"""A small reproduction from nothing to a board, again from the store, and down to a sample."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.cli.test_messages import crucible

SMALL = ("reproduce", "dpo", "--limit", "16", "--suite", "alpaca_eval2")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("reproduction")
    done = crucible(*SMALL, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_it_ends_with_a_table_and_a_board(finished: tuple[Path, str]) -> None:
    folder, printed = finished
    assert "Target-SFT-DPO" in printed
    assert "nano" in printed
    board = folder / "home" / "boards" / "dpo-nano+limit=16+suite=alpaca_eval2"
    names = {path.name for path in board.iterdir()}
    assert {
        "cells.jsonl",
        "board.html",
        "board.md",
        "board.csv",
        "board.json",
        "board.tex",
    } <= names
    cells = [json.loads(line) for line in (board / "cells.jsonl").read_text().splitlines()]
    assert {cell["system"] for cell in cells} == {"target", "dpo"}
    for cell in cells:
        assert cell["scale"] == "nano"
        assert cell["n_expected"] == cell["n_scored"] + cell["n_failed"] == 16
        assert cell["judge_fingerprint"]
        assert cell["interval"]["low"] <= cell["value"] <= cell["interval"]["high"]


def test_the_same_again_executes_nothing_and_gives_the_same_bytes(
    finished: tuple[Path, str],
) -> None:
    folder, _ = finished
    board = folder / "home" / "boards" / "dpo-nano+limit=16+suite=alpaca_eval2"
    before = {path.name: path.read_bytes() for path in board.iterdir()}
    done = crucible(*SMALL, cwd=folder)
    assert "0 stages executed" in done.stdout
    assert {path.name: path.read_bytes() for path in board.iterdir()} == before
    checked = crucible("board", "dpo-nano+limit=16+suite=alpaca_eval2", "--check", cwd=folder)
    assert "rebuilt byte for byte" in checked.stdout


def test_a_changed_cell_is_noticed(finished: tuple[Path, str], tmp_path: Path) -> None:
    import shutil

    folder, _ = finished
    copy = tmp_path / "copy"
    shutil.copytree(folder / "home" / "boards" / "dpo-nano+limit=16+suite=alpaca_eval2", copy)
    path = copy / "cells.jsonl"
    path.write_text(path.read_text().replace('"n_failed":0', '"n_failed":1', 1))
    done = crucible("board", str(copy), "--check", cwd=tmp_path)
    assert done.returncode == 2


def test_a_number_leads_to_its_samples(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    cells = (
        (folder / "home/boards/dpo-nano+limit=16+suite=alpaca_eval2/cells.jsonl")
        .read_text()
        .splitlines()
    )
    links = json.loads(cells[0])["artifacts"]
    assert {"checkpoint", "generations", "judgments", "cells"} <= set(links)
    listed = crucible("show", links["judgments"][:12], cwd=folder).stdout
    row = re.search(r"^(alpaca_eval2/\S+)", listed, re.M)
    assert row, listed
    full = crucible("show", links["judgments"][:12], "--row", row.group(1), cwd=folder).stdout
    assert "reply" in full
    up = crucible("show", links["checkpoint"][:12], cwd=folder).stdout
    assert re.search(r"from +\w+: [0-9a-f]{12}", up), up


def test_compare_prints_paired_differences(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    done = crucible(
        "compare", "dpo", "target", "--board", "dpo-nano+limit=16+suite=alpaca_eval2", cwd=folder
    )
    assert done.returncode == 0, done.stderr
    assert "lc win rate" in done.stdout


def test_another_seed_is_another_run(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    shown = crucible("plan", *SMALL[1:], "--seeds", "2", cwd=folder).stdout
    assert "cached" in shown
    assert "to do" in shown
