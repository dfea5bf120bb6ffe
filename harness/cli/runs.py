"""`crucible reproduce | plan | rehearse | train | eval`: options and output."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli import completion, screen
from harness.cli.call_options import with_call_options
from harness.cli.run_options import (
    DryRun,
    Fit,
    Fresh,
    Home,
    Limit,
    MethodName,
    Overrides,
    Push,
    Scale,
    Seed,
    Seeds,
    Suites,
    Tracker,
)
from harness.engine.calls import CallSettings

if TYPE_CHECKING:
    from rich.console import Console

    from harness.engine.store import Store
    from harness.planned import PlannedRun
    from harness.reproduce import Reproduction
    from harness.training.fitting.hardware import Hardware


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
    dry_run: DryRun = False,
    tracker: Tracker = "",
    store: Home = None,
    *,
    calls: CallSettings,
) -> None:
    """Reproduce a method: train it and its baselines, evaluate all, test the paper's claims.

    Finished work is stored: the same command resumes after an interruption, and takes seconds if
    nothing is left to do.
    """
    made = _planned(
        method, scale, overrides, seeds=seeds, seed=seed, limit=limit, suites=_names(suite)
    )
    if dry_run:
        _show_plan(made, store)
        return
    _carry_out(made, out, strict, store, calls, fresh or (), tracker)


def _planned(
    method: str, scale: str, overrides: Sequence[str] | None, **options: Any
) -> Reproduction:
    """The plan of a reproduction; says at once what is planned, before the slow imports."""
    screen.begin(f"planning {method} ({'rehearsal of ' if options.get('rehearse') else ''}{scale})")
    from harness.reproduce import reproduce as plan_reproduction

    return plan_reproduction(method, scale, overrides=overrides or (), **options)


def rehearse(
    method: MethodName,
    scale: Scale = "paper",
    overrides: Overrides = None,
    suite: Suites = "",
    dry_run: DryRun = False,
    store: Home = None,
) -> None:
    """Run the plan of a recipe on nano models, nano data and a few rows.

    Shows in about a minute whether a recipe that needs a cluster runs from end to end.
    """
    made = _planned(method, scale, overrides, rehearse=True, suites=_names(suite))
    if dry_run:
        _show_plan(made, store)
        return
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
    tracker: str = "",
) -> None:
    """Run a reproduction, write its board and print it."""
    from harness.cli.evaluation import show_account
    from harness.cli.progress import ProgressReporter
    from harness.cli.scores import score_records
    from harness.cli.tracking import Tracked, open_sink
    from harness.engine.store import Store
    from leaderboards.claims import require
    from leaderboards.render.terminal import render_board

    store = Store(home)
    sink = open_sink(tracker, store) if tracker else None
    screen.say(f"{len(made.plan.stages)} stages")
    console, status = screen.results(), screen.status()
    _announce(status, made)
    say_changes(status, made, store, fresh)
    say_todo(made, store)
    try:
        with ProgressReporter(status) as reporter:
            tracked = Tracked(reporter, sink, store)
            summary = made.run(store, tracked, calls)
    finally:
        show_account(console, made.account)
    console.print(
        f"{len(summary.executed)} stages executed, {summary.reused} reused, "
        f"{summary.seconds:.1f} s\n",
        highlight=False,
    )
    folder, board = made.write_board(out, command_line()), made.board
    about = {"recipe": made.recipe.id(), "scale": made.scale, "command": command_line()}
    tracked.scores(board.spec.title, made.cells, about)
    console.print(render_board(board))
    console.print(f"board: {folder / 'board.html'}", highlight=False, soft_wrap=True)
    screen.data(
        {
            "board": str(folder),
            "executed": len(summary.executed),
            "reused": summary.reused,
            "seconds": round(summary.seconds, 3),
            "scores": score_records(made.cells),
            "claims": [result.model_dump(mode="json") for result in board.claims],
        }
    )
    if strict:
        require(board.claims)


def say_todo(made: PlannedRun, store: Store) -> None:
    """Print how many stages will run."""
    screen.say(f"{len(made.todo(store))} of {len(made.plan.stages)} stages to run")


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
    fit: Fit = None,
    store: Home = None,
) -> None:
    """Show the plan of a reproduction: recipe, stages, what is cached, and estimated costs.

    Nothing runs and nothing is downloaded.
    """
    from harness.training.fitting.hardware import parse_hardware

    hardware = None if fit is None else parse_hardware(fit)
    made = _planned(method, scale, overrides, seeds=seeds, limit=limit, suites=_names(suite))
    _show_plan(made, store, hardware)


def _show_plan(made: Reproduction, home: Path | None, hardware: Hardware | None = None) -> None:
    from harness.cli.fit_view import show_fit
    from harness.cli.plan_view import plan_record, show_plan
    from harness.engine.store import Store, default_root
    from harness.training.fitting.proposals import fit_plan, weights_gib

    root = home or default_root()
    finished = Store(root) if (root / "store.json").exists() else None
    console = screen.results()
    screen.say(f"{len(made.plan.stages)} stages")
    show_plan(console, made, finished)
    record = plan_record(made, finished)
    if hardware is not None:
        proposals = fit_plan(made.plan, hardware)
        show_fit(console, proposals, hardware, weights_gib(made.plan))
        record["fit"] = {"hardware": str(hardware), "stages": [one.record() for one in proposals]}
    screen.data(record)
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
    dry_run: DryRun = False,
    tracker: Tracker = "",
    push: Push = "",
    store: Home = None,
) -> None:
    """Train one method and copy its checkpoint to a folder, without evaluation.

    The folder gets a model card (README.md) with recipe, data, the scores that the store has, and
    provenance.
    """
    made = _planned(method, scale, overrides, seed=seed, limit=limit)
    if dry_run:
        _show_plan(made, store)
        return
    from harness.api import hub
    from harness.api.cards import write_model_card
    from harness.cli.progress import ProgressReporter
    from harness.cli.tracking import Tracked, open_sink
    from harness.engine.store import Store

    if push:
        hub.check_push(push)
    home = Store(store)
    sink = open_sink(tracker, home) if tracker else None
    screen.say(f"{len(made.plan.stages)} stages")
    status = screen.status()
    say_changes(status, made, home, fresh or ())
    with ProgressReporter(status) as reporter:
        tracked = Tracked(reporter, sink, home)
        id = made.export_checkpoint(made.method, out, home, tracked)
    screen.results().print(f"checkpoint: {out}  (artifact {id[:10]})", highlight=False)
    write_model_card(out, made, id, home, command_line())
    address = hub.push(out, push, "model", f"{made.method} {id[:10]}") if push else ""
    if address:
        screen.results().out(f"pushed: {address}", highlight=False)
    screen.data({"checkpoint": str(out), "artifact": id, "pushed": address})


@with_call_options
def evaluate(
    model: Annotated[
        str,
        typer.Argument(
            help="nano:<name>, a checkpoint folder, a hub id, vllm:<model>, "
            "openai:<model> or openai:<model>@<url>, or a file of stored outputs.",
            autocompletion=completion.models,
        ),
    ],
    suite: Annotated[
        str,
        typer.Option(
            "--suite",
            help="Suites of `crucible suites`, separated by commas.",
            autocompletion=completion.suites,
        ),
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
        bool,
        typer.Option(
            "--plan", "--dry-run", help="Show stages and costs; run nothing, call no model."
        ),
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
    screen.begin(f"planning an evaluation on {suite}")
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
    home = Store(store)
    screen.say(f"{len(made.plan.stages)} stages")
    say_changes(screen.status(), made, home, () if plan_only else fresh or ())
    run_evaluation(
        made,
        home,
        calls,
        out=out,
        plan_only=plan_only,
        retry_failed=retry_failed,
        command=command_line(),
    )
