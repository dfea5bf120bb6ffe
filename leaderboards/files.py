"""Board folders: cells.jsonl and spec.json define a board, all other files are rendered from them.

    cells.jsonl   one cell per line, canonical JSON, sorted
    rows.bin      numbers that the lines of a large compact board refer to
    spec.json     the board's specification
    board.md .csv .json .tex .html

A compact board (`BoardSpec.compact`, for boards under version control) has a short form of the
cells, see `leaderboards.blocks` and, for boards of earlier versions, `leaderboards.compact`, and no
board.json and board.html, which `crucible board NAME --format html` prints. All forms are read
alike.

`check_board` renders the board again from cells.jsonl and spec.json and compares every file byte
for byte. Files contain no dates, host names or other data that a second run would not reproduce.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

from harness.core.errors import StoreProblem, UserError
from harness.core.hashing import canonical_json
from harness.core.records import Cell, parse
from harness.engine.io import (
    atomic_folder,
    disk_errors,
    iterate_objects,
    locked,
    read_json,
    read_objects,
)
from leaderboards.block_writer import blocks
from leaderboards.blocks import is_block, read_blocks
from leaderboards.board import Board, build_board
from leaderboards.compact import CellKey, Rows, key_of, read_lines, sheets
from leaderboards.render import FORMATS, render
from leaderboards.spec import BoardSpec

CELLS, SPEC, ROWS = "cells.jsonl", "spec.json", "rows.bin"
LARGE = ("json", "html")  # formats that a compact board leaves out
_NO_ROWS: Mapping[CellKey, Rows] = MappingProxyType({})


def board_files(board: Board, rows: Mapping[CellKey, Rows] = _NO_ROWS) -> dict[str, bytes]:
    """Name -> content of every file in a board's folder.

    Args:
        rows: as in `leaderboards.compact.sheets`.
    """
    data = b""
    if board.spec.compact and board.spec.layout == "blocks":
        lines, data = blocks(board.cells)
    elif board.spec.compact:
        lines = sheets(board.cells, rows)
    else:
        lines = [canonical_json(cell.model_dump(mode="json")) + b"\n" for cell in board.cells]
    spec = board.spec.model_dump(mode="json", exclude_defaults=True)
    files = {
        CELLS: b"".join(lines),
        SPEC: (json.dumps(spec, indent=2, sort_keys=True) + "\n").encode(),
    }
    if data:
        files[ROWS] = data
    for name in _formats(board.spec):
        text = render(board, name)
        files[f"board.{name}"] = text.encode("utf-8", errors="backslashreplace")
    return files


def _formats(spec: BoardSpec) -> tuple[str, ...]:
    return tuple(name for name in FORMATS if not spec.compact or name not in LARGE)


def write_board(
    folder: Path,
    spec: BoardSpec,
    cells: Iterable[Cell],
    rows: Mapping[CellKey, Rows] = _NO_ROWS,
) -> Board:
    """Build a board and write its folder; files in the folder that are no board's are kept.

    All files are written and synced before the first one is replaced, so a full disk or a kill
    leaves the previous board intact.

    Raises:
        UserError: the cells cannot be ranked together.
        StoreProblem: the folder cannot be written.
    """
    board = build_board(spec, cells)
    folder = folder.absolute()
    with _writing(folder), locked(folder.parent):
        _replace(folder, board_files(board, rows))
    return board


def change_board(
    folder: Path,
    change: Callable[[BoardSpec | None, tuple[Cell, ...]], tuple[BoardSpec, Iterable[Cell]]],
) -> Board:
    """Make a board from the one in a folder, while no other process changes it.

    Args:
        change: from the specification and cells of the folder (None and () if there is no board
            yet) to those of the new board.

    Raises:
        As `write_board` and `read_board`, and what `change` raises; the board is then unchanged.
    """
    folder = folder.absolute()
    with _writing(folder), locked(folder.parent):
        there = (folder / CELLS).is_file()
        board = build_board(*change(*(read_board(folder) if there else (None, ()))))
        _replace(folder, board_files(board))
    return board


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        with disk_errors(folder, kept="no file was left partially written"):
            yield
    except OSError as error:
        raise StoreProblem(
            f"cannot write {folder}: {error}; no file was left partially written"
        ) from None


def _replace(folder: Path, files: Mapping[str, bytes]) -> None:
    drop = (ROWS, *(f"board.{format}" for format in FORMATS))
    with atomic_folder(folder, merge=True, drop=drop) as fresh:
        for name, data in files.items():
            (fresh / name).write_bytes(data)


def read_board(folder: Path) -> tuple[BoardSpec, tuple[Cell, ...]]:
    """The specification and cells of a board's folder.

    Raises:
        UserError: a file is missing or invalid; the message names file and line.
    """
    spec, cells, _ = read_rows(folder)
    return spec, cells


def read_spec_of(folder: Path) -> BoardSpec:
    """The specification in a board's folder; errors as `read_board`."""
    for name in (SPEC, CELLS):
        if not (folder / name).is_file():
            raise UserError(f"{folder} has no {name}; expected a board's folder")
    return parse(BoardSpec, read_json(folder / SPEC), str(folder / SPEC))


def read_rows(folder: Path) -> tuple[BoardSpec, tuple[Cell, ...], dict[CellKey, Rows]]:
    """As `read_board`, with the rows of cells that do not have their own."""
    spec = read_spec_of(folder)
    lines = [
        (f"{folder / CELLS}, line {number}", line)
        for number, line in enumerate(read_objects(folder / CELLS), start=1)
    ]
    found: list[tuple[Cell, Rows | None]]
    if lines and is_block(lines[0][1]):
        data = (folder / ROWS).read_bytes() if (folder / ROWS).is_file() else b""
        found = [(cell, None) for cell in read_blocks(lines, data)]
    else:
        found = list(read_lines(lines))
    rows = {key_of(cell): own for cell, own in found if own is not None}
    if spec.compact:  # a sheet of metrics per line; boards list all systems of a metric
        found.sort(key=lambda pair: key_of(pair[0]))
    return spec, tuple(cell for cell, _ in found), rows


def artifacts_of(folder: Path) -> set[str]:
    """Ids of the artifacts that the cells of a board refer to; errors as `read_board`."""
    found: set[str] = set()
    for line in iterate_objects(folder / CELLS):
        if "cells" in line or is_block(line):
            return {id for cell in read_board(folder)[1] for id in cell.artifacts.values()}
        found |= {str(id) for id in dict(line.get("artifacts") or {}).values()}
    return found


def check_board(folder: Path) -> str:
    """Rebuild a board from its own cells and compare every file byte for byte.

    Returns:
        The first difference, or "" if there is none.
    """
    spec, cells, rows = read_rows(folder)
    for name, expected in board_files(build_board(spec, cells), rows).items():
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
