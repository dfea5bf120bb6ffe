"""`crucible sweep`: a recipe with several values of some settings, on one board with curves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli import screen
from harness.cli.call_options import with_call_options
from harness.cli.run_options import (
    Fresh,
    Home,
    Limit,
    MethodName,
    Overrides,
    Scale,
    Seed,
    Seeds,
    Suites,
    Tracker,
)
from harness.cli.runs import carry_out, names_in
from harness.engine.calls import CallSettings

if TYPE_CHECKING:
    from rich.console import Console

    from harness.engine.store import Store
    from harness.sweep import Sweep

FIGURES = ("svg", "pdf", "csv", "tex")


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Run")(sweep)


@with_call_options
def sweep(
    method: MethodName,
    settings: Annotated[
        list[str],
        typer.Argument(
            metavar="KEY=VALUE,VALUE...",
            help="Recipe keys with their values; several keys are combined to a grid.",
        ),
    ],
    scale: Scale = "nano",
    seeds: Seeds = 1,
    seed: Seed = None,
    systems: Annotated[
        str,
        typer.Option(
            "--systems",
            help="Systems of the recipe to sweep, separated by commas, or all (default: the "
            "method's own).",
        ),
    ] = "",
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
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show stages and costs; run nothing.")
    ] = False,
    tracker: Tracker = "",
    store: Home = None,
    *,
    calls: CallSettings,
) -> None:
    """Run a recipe with several values of its settings: one board, and curves with intervals.

    crucible sweep dpo train.settings.beta=0.05,0.1,0.5 --seeds 3

    crucible sweep wrpo train.settings.alpha_end=0.1,0.5 train.settings.beta=0.1,0.5 --dry-run

    Values are written as in --set; commas in lists, tables and quotations separate nothing. The
    costs are printed first. Stages that settings share are computed once, and the same command
    resumes after an interruption. The board has a row for each system and setting; the first system
    of the recipe is there for comparison, and claims are tested at each setting.
    """
    screen.begin(f"planning a sweep of {method} ({scale})")
    from harness.engine.store import Store, default_root
    from harness.sweep import sweep as plan_sweep

    made = plan_sweep(
        method,
        settings,
        scale,
        systems=names_in(systems),
        overrides=overrides or (),
        seeds=seeds,
        seed=seed,
        limit=limit,
        suites=names_in(suite),
    )
    screen.say(f"{len(made.plan.stages)} stages")
    root = store or default_root()
    finished = Store(root) if (root / "store.json").exists() else None
    show_costs(screen.results() if dry_run else screen.status(), made, finished, calls)
    if dry_run:
        screen.data(cost_record(made, finished))
        return
    carry_out(
        made, out, strict, store, calls, fresh or (), tracker, also=lambda f: _figures(made, f)
    )


def show_costs(console: Console, made: Sweep, store: Store | None, calls: CallSettings) -> None:
    """Print what the runs share and what each setting adds: stages, tokens, GPU memory and time."""
    from rich.table import Table

    from harness.cli.estimate import show_hosted
    from harness.cli.plan_view import numbers_of, show_totals

    todo = {stage.id for stage in made.todo(store)}
    estimates = made.plan.estimates()
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("setting")
    for heading in ("stages", "to do", "tokens", "GPU memory", "GPU time"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, ids in _parts(made):
        left = [estimates[id] for id in ids if id in todo]
        numbers = numbers_of(left)[1:] if left else ("", "", "")
        table.add_row(name, str(len(ids)), str(len(left)), *numbers)
    console.print(table)
    about = sharing(made)
    console.print(
        f"of {about['stages']} stages, {about['shared']} are shared; {about['runs']} separate runs "
        f"would have {about['separate']}",
        highlight=False,
        soft_wrap=True,
    )
    show_totals(console, [estimates[id] for id in made.plan.stages if id in todo], made)
    show_hosted(console, made.plan, made.todo(store), calls)


def _parts(made: Sweep) -> list[tuple[str, list[str]]]:
    """Stages that several runs use, then those of each setting alone, with the setting's name."""
    from harness.engine.grids import shown

    shared = made.shared()
    own: dict[str, list[str]] = {}
    for setting, _, stages in made.used:
        name = ", ".join(f"{key}={shown(value)}" for key, value in setting.items())
        own.setdefault(name, []).extend(stage.id for stage in stages if stage.id not in shared)
    return [("shared", sorted(shared)), *own.items()]


def sharing(made: Sweep) -> dict[str, int]:
    """Numbers of runs, of their stages, of those that are shared, and of those if run apart."""
    return {
        "runs": len(made.used),
        "stages": len(made.plan.needed(made.targets, [])),
        "shared": len(made.shared()),
        "separate": sum(len(stages) for _, _, stages in made.used),
    }


def cost_record(made: Sweep, store: Store | None) -> dict[str, Any]:
    """The plan for other programs, with what is shared."""
    from harness.cli.plan_view import plan_record

    return {"sweep": {"settings": made.settings, **sharing(made)}, **plan_record(made, store)}


def _figures(made: Sweep, folder: Path) -> dict[str, Any]:
    """Write the curves of every key beside the board; print and return their files."""
    from harness.core.errors import EnvironmentProblem
    from harness.engine.grids import label_of
    from leaderboards.plots.writing import write_chart

    written: list[str] = []
    for key, chart in made.curves(made.board).items():
        for format in FIGURES:
            path = folder / f"curves-{label_of(key, made.grid)}.{format}"
            try:
                write_chart(chart, path)
            except EnvironmentProblem as error:  # without matplotlib
                screen.say(f"{path.name} is left out: {error}")
                continue
            written.append(str(path))
    console = screen.results()
    for name in written:
        console.print(f"curves: {name}", highlight=False, markup=False, soft_wrap=True)
    return {"settings": made.settings, "curves": written}
