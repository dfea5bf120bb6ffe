"""`crucible plot`: boards as figures for papers and pages."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import completion, screen

if TYPE_CHECKING:
    from leaderboards.board import Board


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Boards")(plot)


def plot(
    boards: Annotated[
        list[str],
        typer.Argument(
            metavar="BOARD...",
            help="Board folder or board of the store; a sweep may take several.",
            autocompletion=completion.boards,
        ),
    ],
    kind: Annotated[
        str, typer.Option("--kind", help="forest, length, judges or sweep.")
    ] = "forest",
    out: Annotated[
        Path | None,
        typer.Option("--out", help="File; .svg, .pdf or .png (default: BOARD-KIND.svg)."),
    ] = None,
    metric: Annotated[
        str, typer.Option("--metric", help="Show this metric alone: METRIC or SUITE/METRIC.")
    ] = "",
    over: Annotated[
        str,
        typer.Option("--over", metavar="KEY", help="Sweep: the setting on the horizontal axis."),
    ] = "",
) -> None:
    """Plot a board: intervals of all systems, score against length, judges, or a sweep.

    crucible plot wrpo-nano                                       every system with its interval

    crucible plot wrpo-nano --kind length --out length.pdf        score against answers' length

    A judges plot shows a board of crucible judge-agreement --out. A sweep takes its values from the
    recipe's systems, or from the --set options of several boards: crucible reproduce dpo --set
    train.settings.beta=0.1 --out low, then the same with 0.5 and --out high, then crucible plot low
    high --kind sweep.
    """
    screen.begin(f"plotting {', '.join(boards)} ({kind})")
    from harness.cli.boards import find_board
    from leaderboards.board import build_board
    from leaderboards.files import read_board
    from leaderboards.plots.charts import chart
    from leaderboards.plots.drawing import draw

    folders = [find_board(name) for name in boards]
    made = []
    for number, folder in enumerate(folders):
        spec, cells = read_board(folder)
        name = spec.name if len(folders) == 1 else f"{spec.name}-{number}"
        made.append(build_board(spec.model_copy(update={"name": name}), cells))
    settings = _settings(made) if kind == "sweep" else {}
    drawn = chart(kind, made, metric, over, settings)
    path = out or Path(f"{folders[0].name}-{kind}.svg")
    draw(drawn, path)
    screen.end_line()
    screen.results().print(f"plot: {path}", highlight=False, markup=False, soft_wrap=True)
    screen.data({"plot": str(path), **drawn.model_dump(mode="json")})


def _settings(boards: list[Board]) -> dict[str, dict[str, float]]:
    """ "BOARD/SYSTEM" -> its settings that are numbers: of its recipe, and of the command."""
    found = {}
    for board in boards:
        given = _numbers(_given(board.spec.provenance.command))
        systems = _systems_of(board.spec.provenance.recipe)
        for row in board.rows:
            own = _numbers(systems.get(row.system.name, {}))
            found[f"{board.spec.name}/{row.system.name}"] = {**given, **own}
    return found


def _given(command: str) -> dict[str, object]:
    """The `--set KEY=VALUE` options of a command line."""
    from harness.engine.overrides import overridden

    words = shlex.split(command)
    pairs = [words[n + 1] for n, word in enumerate(words[:-1]) if word == "--set"]
    pairs += [word.removeprefix("--set=") for word in words if word.startswith("--set=")]
    return {key: value for key, value, _ in overridden(pairs)}


def _systems_of(recipe: str) -> dict[str, dict[str, object]]:
    """System -> what it sets, from a recipe called METHOD/PROFILE; {} if there is none here."""
    from harness.core.errors import CrucibleError
    from harness.engine.recipe import load_recipe
    from harness.reproduce import recipe_of

    method, _, profile = recipe.partition("/")
    try:
        found, path = recipe_of(method)
        loaded = load_recipe(found.recipe, path, profile)
    except CrucibleError:
        return {}
    return {system.name: dict(system.set) for system in loaded.systems}


def _numbers(values: dict[str, object]) -> dict[str, float]:
    return {
        key: float(value)
        for key, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
