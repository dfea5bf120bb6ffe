"""Tables of preconditions in a terminal, from the boards of a store or from one board."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from harness.core.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from harness.engine.store import Store


def show_preconditions(console: Console, store: Store, place: str, json: bool = False) -> None:
    """Print what the effects that a board claims need, and what was measured.

    Args:
        place: name or folder of a board; "" prints those of all boards of the store.

    Raises:
        UserError: no board has preconditions.
        UnknownName: there is no such board.
    """
    from harness.cli.contents import as_json
    from leaderboards.board import build_board
    from leaderboards.files import read_board
    from leaderboards.render.json import as_json as board_as_json
    from leaderboards.render.terminal import preconditions

    folders = [_folder(store, place)] if place else _boards(store)
    boards = [build_board(*read_board(folder)) for folder in folders]
    boards = [board for board in boards if board.preconditions]
    if not boards and place:
        raise UserError(
            f"board {place} has no preconditions: its methods declare none, or it was made before "
            "they were measured (run its command again)"
        )
    if not boards:
        raise UserError(
            f"no board in {store.root} has preconditions; crucible reproduce measures those of "
            "the methods that declare them, for example: crucible reproduce wrpo"
        )
    if json:
        typer.echo(
            as_json({board.spec.name: board_as_json(board)["preconditions"] for board in boards})
        )
        return
    for board in boards:
        console.print(f"{board.spec.title} ({board.spec.name})", highlight=False, markup=False)
        console.print(preconditions(board.preconditions, console.width))


def _boards(store: Store) -> list[Path]:
    return sorted(path.parent for path in (store.root / "boards").glob("*/cells.jsonl"))


def _folder(store: Store, place: str) -> Path:
    from harness.cli.boards import find_board

    own = store.root / "boards" / place
    return own if own in _boards(store) else find_board(place)
