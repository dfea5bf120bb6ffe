"""Printed before the first call: stages to run, and requests, tokens and money per hosted model."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness.api.evaluations import Evaluations
from harness.api.hosted_models import Asked, hosted, price_of
from harness.engine.calls import CallSettings
from harness.engine.plan import Plan, Stage
from harness.engine.store import Store
from harness.evaluate import Evaluation
from harness.planned import PlannedRun


def show_estimate(console: Console, made: PlannedRun, store: Store, calls: CallSettings) -> None:
    """Print the number of stages to run and the most that each hosted model will be asked."""
    todo = made.todo(store)
    count = len(made.plan.stages)
    console.print(
        f"{count} stages: {count - len(todo)} finished or not needed, {len(todo)} to do",
        highlight=False,
    )
    show_hosted(console, made.plan, todo, calls)


def show_costs(
    console: Console, made: Evaluation | Evaluations, store: Store, calls: CallSettings
) -> None:
    """Print a table of what each suite asks of each hosted model, with totals."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for number, heading in enumerate(("suite", "asks", "requests", "tokens in", "out", "USD")):
        table.add_column(heading, justify="right" if number > 1 else "left", overflow="fold")
    todo = {stage.id for stage in made.todo(store)}
    counted: set[str] = set()
    total, money = Asked(), 0.0
    for suite in made.scores:
        handles = [part.scores[suite] for part in made.parts if suite in part.scores]
        stages = [s for s in made.plan.needed(handles, []) if s.id in todo - counted]
        counted.update(stage.id for stage in stages)
        for model, asked in hosted(made.plan, stages).items():
            price = price_of(model, calls)
            cost = None if price is None else price.cost(asked.tokens_in, asked.tokens_out)
            shown = "unpriced" if cost is None else f"{cost:,.2f}"
            table.add_row(escape(suite), escape(model), *_counts(asked), shown)
            total.requests += asked.requests
            total.tokens_in += asked.tokens_in
            total.tokens_out += asked.tokens_out
            money += cost or 0.0
    if table.row_count > 1:
        table.add_row("all", "", *_counts(total), f"{money:,.2f}" if money else "")
    if table.row_count:
        console.print(table)


def _counts(asked: Asked) -> tuple[str, str, str]:
    if asked.unknown and not asked.requests:
        return ("?", "?", "?")
    return (f"{asked.requests:,}", f"{asked.tokens_in:,}", f"{asked.tokens_out:,}")


def show_hosted(console: Console, plan: Plan, todo: Sequence[Stage], calls: CallSettings) -> None:
    """Print one line per hosted model that the stages ask, and one more for bounds of searches."""
    estimates = plan.estimates()
    for bounds, about in ((False, "about"), (True, "at most")):
        stages = [stage for stage in todo if estimates[stage.id].at_most is bounds]
        for model, asked in hosted(plan, stages).items():
            price = price_of(model, calls)
            money = "unpriced"
            if price is not None:
                money = f"{about} {price.cost(asked.tokens_in, asked.tokens_out):,.2f} USD"
                money += f" (prices of {price.as_of})" if price.as_of else ""
            rest = f"; {asked.unknown} more stages of unknown size" if asked.unknown else ""
            if not asked.requests and asked.unknown:
                console.print(
                    f"{model}: {asked.unknown} stages ask it; how often is unknown, because their "
                    "prompts are not on this machine yet",
                    highlight=False,
                    markup=False,
                    soft_wrap=True,
                )
                continue
            console.print(
                f"{model}: at most {asked.requests:,} requests, {about} {asked.tokens_in:,} tokens "
                f"in and {asked.tokens_out:,} out, {money}{rest}",
                highlight=False,
                markup=False,
                soft_wrap=True,
            )
