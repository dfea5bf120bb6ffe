"""Printed before the first call: stages to run, and requests, tokens and money per hosted model."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from harness.api.hosted_models import hosted, price_of
from harness.engine.calls import CallSettings
from harness.engine.plan import Plan, Stage
from harness.engine.store import Store
from harness.planned import PlannedRun


def show_estimate(console: Console, made: PlannedRun, store: Store, calls: CallSettings) -> None:
    """Print the number of stages to run and the most that each hosted model will be asked."""
    todo = made.todo(store)
    show_stages(console, made, todo)
    show_hosted(console, made.plan, todo, calls)


def show_stages(console: Console, made: PlannedRun, todo: Sequence[Stage]) -> None:
    """Print the number of stages to run."""
    count = len(made.plan.stages)
    console.print(
        f"{count} stages: {count - len(todo)} finished or not needed, {len(todo)} to do",
        highlight=False,
    )


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
                asks = "1 stage asks" if asked.unknown == 1 else f"{asked.unknown} stages ask"
                console.print(
                    f"{model}: {asks} it, how often is unknown until its prompts are made or here",
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
