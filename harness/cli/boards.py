"""`crucible board | compare`: tables of scores, and paired comparisons of two systems."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli import completion, screen
from harness.cli.board_folders import board_folders
from harness.core.errors import BadData, UserError, unknown
from harness.core.text import plain

if TYPE_CHECKING:
    from rich.console import Console

    from harness.core.records import Cell
    from leaderboards.board import Board

FORMATS = ("terminal", "md", "csv", "json", "tex", "html")


def register(app: typer.Typer) -> None:
    for command in (board, compare):
        app.command(rich_help_panel="Boards")(command)


def board(
    name: Annotated[
        str | None,
        typer.Argument(
            help="Board folder, board in the store, or (with --annotations) suite.",
            autocompletion=completion.boards,
        ),
    ] = None,
    format: Annotated[
        str, typer.Option("--format", help=f"One of {', '.join(FORMATS)}.")
    ] = "terminal",
    check: Annotated[
        bool, typer.Option("--check", help="Rebuild from the stored cells and compare every byte.")
    ] = False,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Rewrite the files of the board from its cells.")
    ] = False,
    compact: Annotated[
        bool,
        typer.Option("--compact", help="Rewrite the board in the short form for version control."),
    ] = False,
    claims: Annotated[
        bool, typer.Option("--claims", help="Claims of all papers and their verdicts, as Markdown.")
    ] = False,
    annotations: Annotated[
        Path | None,
        typer.Option("--annotations", help="Published annotations: a file, or a folder of models."),
    ] = None,
    lc_mode: Annotated[
        str, typer.Option("--lc-mode", help="exact, compat-stable or compat-legacy.")
    ] = "exact",
    reference_data: Annotated[
        Path | None,
        typer.Option("--reference-data", help="Folder with df_gamed.csv and instruction tables."),
    ] = None,
    judge: Annotated[
        str | None, typer.Option("--judge", help="Use only annotations of this judge.")
    ] = None,
    allow_partial: Annotated[
        bool, typer.Option("--allow-partial", help="Score incomplete annotations, marked partial.")
    ] = False,
    out: Annotated[Path | None, typer.Option("--out", help="Also write a board folder.")] = None,
) -> None:
    """Show a board, check that it can be rebuilt byte for byte, or make one from annotations.

    Without a name, lists the available boards. `crucible board alpaca_eval2 --annotations PATH`
    prints the official leaderboard of published annotations, with intervals.
    """
    from leaderboards.board import build_board

    console = screen.results()
    if format not in FORMATS:
        raise unknown("format", format, FORMATS)
    if screen.wants_json():
        format = "json"
    if claims:
        from harness.cli.claims import paper_claims
        from leaderboards.overview import page

        papers = paper_claims()
        screen.data(
            [
                {
                    "method": paper.method,
                    "claims": [c.model_dump(mode="json") for c in paper.claims],
                }
                for paper in papers
            ]
        )
        if not screen.wants_json():
            typer.echo(page(papers), nl=False)
        return
    if annotations is not None:
        if name != "alpaca_eval2":
            raise unknown("suite with published annotations", name or "", ["alpaca_eval2"])
        published = published_cells(annotations, lc_mode, reference_data, judge, allow_partial)
        _published(console, name, published, format, out)
        return
    if name is None:
        _list_boards(console, check)
        return
    folder = find_board(name)
    if check:
        _check(console, folder)
        screen.data({"board": str(folder), "rebuilt": True})
        return
    from leaderboards.block_writer import without_unread_rows
    from leaderboards.files import read_rows, write_board

    spec, cells, rows = read_rows(folder)
    if compact:
        cells = tuple(without_unread_rows(build_board(spec, cells)))
        # Rows beside the cells of earlier versions have no place in the form by metric.
        spec = spec.model_copy(update={"compact": True, "layout": "sheets" if rows else "blocks"})
    if rebuild or compact:
        write_board(folder, spec, cells, rows)
    _print(console, build_board(spec, cells), format)


def published_cells(
    annotations: Path,
    lc_mode: str,
    reference_data: Path | None,
    judge: str | None,
    allow_partial: bool,
) -> list[Cell]:
    """Cells of published annotations; checks the mode before it reads anything."""
    from leaderboards.annotations import published_board

    modes = ("exact", "compat-stable", "compat-legacy")
    mode: Any = next((known for known in modes if known == lc_mode), None)
    if mode is None:
        raise unknown("LC mode", lc_mode, modes)
    return published_board(
        annotations,
        lc_mode=mode,
        reference_data=reference_data,
        judge=judge,
        allow_partial=allow_partial,
    )


def _published(
    console: Console, name: str, cells: list[Cell], format: str, out: Path | None
) -> None:
    from leaderboards.board import build_board
    from leaderboards.files import write_board
    from leaderboards.spec import board_spec

    spec = board_spec(name)
    if out is not None:
        write_board(out, spec, cells)
    _print(console, build_board(spec, cells), format)
    if format == "terminal":
        judges = sorted({cell.judge for cell in cells if cell.judge})
        console.out(f"judge: {plain(', '.join(judges))}", highlight=False)


def _print(console: Console, board: Board, format: str) -> None:
    if format == "terminal":
        from leaderboards.render.terminal import render_board

        console.print(render_board(board))
        return
    from leaderboards.render import render

    typer.echo(render(board, format), nl=False)


def find_board(name: str) -> Path:
    """The folder of a board, from its path or its name.

    Raises:
        UnknownName: naming the most similar board.
    """
    if (Path(name) / "cells.jsonl").is_file():
        return Path(name)
    known = {folder.name: folder for folder in reversed(board_folders())}
    if name not in known:
        raise unknown("board", name, known, "crucible board")
    return known[name]


def _list_boards(console: Console, check: bool) -> None:
    folders = board_folders()
    if not folders:
        raise UserError("no board yet; make one with: crucible reproduce wrpo")
    screen.data([{"name": folder.name, "folder": str(folder)} for folder in folders])
    for folder in folders:
        if check:
            _check(console, folder)
        else:
            console.print(f"{folder.name:<28} {folder}", highlight=False, soft_wrap=True)


def _check(console: Console, folder: Path) -> None:
    from leaderboards.files import check_board

    difference = check_board(folder)
    if difference:
        raise BadData(f"{folder}: {difference} (crucible board {folder.name} --rebuild)")
    console.print(f"{folder}: rebuilt byte for byte", highlight=False, soft_wrap=True)


def compare(
    first: Annotated[str, typer.Argument(help="A system.")],
    second: Annotated[str, typer.Argument(help="System to compare it with.")],
    board: Annotated[
        str,
        typer.Option("--board", help="Board with both systems.", autocompletion=completion.boards),
    ] = "wrpo-nano",
) -> None:
    """Compare two systems of a board: paired difference and interval for each metric."""
    from leaderboards.compare import compare_systems
    from leaderboards.files import read_board
    from leaderboards.render.terminal import render_comparison

    _, cells = read_board(find_board(board))
    comparison = compare_systems(cells, first, second)
    screen.data({**comparison.model_dump(mode="json"), "summary": comparison.summary})
    screen.results().print(render_comparison(comparison))
