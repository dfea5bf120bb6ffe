"""The table of costs of many evaluations, printed before the first call."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness.api.evaluations import Evaluations
from harness.api.hosted_models import Asked, asked_ref, is_hosted, model_of, price_of
from harness.cli.estimate import show_stages
from harness.engine.calls import CallSettings
from harness.engine.store import Store

_HEADS = ("asked", "requests", "tokens in", "out", "USD", "suites")
HERE, UNPRICED = "here", "unpriced"


@dataclass
class Line:
    """What one model or judge is asked.

    Attributes:
        cost: in USD; None where the price is unknown.
        dated: day of the price.
    """

    model: str
    here: bool
    asked: Asked = field(default_factory=Asked)
    suites: dict[str, None] = field(default_factory=dict)
    cost: float | None = None
    dated: str = ""


def show_costs(console: Console, made: Evaluations, store: Store, calls: CallSettings) -> None:
    """Print the number of stages, and requests, tokens and money of each model and judge."""
    todo = made.todo(store)
    show_stages(console, made, todo)
    lines = cost_lines(made, {stage.id for stage in todo}, calls)
    if not lines:
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for place, heading in enumerate(_HEADS):
        table.add_column(heading, justify="right" if 0 < place < 5 else "left", overflow="fold")
    for line in lines:
        table.add_row(escape(line.model), *_counts([line]), escape(", ".join(line.suites)))
    hosted = [line for line in lines if not line.here]
    if len(hosted) > 1:
        table.add_row("all hosted", *_counts(hosted), "")
    console.print(table)
    dates = sorted({line.dated for line in hosted if line.dated})
    said = "At most: stored responses are not asked for again."
    said += f" {HERE}: on this machine, without a bill." if len(hosted) < len(lines) else ""
    said += f" Prices of {', '.join(dates)}." if dates else ""
    console.print(f"[dim]{said}[/dim]", highlight=False)


def cost_lines(made: Evaluations, todo: Collection[str], calls: CallSettings) -> list[Line]:
    """One line per model and judge that the stages to do ask; those of this machine first."""
    plan, found = made.plan, dict[str, Line]()
    estimates, counted = plan.estimates(), set[str]()
    for suite, handles in made.scores.items():
        for stage in plan.needed(handles, []):
            ref = asked_ref(plan, stage) if stage.id in todo else None
            if ref is None:
                continue
            name = model_of(ref)
            line = found.setdefault(name, Line(name, not is_hosted(ref)))
            line.suites[suite] = None
            if stage.id not in counted:
                counted.add(stage.id)
                line.asked.add(estimates[stage.id])
    for line in found.values():
        price = None if line.here else price_of(line.model, calls)
        if price is not None:
            line.cost = price.cost(line.asked.tokens_in, line.asked.tokens_out)
            line.dated = str(price.as_of or "")
    return sorted(found.values(), key=lambda line: not line.here)


def _counts(lines: Sequence[Line]) -> tuple[str, ...]:
    """Requests, tokens in and out, and money of some lines; what is unknown is said."""
    asked = [line.asked for line in lines]
    unknown = any(one.unknown for one in asked)
    if unknown and not any(one.requests for one in asked):
        numbers = ["?"] * 3
    else:
        sums = map(sum, zip(*((a.requests, a.tokens_in, a.tokens_out) for a in asked), strict=True))
        numbers = [f"{number:,}{' + ?' * unknown}" for number in sums]
    costs = [line.cost for line in lines if line.cost is not None]
    money = [f"{sum(costs):,.2f}"] if costs else []
    money += [UNPRICED] if any(line.cost is None and not line.here for line in lines) else []
    return (*numbers, " + ".join(money) or HERE)
