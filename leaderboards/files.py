"""Board folders: cells.jsonl and spec.json define a board, all other files are rendered from them.

    cells.jsonl   one cell per line, canonical JSON, sorted
    spec.json     the board's specification
    board.md .csv .json .tex .html

`check_board` renders the board again from cells.jsonl and spec.json and compares every file byte
for byte. Files contain no dates, host names or other data that a second run would not reproduce.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from harness.core.errors import StoreProblem, UserError
from harness.core.hashing import canonical_json
from harness.core.records import Cell, parse
from harness.engine.io import atomic_folder, read_json, read_objects
from leaderboards.board import Board, build_board
from leaderboards.render import FORMATS, render
from leaderboards.spec import BoardSpec

CELLS, SPEC = "cells.jsonl", "spec.json"


def board_files(board: Board) -> dict[str, bytes]:
    """Name -> content of every file in a board's folder."""
    lines = [canonical_json(cell.model_dump(mode="json")) + b"\n" for cell in board.cells]
    spec = board.spec.model_dump(mode="json", exclude_defaults=True)
    files = {
        CELLS: b"".join(lines),
        SPEC: (json.dumps(spec, indent=2, sort_keys=True) + "\n").encode(),
    }
    for name in FORMATS:
        text = render(board, name)
        files[f"board.{name}"] = text.encode("utf-8", errors="backslashreplace")
    return files


def write_board(folder: Path, spec: BoardSpec, cells: Iterable[Cell]) -> Board:
    """Build a board and write its folder; other files in the folder are kept.

    All files are written and synced before the first one is replaced, so a full disk leaves the
    previous board intact.

    Raises:
        UserError: the cells cannot be ranked together.
        StoreProblem: the folder cannot be written.
    """
    board = build_board(spec, cells)
    files = board_files(board)
    folder = folder.absolute()
    try:
        with atomic_folder(folder, merge=True) as fresh:
            for name, data in files.items():
                (fresh / name).write_bytes(data)
    except OSError as error:
        raise StoreProblem(
            f"cannot write {folder}: {error}; no file was left partially written"
        ) from None
    return board


def read_board(folder: Path) -> tuple[BoardSpec, tuple[Cell, ...]]:
    """The specification and cells of a board's folder.

    Raises:
        UserError: a file is missing or invalid; the message names file and line.
    """
    for name in (SPEC, CELLS):
        if not (folder / name).is_file():
            raise UserError(f"{folder} has no {name}; expected a board's folder")
    spec = parse(BoardSpec, read_json(folder / SPEC), str(folder / SPEC))
    rows = enumerate(read_objects(folder / CELLS), start=1)
    cells = (parse(Cell, row, f"{folder / CELLS}, line {number}") for number, row in rows)
    return spec, tuple(cells)


def check_board(folder: Path) -> str:
    """Rebuild a board from its own cells and compare every file byte for byte.

    Returns:
        The first difference, or "" if there is none.
    """
    spec, cells = read_board(folder)
    for name, expected in board_files(build_board(spec, cells)).items():
        path = folder / name
        found = path.read_bytes() if path.is_file() else b""
        if found != expected:
            return f"{name} does not follow from {CELLS}: {first_difference(found, expected)}"
    return ""


def first_difference(found: bytes, expected: bytes) -> str:
    """The first difference of two texts, e.g. 'line 3: found "52.1", expected "52.3"'.

    >>> first_difference(b"a\\nbc\\n", b"a\\nbd\\n")
    'line 2: found "c", expected "d"'
    """
    length = min(len(found), len(expected))
    at = next((i for i in range(length) if found[i] != expected[i]), length)
    line = expected[:at].count(b"\n") + 1
    return f"line {line}: found {_excerpt(found, at)}, expected {_excerpt(expected, at)}"


def _excerpt(data: bytes, at: int) -> str:
    if at >= len(data):
        return "the end of the file"
    line = data[at : at + 60].split(b"\n")[0]
    return f'"{line.decode(errors="replace")}"' if line else "the end of the line"
