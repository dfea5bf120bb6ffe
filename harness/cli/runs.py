"""`crucible reproduce | plan | rehearse | recipe | train`: options and output."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli import screen
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
    Replace,
    Scale,
    Seed,
    Seeds,
    Suites,
    Tracker,
)
from harness.engine.calls import CallSettings

PAPER, NANO = "paper", "nano"

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
    app.command(rich_help_panel="Catalogue")(recipe)
    app.command(rich_help_panel="Run")(train)


@with_call_options
def reproduce(
    method: MethodName,
    scale: Scale = "",
    seeds: Seeds = 1,
    seed: Seed = None,
    overrides: Overrides = None,
    limit: Limit = None,
    suite: Suites = "",
    out: Annotated[
        Path | None, typer.Option("--out", help="Board folder (default: in the store).")
    ] = None,
    replace: Replace = False,
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
    nothing is left to do. The board is named by what ran; another recipe's board stays.

    Another setting:  crucible reproduce wrpo --set train.settings.beta=0.3

    Your own recipe, from crucible recipe:  crucible reproduce my.toml
    """
    made = _planned(
        method, scale, overrides, seeds=seeds, seed=seed, limit=limit, suites=names_in(suite)
    )
    if dry_run:
        _show_plan(made, store)
        return
    carry_out(made, out, strict, store, calls, fresh or (), tracker, replace)


def _planned(
    method: str, scale: str, overrides: Sequence[str] | None, **options: Any
) -> Reproduction:
    """The plan of a reproduction; says at once what is planned, before the slow imports."""
    scale = scale or profile_of(method, PAPER if options.get("rehearse") else NANO)
    screen.begin(f"planning {method} ({'rehearsal of ' if options.get('rehearse') else ''}{scale})")
    from harness.reproduce import reproduce as plan_reproduction

    return plan_reproduction(method, scale, overrides=overrides or (), **options)


def profile_of(method: str, usual: str) -> str:
    """The profile that runs if none is given: the usual one, or the only one of a recipe file."""
    if not method.endswith(".toml"):
        return usual
    from harness.engine.recipe import profiles

    found = profiles(Path(method).expanduser())
    return found[0] if len(found) == 1 else usual


def recipe(
    method: MethodName,
    scale: Scale = "",
    overrides: Overrides = None,
    limit: Limit = None,
    suite: Suites = "",
) -> None:
    """Print the recipe of a method as a file of your own: every value, with comments.

    The file runs as it stands, and its board is named after it.

    Save it:  crucible recipe wrpo > my.toml

    Another profile:  crucible recipe wrpo --scale paper
    """
    made = _planned(method, scale, overrides, limit=limit, suites=names_in(suite))
    from harness.engine.recipe_text import recipe_text

    screen.say(f"recipe {made.recipe.id()[:10]}")
    screen.data(made.recipe.model_dump(mode="json"))
    if screen.wants_json():
        return
    where = f"{made.recipe.method}, profile {made.recipe.profile}"
    heading = (
        f"Recipe of {where}, resolved: every value that a run uses.",
        "Save it (crucible recipe ... > my.toml), change values, and run it:",
        "    crucible plan my.toml          stages, estimated costs",
        "    crucible reproduce my.toml     the board is named after the file",
        "",
    )
    typer.echo(recipe_text(made.recipe, heading), nl=False)


def rehearse(
    method: MethodName,
    scale: Scale = "",
    overrides: Overrides = None,
    suite: Suites = "",
    dry_run: DryRun = False,
    store: Home = None,
) -> None:
    """Run the plan of a recipe on nano models, nano data and a few rows.

    Shows in about a minute whether a recipe that needs a cluster runs from end to end.
    """
    made = _planned(method, scale, overrides, rehearse=True, suites=names_in(suite))
    if dry_run:
        _show_plan(made, store)
        return
    carry_out(made, None, False, store, CallSettings())


def names_in(text: str) -> list[str]:
    """Names separated by commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def carry_out(
    made: Reproduction,
    out: Path | None,
    strict: bool,
    home: Path | None,
    calls: CallSettings,
    fresh: Sequence[str] = (),
    tracker: str = "",
    replace: bool = False,
    also: Callable[[Path], dict[str, Any]] | None = None,
) -> None:
    """Run a reproduction, write its board and print it.

    Args:
        also: called with the board's folder; what it returns is part of the JSON.
    """
    from harness.cli.evaluation import show_account
    from harness.cli.progress import ProgressReporter
    from harness.cli.scores import score_records
    from harness.cli.tracking import Tracked, open_sink
    from harness.engine.store import Store
    from leaderboards.claims import require
    from leaderboards.growth import check_recipe
    from leaderboards.render.terminal import render_board

    if out is not None and not replace:
        check_recipe(out, made.provenance(command_line()))
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
    grown = made.grow_board(out, command_line(), replace=replace)
    folder, board = grown.folder, grown.board
    about = {"recipe": made.recipe.id(), "scale": made.scale, "command": command_line()}
    tracked.scores(board.spec.title, made.cells, about)
    console.print(render_board(board))
    if grown.before is not None and (grown.kept or grown.before != len(board.rows)):
        console.print(str(grown), highlight=False, soft_wrap=True)
    if out is None and folder.name != made.name:
        console.print(
            f"{made.name} is the board of another recipe and stays as it is; this one is "
            f"{folder.name} (--replace puts it there)",
            highlight=False,
            soft_wrap=True,
        )
    console.print(f"board: {folder / 'board.html'}", highlight=False, soft_wrap=True)
    more = also(folder) if also is not None else {}
    screen.data(
        {
            "board": str(folder),
            **more,
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
    scale: Scale = "",
    seeds: Seeds = 1,
    overrides: Overrides = None,
    limit: Limit = None,
    suite: Suites = "",
    fit: Fit = None,
    store: Home = None,
) -> None:
    """Show the plan of a reproduction: recipe, stages, what is cached, and estimated costs.

    Nothing runs and nothing is downloaded. With --fit the exit code is 2 if a stage does not fit.
    """
    from harness.training.fitting.hardware import parse_hardware

    hardware = None if fit is None else parse_hardware(fit)
    made = _planned(method, scale, overrides, seeds=seeds, limit=limit, suites=names_in(suite))
    _show_plan(made, store, hardware)


def _show_plan(made: Reproduction, home: Path | None, hardware: Hardware | None = None) -> None:
    from harness.cli.fit_view import check_fit, show_fit
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
    if hardware is not None:
        check_fit(proposals, hardware)


def train(
    method: MethodName,
    out: Annotated[Path, typer.Option("--out", help="Folder for the trained checkpoint.")],
    scale: Scale = "",
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
