"""`crucible board FOLDER --compact`: the short form, and what it prints."""

from __future__ import annotations

from typer.testing import CliRunner

from harness.cli.main import app
from leaderboards.files import write_board
from leaderboards.spec import BoardSpec


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
