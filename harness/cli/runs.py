"""`crucible reproduce | plan | rehearse | train | eval`: options and output."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.call_options import with_call_options
from harness.engine.calls import CallSettings

if TYPE_CHECKING:
    from rich.console import Console

    from harness.engine.store import Store
    from harness.planned import PlannedRun
    from harness.reproduce import Reproduction

MethodName = Annotated[
    str, typer.Argument(help="A method of `crucible methods`, e.g. wrpo, or a recipe file (.toml).")
]
Scale = Annotated[
    str, typer.Option("--scale", help="Profile of the recipe: nano (CPU), small (one GPU), paper.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a recipe key: train.beta=0.1"),
]
Seeds = Annotated[int, typer.Option("--seeds", min=1, help="Number of seeds.")]
Seed = Annotated[
    int | None, typer.Option("--seed", help="First seed (default: that of the recipe).")
]
Limit = Annotated[
    int | None,
    typer.Option(
        "--limit", min=2, help="Largest number of training prompts and of prompts per suite."
    ),
]
Suites = Annotated[
    str,
    typer.Option(
        "--suite", help="Only these suites, separated by commas; the recipe need not list them."
    ),
]
Fresh = Annotated[
    list[str] | None,
    typer.Option(
        "--fresh",
        metavar="STAGE",
        help="Compute these stages again, and all that use them: a name of crucible plan, the "
        "beginning of an id, or all.",
    ),
]
Home = Annotated[
    Path | None, typer.Option("--store", help="Store folder (default: $CRUCIBLE_HOME or .crucible)")
]


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Run")(reproduce)
    app.command(rich_help_panel="Run")(plan)
    app.command(rich_help_panel="Run")(rehearse)
    app.command(rich_help_panel="Run")(train)
    app.command("eval", rich_help_panel="Run")(evaluate)


@with_call_options
def reproduce(
    method: MethodName,
    scale: Scale = "nano",
    seeds: Seeds = 1,
    seed: Seed = None,
    overrides: Overrides = None,
    limit: Limit = None,
    suite: Suites = "",
    out: Annotated[
        Path | None, typer.Option("--out", help="Board folder (default: in the store).")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 4 if a claim is contradicted.")
    ] = False,
    fresh: Fresh = None,
    store: Home = None,
    *,
    calls: CallSettings,
) -> None:
    """Reproduce a method: train it and its baselines, evaluate all, test the paper's claims.

    Finished work is stored: the same command resumes after an interruption, and takes seconds if
    nothing is left to do.
    """
    from harness.reproduce import reproduce as plan_reproduction

    made = plan_reproduction(
        method,
        scale,
        overrides=overrides or (),
        seeds=seeds,
        seed=seed,
        limit=limit,
        suites=_names(suite),
    )
    _carry_out(made, out, strict, store, calls, fresh or ())


def rehearse(
    method: MethodName,
    scale: Scale = "paper",
    overrides: Overrides = None,
    suite: Suites = "",
    store: Home = None,
) -> None:
    """Run the plan of a recipe on nano models, nano data and a few rows.

    Shows in about a minute whether a recipe that needs a cluster runs from end to end.
    """
    from harness.reproduce import reproduce as plan_reproduction

    made = plan_reproduction(
        method, scale, overrides=overrides or (), rehearse=True, suites=_names(suite)
    )
    _carry_out(made, None, False, store, CallSettings())


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _carry_out(
    made: Reproduction,
    out: Path | None,
    strict: bool,
    home: Path | None,
    calls: CallSettings,
    fresh: Sequence[str] = (),
) -> None:
    """Run a reproduction, write its board and print it."""
    from rich.console import Console

    from harness.cli.evaluation import show_account
    from harness.cli.progress import ProgressReporter
    from harness.engine.store import Store
    from leaderboards.claims import require
    from leaderboards.render.terminal import render_board

    console, store = Console(), Store(home)
    _announce(console, made)
    say_changes(console, made, store, fresh)
    try:
        with ProgressReporter(console) as reporter:
            summary = made.run(store, reporter, calls)
    finally:
        show_account(console, made.account)
    console.print(
        f"{len(summary.executed)} stages executed, {summary.reused} reused, "
        f"{summary.seconds:.1f} s\n",
        highlight=False,
    )
    folder, board = made.write_board(out, command_line()), made.board
    console.print(render_board(board))
    console.print(f"board: {folder / 'board.html'}", highlight=False, soft_wrap=True)
    if strict:
        require(board.claims)


def say_changes(
    console: Console, made: PlannedRun, store: Store, fresh: Sequence[str] = ()
) -> None:
    """Print which plugins changed; discard the stages that are to be fresh."""
    for text in made.changes(store):
        console.print(text, highlight=False, markup=False)
    for which in fresh:
        count = made.forget(store, which)
        console.print(f"{which}: {count} stages run again", highlight=False, markup=False)


def command_line() -> str:
    """The command line to repeat this run, including overrides."""
    from harness.engine.plugins import VARIABLE

    override = os.environ.get(VARIABLE, "")
    before = f"{VARIABLE}={shlex.quote(override)} " if override else ""
    return before + shlex.join(["crucible", *sys.argv[1:]])


def _announce(console: Console, made: Reproduction) -> None:
    from harness.engine.plugins import overrides

    recipe = made.recipe
    seeds = ", ".join(map(str, made.seeds))
    console.print(
        f"[bold]{recipe.title or recipe.method}[/bold]  ({made.scale}, "
        f"seed{'s' * (len(made.seeds) > 1)} {seeds}, recipe {recipe.id()[:10]})",
        highlight=False,
    )
    for (group, name), source in overrides().items():
        console.print(f"override: {group}:{name} comes from {source}", highlight=False)


def plan(
    method: MethodName,
    scale: Scale = "nano",
    seeds: Seeds = 1,
    overrides: Overrides = None,
    limit: Limit = None,
    suite: Suites = "",
    store: Home = None,
) -> None:
    """Show the plan of a reproduction: recipe, stages, what is cached, and estimated costs.

    Nothing runs and nothing is downloaded.
    """
    from rich.console import Console

    from harness.cli.plan_view import show_plan
    from harness.engine.store import Store, default_root
    from harness.reproduce import reproduce as plan_reproduction

    made = plan_reproduction(
        method, scale, overrides=overrides or (), seeds=seeds, limit=limit, suites=_names(suite)
    )
    root = store or default_root()
    finished = Store(root) if (root / "store.json").exists() else None
    console = Console()
    show_plan(console, made, finished)
    for text in made.changes(finished):
        console.print(text, highlight=False, markup=False)


def train(
    method: MethodName,
    out: Annotated[Path, typer.Option("--out", help="Folder for the trained checkpoint.")],
    scale: Scale = "nano",
    seed: Seed = None,
    overrides: Overrides = None,
    limit: Limit = None,
    fresh: Fresh = None,
    store: Home = None,
) -> None:
    """Train one method and copy its checkpoint to a folder, without evaluation."""
    from rich.console import Console

    from harness.cli.progress import ProgressReporter
    from harness.engine.store import Store
    from harness.reproduce import reproduce as plan_reproduction

    console = Console()
    made = plan_reproduction(method, scale, overrides=overrides or (), seed=seed, limit=limit)
    home = Store(store)
    say_changes(console, made, home, fresh or ())
    with ProgressReporter(console) as reporter:
        id = made.export_checkpoint(made.method, out, home, reporter)
    console.print(f"checkpoint: {out}  (artifact {id[:10]})", highlight=False)


@with_call_options
def evaluate(
    model: Annotated[
        str,
        typer.Argument(
            help="nano:<name>, a checkpoint folder, a hub id, vllm:<model>, "
            "openai:<model> or openai:<model>@<url>, or a file of stored outputs."
        ),
    ],
    suite: Annotated[
        str, typer.Option("--suite", help="Suites of `crucible suites`, separated by commas.")
    ] = "alpaca_eval2,arena_hard,mt_bench",
    judge: Annotated[
        str,
        typer.Option(
            "--judge",
            help="nano:oracle, or openai:<model>@<url>?key=<VARIABLE> (default: the judge of the "
            "suite; nano:oracle on nano data).",
        ),
    ] = "",
    data: Annotated[
        str,
        typer.Option(
            "--data",
            help="Question set: official, nano, or auto (official unless the judge is nano).",
        ),
    ] = "auto",
    name: Annotated[str, typer.Option("--name", help="Name of the model in tables.")] = "",
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="SUITE.KEY=VALUE", help="Setting of a suite: mt_bench.rounds=200"
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed for sampling from the model.")] = 42,
    limit: Limit = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Also write a board folder with these cells.")
    ] = None,
    plan_only: Annotated[
        bool, typer.Option("--plan", help="Show stages and costs; run nothing, call no model.")
    ] = False,
    retry_failed: Annotated[
        bool,
        typer.Option("--retry-failed", help="Request failed judgments and answers again."),
    ] = False,
    fresh: Fresh = None,
    store: Home = None,
    *,
    calls: CallSettings,
) -> None:
    """Evaluate any model on benchmark suites, with any judge; each score with its interval.

    Offline, in a minute:  crucible eval nano:target

    The official set:  crucible eval org/model --suite alpaca_eval2 --judge
    openai:gpt-4-1106-preview

    Stored answers, your own judge:  crucible eval outputs.json --suite mt_bench --judge
    openai:my-judge@http://127.0.0.1:8000/v1

    Every response is stored when it arrives: the same command resumes, and costs nothing if nothing
    is missing. A key is read from OPENAI_API_KEY, or from the variable named by ?key=.
    """
    from rich.console import Console

    from harness.cli.evaluation import run_evaluation
    from harness.engine.store import Store
    from harness.evaluate import evaluate as plan_evaluation

    made = plan_evaluation(
        model,
        _names(suite),
        judge=judge,
        edition=data,
        name=name,
        overrides=overrides or (),
        seed=seed,
        limit=limit,
    )
    console, home = Console(), Store(store)
    say_changes(console, made, home, () if plan_only else fresh or ())
    run_evaluation(
        console,
        made,
        home,
        calls,
        out=out,
        plan_only=plan_only,
        retry_failed=retry_failed,
        command=command_line(),
    )
