"""Writing a published board: a new folder appears as a whole, an old one is replaced as a whole.

    index.html  README.md  site.json  samples/*.html  and the files of the board's folder

The folder is a board's folder, too: `crucible board FOLDER --check` rebuilds it. `site.json` lists
the files with their digests; a folder without it, or of another board, is not replaced unasked, and
files that it does not list (`.git`, `CNAME`) are kept.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from harness.core.errors import CrucibleError, UserError
from harness.core.hashing import file_digest
from harness.core.records import Cell
from harness.engine.io import atomic_folder, disk_errors, read_json, remove
from harness.engine.store import Store
from leaderboards.board import Board, build_board
from leaderboards.compact import CellKey, Rows
from leaderboards.files import board_files
from leaderboards.render.html import render as render_board
from leaderboards.render.samples import Around
from leaderboards.render.samples import pages as pages_of_samples
from leaderboards.samples.withholding import cells_without_texts
from leaderboards.site.extras import extras_of
from leaderboards.site.pages import (
    FOLDER,
    Addresses,
    Page,
    row_anchor,
    sample_pages,
)
from leaderboards.site.readme import FILES, readme
from leaderboards.spec import BoardSpec

MANIFEST = "site.json"
FORMAT = 1
WRITTEN = ("index.html", "README.md", MANIFEST, f"{FOLDER}/*.html", *FILES)  # nothing else is


@dataclass(frozen=True)
class Site:
    """What was written.

    Attributes:
        pages: number of pages of samples.
        linked, scores: cells with samples, and all cells.
        bytes: size of the folder's listed files.
        reasons: why cells have no samples -> number of cells.
    """

    folder: Path
    pages: int
    linked: int
    scores: int
    bytes: int
    reasons: dict[str, int]


def write_site(
    out: Path,
    spec: BoardSpec,
    cells: Iterable[Cell],
    *,
    store: Store | None,
    rows: Mapping[CellKey, Rows] | None = None,
    without_texts: bool = False,
    overwrite: bool = False,
) -> Site:
    """Write a board, its samples and their front page as one folder.

    Args:
        store: with the judgments and answers behind the cells; cells without them get no page.
        rows: as in `leaderboards.compact.sheets`.
        without_texts: leave out texts of prompts, answers and judges.
        overwrite: replace a site of another board, and put the files into a foreign folder.

    Raises:
        UserError: `out` is a foreign folder or file, or another process is writing it; or the cells
            cannot be ranked together.
        StoreProblem: the disk is full or read-only.
    """
    out = out.absolute().resolve()
    kept = cells_without_texts(cells) if without_texts else list(cells)
    board = build_board(spec, kept)
    _recover(out)
    foreign = _foreign(out, spec.name, overwrite)
    fresh_name = _beside(out, "new")
    remove(fresh_name)
    with disk_errors(out, kept="the folder is as it was"), atomic_folder(fresh_name) as fresh:
        found = _write(fresh, board, rows or {}, store, without_texts)
        for name in foreign:
            _copy(out / name, fresh / name)
    _swap(fresh_name, out)
    return replace(found, folder=out)


def _write(
    folder: Path,
    board: Board,
    rows: Mapping[CellKey, Rows],
    store: Store | None,
    withheld: bool,
) -> Site:
    addresses, count = Addresses(), 0
    (folder / FOLDER).mkdir()
    for page in sample_pages(store, board.cells, addresses):
        around = _around(page, addresses, withheld)
        for name, text in pages_of_samples(page.samples, page.name, around):
            _put(folder / FOLDER / name, text)
            count += 1
    for name, data in board_files(board, rows).items():
        (folder / name).write_bytes(data)
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    listed = [(name, said) for name, said in FILES.items() if name in names]
    _put(folder / "index.html", render_board(board, extras_of(board, addresses, listed)))
    _put(folder / "README.md", readme(board, pages=count, withheld=withheld, files=names))
    size = _list(folder, board.spec.name, withheld)
    linked = addresses.linked
    return Site(folder, count, linked, len(board.cells), size, addresses.reasons)


def _around(page: Page, addresses: Addresses, withheld: bool) -> Around:
    first = page.cells[0]
    own = addresses.of(first)
    seeds = tuple(
        (seed, "" if address == own else address.removeprefix(f"{FOLDER}/"))
        for seed, address in addresses.seeds_of(first)
    )
    back = f"../index.html#{row_anchor(first.system)}"
    return Around(back, seeds, tuple(page.cells), withheld)


def _put(path: Path, text: str) -> None:
    path.write_bytes(text.encode("utf-8", errors="backslashreplace"))


def _list(folder: Path, name: str, withheld: bool) -> int:
    """Write the list of the folder's files; their size in bytes."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    files = {path.relative_to(folder).as_posix(): file_digest(path) for path in paths}
    found = {"format": FORMAT, "board": name, "without_texts": withheld, "files": files}
    _put(folder / MANIFEST, json.dumps(found, indent=1, sort_keys=True) + "\n")
    return sum(path.stat().st_size for path in paths)


def _foreign(out: Path, name: str, overwrite: bool) -> list[str]:
    """Entries of an existing `out` that are to be kept, relative to it.

    Raises:
        UserError: `out` is not a site of this board, and `overwrite` is not given.
    """
    if not out.exists():
        return []
    if not out.is_dir():
        raise UserError(f"{out} is a file; expected a folder for the site")
    present = [path for path in out.rglob("*") if path.is_file() or path.is_symlink()]
    if not present:
        return []
    board, listed = _listed(out)
    if board != name and not overwrite:
        what = "is not a site of Crucible" if board is None else f'is the site of board "{board}"'
        raise UserError(
            f"{out} {what}, and is not overwritten; choose another folder, or add --overwrite"
        )
    names = (path.relative_to(out).as_posix() for path in present)
    return [entry for entry in names if entry not in listed and entry != MANIFEST]


def _listed(out: Path) -> tuple[str | None, set[str]]:
    """Board and files of an existing site; (None, nothing) if it is none."""
    try:
        found = read_json(out / MANIFEST)
        return str(found["board"]), set(found["files"])
    except (CrucibleError, OSError, KeyError, TypeError):
        return None, set()


def _copy(source: Path, target: Path) -> None:
    """Keep a file that is not the site's; the site's own files go first."""
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target, follow_symlinks=False)


def _beside(out: Path, what: str) -> Path:
    return out.with_name(f".{out.name}.{what}")


def _swap(fresh: Path, out: Path) -> None:
    """Put a complete folder in the place of `out`; what is killed in between is completed later."""
    with disk_errors(out, kept="the folder is as it was"):
        old = _beside(out, "old")
        remove(old)
        if out.exists():
            out.rename(old)
        try:
            fresh.rename(out)
        except OSError:
            _recover(out)
            raise
        remove(old)


def _recover(out: Path) -> None:
    """Bring back a folder that a killed process had moved away and not yet replaced."""
    old = _beside(out, "old")
    if old.is_dir() and not out.exists():
        old.rename(out)
