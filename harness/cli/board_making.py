"""`crucible board add | make`: boards that grow, and boards made from others."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from glob import glob, has_magic
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import completion, screen
from harness.cli.board_folders import board_folders
from harness.cli.boards import find_board
from harness.cli.call_options import with_call_options
from harness.cli.evaluating import judges_in, planned
from harness.cli.run_options import ByJudge, Home, Limit
from harness.cli.runs import command_line, names_in
from harness.core.errors import UserError
from harness.engine.calls import CallSettings

if TYPE_CHECKING:
    from leaderboards.joining import Source

STORE = "store"


def register(app: typer.Typer) -> None:
    app.command("board add", rich_help_panel="Boards")(add)
    app.command("board make", rich_help_panel="Boards")(make)


@with_call_options
def add(
    board: Annotated[
        str,
        typer.Argument(
            help="Board to add to: a folder or a name; a new name makes one in the store.",
            autocompletion=completion.boards,
        ),
    ],
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...", help="Files of stored outputs, or models as in crucible eval."
        ),
    ],
    suite: Annotated[
        str,
        typer.Option(
            "--suite",
            help="Suites, separated by commas (default: those of the board).",
            autocompletion=completion.suites,
        ),
    ] = "",
    judge: Annotated[
        str, typer.Option("--judge", help="Judges, as in crucible eval (default: the board's).")
    ] = "",
    data: Annotated[
        str, typer.Option("--data", help="Question set: official, nano (default: the board's).")
    ] = "",
    limit: Limit = None,
    name: Annotated[str, typer.Option("--name", help="Name of the model, if it is one.")] = "",
    by_judge: ByJudge = False,
    plan_only: Annotated[
        bool, typer.Option("--plan", "--dry-run", help="Show stages and costs; run nothing.")
    ] = False,
    store: Home = None,
    *,
    calls: CallSettings,
) -> None:
    """Evaluate models and add them to a board, on its suites, with its judges and prompts.

    A system that the board has already gets its new scores, and the others stay as they are.

    One more:  crucible board add week48 outputs.json

    A new board:  crucible board add week49 nano:target --suite alpaca_eval2 --judge nano:oracle
    """
    screen.begin(f"planning {len(models)} model{'s' * (len(models) > 1)} for {board}")
    from harness.cli.evaluation import run_evaluation
    from harness.engine.store import Store
    from harness.evaluate import Entrant, Options

    if name and len(models) > 1:
        raise UserError("--name is for one model; add several one by one")
    folder = growing(board, store)
    known = _settings_of(folder)
    suites = names_in(suite) or known.suites
    if not suites:
        raise UserError(
            f"there is no board {board} yet; give the suites of a new one with --suite, for "
            "example --suite alpaca_eval2"
        )
    options = Options(edition=data or known.data, limit=limit or known.limit)
    judges = judges_in(judge) or [j for j in known.judges if known.judged & set(suites)]
    made = planned([Entrant(ref, name) for ref in models], suites, judges, options)
    screen.say(f"{len(made.plan.stages)} stages")
    run_evaluation(
        made,
        Store(store),
        calls,
        out=folder,
        plan_only=plan_only,
        by_judge=by_judge,
        command=command_line(),
    )


def growing(board: str, store: Path | None = None) -> Path:
    """The folder of a board that may be written; of a new name, in the store.

    Args:
        store: folder of the store; None for the default.

    Raises:
        UserError: it is a board that is published with the product.
    """
    from harness.engine.store import default_root
    from leaderboards.growth import board_name

    if (Path(board) / "cells.jsonl").is_file() or "/" in board:
        return Path(board)
    own = (store or default_root()) / "boards"
    if board in {f.name for f in board_folders()} and not (own / board / "cells.jsonl").is_file():
        raise UserError(
            f"{board} is published with Crucible and is not changed; make a board of your own: "
            f"crucible board make NAME --from {board}"
        )
    if board_name(board) != board:
        raise UserError(
            f'"{board}" cannot name a board; expected letters, digits and ._+=,- as in '
            f'"{board_name(board)}"'
        )
    return own / board


@dataclass
class _Settings:
    """Suites, judges and question sets of a board, for the models that are added to it.

    Attributes:
        judged: suites with a judge.
    """

    suites: list[str] = field(default_factory=list)
    judges: list[str] = field(default_factory=list)
    judged: set[str] = field(default_factory=set)
    data: str = "auto"
    limit: int | None = None


def _settings_of(folder: Path) -> _Settings:
    from harness.engine import registry
    from harness.suites.editions import NANO, OFFICIAL
    from leaderboards.by_judge import base
    from leaderboards.files import read_board

    found = _Settings()
    if not (folder / "cells.jsonl").is_file():
        return found
    cells = read_board(folder)[1]
    known = registry.entries("suites")
    cells = tuple(cell for cell in cells if base(cell.suite) in known)
    found.suites = list(dict.fromkeys(base(cell.suite) for cell in cells))
    found.judges = list(dict.fromkeys(cell.judge for cell in cells if cell.judge))
    found.judged = {base(cell.suite) for cell in cells if cell.judge}
    scales = {cell.scale for cell in cells}
    if cells:
        found.data = NANO if scales == {NANO} else OFFICIAL
    marks = {str(cell.details.get("limit", "")) for cell in cells}
    numbers = {re.sub(r"^first ([\d,]+) .*$", r"\1", mark).replace(",", "") for mark in marks}
    if len(numbers) == 1 and (number := numbers.pop()).isdigit():
        found.limit = int(number)
    return found


def make(
    name: Annotated[str, typer.Argument(help="Name of the new board, or a folder for it.")],
    sources: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="BOARDS",
            help="Boards by name or folder, patterns of both, and store for all scores of the "
            "store; separated by commas.",
        ),
    ],
    systems: Annotated[
        str, typer.Option("--systems", help="Only these: names or patterns, separated by commas.")
    ] = "",
    suite: Annotated[
        str, typer.Option("--suite", help="Only these suites, separated by commas.")
    ] = "",
    judge: Annotated[
        str, typer.Option("--judge", help="Only scores of these judges: references or parts.")
    ] = "",
    title: Annotated[str, typer.Option("--title", help="Title of the board.")] = "",
    by_judge: ByJudge = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace a board that has this name.")
    ] = False,
) -> None:
    """Make a board of scores that boards and the store have; nothing is run.

    Some systems:  crucible board make ours --from 'week4*' --systems 'team-*'

    All scores of the store on one suite:  crucible board make all --from store --suite arena_hard

    Judges beside each other:  crucible board make both --from week47,week48 --by-judge
    """
    from leaderboards.files import change_board
    from leaderboards.growth import board_name
    from leaderboards.joining import Wanted, join_boards
    from leaderboards.render.terminal import render_board

    screen.begin(f"reading {sources}")
    folder = growing(name)
    if (folder / "cells.jsonl").is_file() and not replace:
        raise UserError(
            f"there is a board {folder}; add --replace to replace it, or choose another name"
        )
    found = sources_of(sources)
    screen.say(f"{sum(len(source.cells) for source in found):,} scores")
    wanted = Wanted(names_in(systems), names_in(suite), judges_in(judge))
    spec, cells = join_boards(
        board_name(folder.name),
        found,
        wanted,
        judges=by_judge,
        title=title,
        command=command_line(),
    )
    board = change_board(folder, lambda old, there: (spec, cells))
    console = screen.results()
    console.print(render_board(board))
    said = f"{folder.name}: {len(board.rows)} systems from {', '.join(s.name for s in found)}"
    console.print(said, highlight=False, soft_wrap=True, markup=False)
    console.print(f"board: {folder / 'board.html'}", highlight=False, soft_wrap=True)
    screen.data({"board": str(folder), "systems": [row.system.name for row in board.rows]})


def sources_of(text: str) -> list[Source]:
    """The boards that names, folders and patterns mean, and the store.

    Raises:
        UserError: a pattern fits nothing.
        UnknownName: no board has a name.
    """
    from harness.engine.store import Store
    from leaderboards.files import read_board
    from leaderboards.joining import Source, cells_of

    found: dict[Path, Source] = {}
    stores: list[Source] = []
    for part in names_in(text):
        if part == STORE:
            stores.append(cells_of(Store(None)))
            continue
        folders = _fitting(part) if has_magic(part) else [find_board(part)]
        if not folders:
            names = sorted({folder.name for folder in board_folders()})
            raise UserError(
                f'no board fits "{part}"; there are {", ".join(names[:8]) or "none"} (crucible '
                "board lists them)"
            )
        for folder in folders:
            spec, cells = read_board(folder)
            found.setdefault(folder.resolve(), Source(folder.name, cells, spec))
    if not found and not stores:
        raise UserError("--from is empty; expected boards, or store")
    return [*found.values(), *stores]


def _fitting(pattern: str) -> list[Path]:
    """Folders of boards that a pattern fits, as paths or else as names."""
    paths = [Path(p) for p in sorted(glob(pattern)) if (Path(p) / "cells.jsonl").is_file()]
    return paths or [folder for folder in board_folders() if fnmatchcase(folder.name, pattern)]
