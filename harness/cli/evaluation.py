"""`crucible eval`: one model on judge suites."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from harness import registry
from harness.errors import UserError
from harness.models import model_identity
from harness.plan import Handle, Plan
from harness.records import Cell, parse
from harness.store import Store


def evaluate_model(
    console: Console,
    ref: str,
    suites: Sequence[str],
    judge: str,
    seed: int,
    limit: int | None,
    store: Store,
) -> list[Cell]:
    """Plan, run and print the cells of one model.

    Raises:
        UnknownName: for a suite, judge or nano model that does not exist.
    """
    from harness.cli.progress import ProgressReporter
    from harness.run import InlineExecutor
    from harness.suites.base import System

    if not suites:
        raise UserError("no suite given; for example --suite alpaca_eval2,mt_bench")
    plan = Plan()
    model = plan.stage("import_model", ref=ref, digest=model_identity(ref), label=f"model {ref}")
    system = System(name=ref, model=model, scale="nano", seed=seed)
    targets: list[Handle] = []
    for name in suites:
        suite = registry.load("suites", name)
        chosen = {"judge": judge, **({"limit": limit} if limit else {})}
        settings = parse(suite.settings, chosen, f'suite "{name}"')
        targets.append(suite.plan(system, settings, plan.stage))
    with ProgressReporter(console) as reporter:
        InlineExecutor().execute(plan, targets, store, reporter)
    cells = [
        parse(Cell, data, f"artifact {handle.id}")
        for handle in targets
        for data in store.artifact(handle.id).read_json("cells.json")
    ]
    console.print(cells_table(cells))
    return cells


def cells_table(cells: Sequence[Cell]) -> Table:
    """Scores of one system as a table."""
    table = Table(box=None, pad_edge=False, title_justify="left")
    for heading in ("suite", "metric", "value", "interval", "scored", "failed", "judge"):
        right = heading in ("value", "scored", "failed")
        table.add_column(heading, justify="right" if right else "left", overflow="fold")
    for cell in cells:
        value = "—" if cell.value is None else f"{cell.value:.2f}"
        span = cell.interval
        between = f"{span.low:.2f} to {span.high:.2f}" if span else "—"
        scored = f"{cell.n_scored}/{cell.n_expected}"
        table.add_row(
            cell.suite, cell.metric, value, between, scored, str(cell.n_failed), cell.judge or "—"
        )
    return table
