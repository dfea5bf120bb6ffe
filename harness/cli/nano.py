"""`crucible nano ...`: the embedded offline universe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="The embedded nano universe: tiny models and their world.")


@app.callback()
def _group() -> None:
    """The embedded nano universe: tiny models and their world."""


@app.command()
def build(
    names: Annotated[
        list[str] | None, typer.Argument(help="Models to rebuild (default: all).")
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", help="Folder to write them to (default: nano-weights).")
    ] = Path("nano-weights"),
) -> None:
    """Train the nano models again from their seeds, and compare them with the shipped ones.

    A rebuild on the same kind of processor and torch version gives the same bytes; elsewhere
    the weights differ in the last digits, and the accuracy bands of the manifest apply.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from harness.errors import UserError
    from harness.hashing import folder_digest
    from harness.nano import zoo

    wanted = names or zoo.names()
    for name in wanted:
        zoo.path(name)
    if out.exists() and any(out.iterdir()):
        raise UserError(f"{out} is not empty; choose a new folder with --out")
    console = Console()
    columns = (
        TextColumn("{task.description:<12}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} steps"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bars:
        tasks = {name: bars.add_task(name, total=None) for name in wanted}

        def report(name: str, done: int, total: int) -> None:
            bars.update(tasks[name], completed=done, total=total)

        zoo.build(wanted, out, report)
    for name in wanted:
        same = folder_digest(out / name) == zoo.digest(name)
        console.print(f"nano:{name}: {'same bytes as' if same else 'differs from'} the shipped one")
    console.print(f"written to {out}", highlight=False)
