"""`crucible board FOLDER --compact`: the short form, and what it prints."""

from __future__ import annotations

from typer.testing import CliRunner

from harness.cli.main import app
from leaderboards.block_writer import without_unread_rows
from leaderboards.board import build_board
from leaderboards.files import write_board
from leaderboards.spec import BoardSpec, ColumnSpec


def run(*words: str) -> str:
    found = CliRunner().invoke(app, ["board", *words])
    assert found.exit_code == 0, found.output
    return found.stdout


def test_a_board_is_compacted_checked_and_still_printed_in_every_format(tmp_path, cells):
    folder = tmp_path / "b"
    write_board(folder, BoardSpec(name="b", title="B"), cells())
    before = {name: (folder / f"board.{name}").read_text() for name in ("md", "json", "html")}
    run(str(folder), "--compact")
    assert sorted(path.name for path in folder.iterdir()) == [
        "board.csv", "board.md", "board.tex", "cells.jsonl", "spec.json",
    ]  # fmt: skip
    assert "rebuilt byte for byte" in run(str(folder), "--check").replace("\n", " ")
    for name, text in before.items():
        assert run(str(folder), "--format", name) == text
    kept = (folder / "cells.jsonl").read_bytes()
    run(str(folder), "--rebuild")
    assert (folder / "cells.jsonl").read_bytes() == kept


def test_rows_that_nothing_reads_are_left_out_and_the_others_stay(cells):
    every = tuple(cells())
    key = every[0].suite, every[0].metric
    given = tuple(cell for cell in every if (cell.suite, cell.metric) == key)
    assert all(cell.replicates for cell in given)
    shown = ColumnSpec(suite=key[0], metric=key[1])
    hidden = tuple(cell.model_copy(update={"metric": "hidden"}) for cell in given)
    spec = BoardSpec(name="b", title="B", columns=(shown,))
    found = without_unread_rows(build_board(spec, [*given, *hidden]))
    assert [c for c in found if c.metric != "hidden"] == list(build_board(spec, given).cells)
    dropped = [cell for cell in found if cell.metric == "hidden"]
    assert len(dropped) == len(given)
    assert not any(cell.replicates or cell.resampled for cell in dropped)
    assert [cell.value for cell in dropped] == [round(cell.value, 6) for cell in given]
    assert all(cell.interval for cell in dropped)
