"""Boards on disk: byte for byte, or not at all."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from harness.core.errors import BadData, BadRecord, StoreProblem, UnknownName, UserError
from leaderboards.claims import Claim
from leaderboards.files import check_board, first_difference, read_board, write_board
from leaderboards.render import render
from leaderboards.spec import BoardSpec, SystemSpec

CLAIM = Claim(
    id="c", better="target-sft-wrpo", worse="target", suite="arena_hard", metric="win_rate"
)
SPEC = BoardSpec(
    name="b", title="Böard", claims=(CLAIM,), systems=(SystemSpec(name="target", notes=("ours",)),)
)
NAMES = {"cells.jsonl", "spec.json", *(f"board.{f}" for f in ("md", "csv", "json", "tex", "html"))}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_board_is_rebuilt_byte_for_byte(tmp_path, cells):
    folder = tmp_path / "deep" / "b"
    write_board(folder, SPEC, cells())
    assert set(contents(folder)) == NAMES
    assert check_board(folder) == ""
    before = contents(folder)
    spec, stored = read_board(folder)
    assert spec == SPEC
    write_board(folder, spec, stored)
    assert contents(folder) == before
    assert list(tmp_path.glob("deep/.b*")) == []


def test_details_keep_their_types(tmp_path, cell):
    details = {"a": 3, "b": 3.0, "c": True, "d": None, "e": "3", "f": 0.1 + 0.2}
    write_board(tmp_path / "b", SPEC, [cell("target", 50, details=details)])
    _, (stored,) = read_board(tmp_path / "b")
    assert {k: type(v) for k, v in stored.details.items()} == {
        k: type(v) for k, v in details.items()
    }
    assert check_board(tmp_path / "b") == ""


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_changed_file_is_found(tmp_path, cells, name):
    write_board(tmp_path / "b", SPEC, cells())
    path = tmp_path / "b" / name
    path.write_bytes(path.read_bytes() + b" \n")
    assert check_board(tmp_path / "b").startswith(name)
    path.unlink()
    if name in ("cells.jsonl", "spec.json"):
        with pytest.raises(UserError, match=f"has no {name}; expected a board's folder"):
            check_board(tmp_path / "b")
    else:
        assert "found the end of the file" in check_board(tmp_path / "b")


def test_a_changed_value_is_found_where_it_stands(tmp_path, cells):
    write_board(tmp_path / "b", SPEC, cells())
    path = tmp_path / "b" / "board.md"
    path.write_text(path.read_text().replace("| 1 |", "| 2 |", 1))
    assert "board.md does not follow from cells.jsonl: line" in check_board(tmp_path / "b")


def test_a_changed_cell_shows_in_what_follows(tmp_path, cells):
    write_board(tmp_path / "b", SPEC, cells())
    path = tmp_path / "b" / "cells.jsonl"
    lines = path.read_text().splitlines()
    data = json.loads(lines[0])
    data["value"] += 1
    path.write_text("\n".join([json.dumps(data), *lines[1:]]) + "\n")
    assert check_board(tmp_path / "b") != ""


def test_other_files_of_the_folder_stay(tmp_path, cells):
    folder = tmp_path / "b"
    folder.mkdir()
    (folder / "README.md").write_text("mine")
    write_board(folder, SPEC, cells())
    assert (folder / "README.md").read_text() == "mine"
    assert set(contents(folder)) == NAMES | {"README.md"}


def test_a_full_disk_leaves_the_old_board(tmp_path, cells, cell, monkeypatch):
    folder = tmp_path / "b"
    write_board(folder, SPEC, cells())
    before = contents(folder)
    real = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if path.name == "board.tex":
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StoreProblem, match="no space left"):
        write_board(folder, SPEC, [*cells(), cell("new", 50)])
    assert contents(folder) == before
    with pytest.raises(StoreProblem):
        write_board(tmp_path / "fresh", SPEC, cells())
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_a_folder_that_is_a_file_is_a_store_problem(tmp_path, cells):
    (tmp_path / "b").write_text("")
    with pytest.raises(StoreProblem):
        write_board(tmp_path / "b", SPEC, cells())


def test_errors_name_file_and_line(tmp_path, cells):
    with pytest.raises(UserError, match="expected a board's folder"):
        read_board(tmp_path)
    write_board(tmp_path / "b", SPEC, cells())
    path = tmp_path / "b" / "cells.jsonl"
    good = path.read_bytes()
    path.write_bytes(good + b"{broken\n")
    with pytest.raises(BadData, match=r"cells\.jsonl, line 37: not JSON"):
        read_board(tmp_path / "b")
    path.write_bytes(good + b"[1]\n")
    with pytest.raises(BadData, match=r"line 37: expected an object, found \[1\]"):
        read_board(tmp_path / "b")
    path.write_bytes(b'{"system": "a"}\n')
    with pytest.raises(BadRecord, match="line 1"):
        read_board(tmp_path / "b")


def test_no_machine_stands_in_a_file(tmp_path, cells):
    import getpass
    import socket

    write_board(tmp_path / "b", SPEC, cells())
    for data in contents(tmp_path / "b").values():
        assert str(tmp_path).encode() not in data
        for name in (socket.gethostname(), getpass.getuser()):
            assert len(name) < 5 or name.encode() not in data


def test_an_unknown_format_is_refused(cells, tmp_path):
    board = write_board(tmp_path / "b", SPEC, cells())
    with pytest.raises(UnknownName, match='did you mean "html"'):
        render(board, "htm")


def test_first_difference_names_the_end():
    assert first_difference(b"a\n", b"a\nb\n") == 'line 2: found the end of the file, expected "b"'
