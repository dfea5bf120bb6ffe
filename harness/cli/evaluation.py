"""Output of `crucible eval`: estimate, progress, scores, judges and what to type next."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness.api.evaluations import Evaluations
from harness.cli import screen
from harness.cli.cost_table import show_costs
from harness.cli.estimate import show_estimate
from harness.cli.plan_view import plan_record
from harness.cli.progress import ProgressReporter
from harness.cli.scores import score_records
from harness.core.records import Cell
from harness.engine.calls import Account, CallSettings
from harness.engine.store import Store
from harness.evaluate import Evaluation
from harness.suites.editions import NANO
from harness.suites.scoring import ENDINGS, CellParams
from leaderboards.growth import Conditions, check_growth
from leaderboards.render.terminal import render_board
from leaderboards.render.text import limits

MOST_SAMPLES = 6  # addresses of samples that are printed


def run_evaluation(
    made: Evaluation | Evaluations,
    store: Store,
    calls: CallSettings,
    *,
    out: Path | None = None,
    plan_only: bool = False,
    retry_failed: bool = False,
    by_judge: bool = False,
    command: str = "",
) -> None:
    """Estimate, run and print an evaluation; with `out`, also write its board, or let it grow."""
    console, status = screen.results(), screen.status()
    status.print(f"[bold]{escape(made.title)}[/bold] on {', '.join(made.scores)}", highlight=False)
    for suite, mark in made.limits.items():
        status.print(f"{suite}: {mark} only", highlight=False)
    by_judge = by_judge or len({part.judge for part in made.parts}) > 1
    if out is not None:
        check_growth(out, asked(made), made.limits, judges=by_judge)
    for join in made.joins:
        status.print(str(join), highlight=False, markup=False, soft_wrap=True)
    if retry_failed:
        count = made.forget_failures(store)
        status.print(
            f"{count} failed rows are asked again"
            if count
            else "no judgment or answer has failed; nothing is asked again",
            highlight=False,
        )
    if isinstance(made, Evaluations):
        show_costs(console if plan_only else status, made, store, calls)
    else:
        show_estimate(console if plan_only else status, made, store, calls)
    if plan_only:
        screen.data(plan_record(made, store))
        return
    try:
        with ProgressReporter(status) as reporter:
            made.run(store, reporter, calls)
    finally:
        show_account(console, made.account)
    cells = made.cells
    many = isinstance(made, Evaluations)
    if not many:
        console.print(cells_table(cells))
    grown = None if out is None else made.grow_board(out, command, by_judge=by_judge)
    if many:
        console.print(render_board(made.board if grown is None else grown.board))
    if not many or grown is None:
        show_judges(console, cells)
    _show_hints(console, cells)
    _show_samples(console, made, out)
    if grown is not None:
        console.print(str(grown), highlight=False, soft_wrap=True, markup=False)
        console.print(f"board: {grown.folder / 'board.html'}", highlight=False, soft_wrap=True)
    screen.data({"board": out and str(out), "scores": score_records(cells)})


def asked(made: Evaluation | Evaluations) -> list[Conditions]:
    """The conditions of the scores that a plan makes."""
    found = []
    for part in made.parts:
        for suite, handle in part.scores.items():
            params = made.plan.stages[handle.id].params
            if isinstance(params, CellParams):
                judge = params.judge or "", params.judge_fingerprint or ""
                found.append(Conditions(suite, *judge, params.scale))
    return found


def cells_table(cells: Sequence[Cell]) -> Table:
    """Scores of one system as a table; `show_judges` names the judges below it."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("suite", "metric", "value", "interval", "scored", "failed"):
        right = heading in ("value", "scored", "failed")
        name = heading in ("suite", "metric")
        table.add_column(
            heading, justify="right" if right else "left", no_wrap=not name, overflow="fold"
        )
    last = ""
    for cell in cells:
        value = "—" if cell.value is None else f"{cell.value:.2f}"
        span = cell.interval
        between = f"{span.low:.2f} to {span.high:.2f}" if span else "—"
        if cell.value is None and cell.bounds is not None:
            between = f"bounds {cell.bounds[0]:.2f} to {cell.bounds[1]:.2f}"
        scored = f"{cell.n_scored}/{cell.n_expected}"
        suite = "" if cell.suite == last else cell.suite
        style = None if cell.primary else "dim"
        table.add_row(
            escape(suite),
            escape(cell.metric),
            value,
            between,
            scored,
            str(cell.n_failed),
            style=style,
        )
        last = cell.suite
    return table


def show_judges(console: Console, cells: Sequence[Cell]) -> None:
    """Print judge, data and prompt set of each suite: the conditions for comparing two scores."""
    for suite in dict.fromkeys(cell.suite for cell in cells):
        own = [cell for cell in cells if cell.suite == suite]
        sets = list(dict.fromkeys(cell.prompt_set[:10] for cell in own))
        parts = [f"{mark} only" for mark in limits(own).get(suite, ())]
        parts += [f"prompts {sets[0]}" if len(sets) == 1 else f"{len(sets)} prompt sets"]
        if own[0].details.get("data"):
            parts.append(f"data {own[0].details['data']}")
        if own[0].judge:
            parts.append(f"judge {own[0].judge} ({own[0].judge_fingerprint})")
        console.print(f"{suite}: {', '.join(parts)}", highlight=False, markup=False, soft_wrap=True)


def show_account(console: Console, account: Account) -> None:
    """Print requests, tokens and money of this run, one line per hosted model."""
    for model, spent in account.models.items():
        cost = "unpriced" if spent.cost_usd is None else f"{spent.cost_usd:.4f} USD"
        console.print(
            f"{model}: {spent.requests:,} requests, {spent.cached:,} from stored responses, "
            f"{spent.tokens_in:,} tokens in, {spent.tokens_out:,} out, {cost}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )


def _show_hints(console: Console, cells: Sequence[Cell]) -> None:
    if any(cell.scale == NANO for cell in cells):
        console.print("[dim]nano: a check of methods, not a figure to publish[/dim]")
    suspicious = sum(int(cell.details.get("n_suspicious") or 0) for cell in cells if cell.primary)
    if suspicious:
        console.print(
            f"{suspicious} answers look like attacks on the judge's prompt (suspicious in "
            "`crucible show`)",
            highlight=False,
        )
    for suite in dict.fromkeys(cell.suite for cell in cells):
        own = next(cell for cell in cells if cell.suite == suite)
        counted = [
            f"{own.details[name]} {what}" for name, what in ENDINGS.items() if own.details.get(name)
        ]
        if counted:
            console.print(
                f"{suite}: not ordinary answers: {', '.join(counted)}",
                highlight=False,
                soft_wrap=True,
            )
    if any(cell.n_failed and cell.judge is not None for cell in cells):
        console.print("some judgments failed; add --retry-failed to ask for them again")


def _show_samples(console: Console, made: Evaluation | Evaluations, out: Path | None) -> None:
    shown = [(part.title, suite, h) for part in made.parts for suite, h in part.scores.items()]
    for title, suite, handle in shown[:MOST_SAMPLES]:
        address = shlex.quote(f"{handle.id[:10]}:{title}/{suite}")
        console.print(
            f"samples: crucible show {address} --html",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
    if len(shown) > MOST_SAMPLES:
        rest = f"samples of the other {len(shown) - MOST_SAMPLES} scores: crucible show"
        rest += f" {shlex.quote(str(out))}:SYSTEM/SUITE" if out else " lists them"
        console.print(rest, highlight=False, markup=False, soft_wrap=True)
