"""Output of `crucible plan`: the resolved recipe, the stages and their estimated costs."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from harness.cli.estimate import show_hosted
from harness.engine.calls import CallSettings

if TYPE_CHECKING:
    from harness.engine.operations import Estimate
    from harness.engine.plan import Plan, Stage
    from harness.engine.store import Store
    from harness.planned import PlannedRun
    from harness.reproduce import Reproduction

UNKNOWN = "?"


def show_plan(console: Console, made: Reproduction, store: Store | None) -> None:
    """Print recipe, stages (cached or to do) and totals. Nothing is executed."""
    recipe = made.recipe
    console.print(
        f"[bold]{recipe.title or recipe.method}[/bold]  recipe {recipe.id()}", soft_wrap=True
    )
    _show_recipe(console, recipe.model_dump(mode="json"))
    finished = [id for id in made.plan.stages if store is not None and store.has(id)]
    left = made.todo(store)
    todo = {stage.id for stage in left}
    estimates = made.plan.estimates()
    table = Table(
        box=None, pad_edge=False, padding=(0, 1), width=None if console.is_terminal else 130
    )
    for heading in ("stage", "operation", "id", "state"):
        table.add_column(heading, no_wrap=True)
    for heading in ("rows", "tokens", "GPU memory", "GPU time"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, stages in _groups(made.plan):
        waiting = sum(stage.id in todo for stage in stages)
        table.add_row(
            name,
            stages[0].operation.name if len(stages) == 1 else f"{len(stages)} stages",
            stages[-1].id[:10],
            f"{waiting} to do"
            if waiting
            else "cached"
            if stages[-1].id in finished
            else "not needed",
            *_numbers([estimates[stage.id] for stage in stages]),
        )
    console.print(table, soft_wrap=not console.is_terminal)
    _show_totals(console, [estimates[id] for id in made.plan.stages if id in todo], made)
    show_hosted(console, made.plan, left, CallSettings())
    console.print("[dim]assumptions behind the estimates: docs/estimates.md[/dim]")


def plan_record(made: PlannedRun, store: Store | None) -> dict[str, Any]:
    """The stages of a plan with state and estimates, for other programs."""
    estimates = made.plan.estimates()
    todo = {stage.id for stage in made.todo(store)}
    stages = [
        {
            "id": id,
            "operation": stage.operation.name,
            "label": stage.label,
            "to_do": id in todo,
            **asdict(estimates[id]),
        }
        for id, stage in made.plan.stages.items()
    ]
    return {"stages": stages, "to_do": len(todo)}


def _show_totals(console: Console, estimates: list[Estimate], made: Reproduction) -> None:
    done = len(made.plan.stages) - len(estimates)
    console.print(f"\n{len(made.plan.stages)} stages: {done} cached, {len(estimates)} to do")
    tokens = sum(e.tokens for e in estimates if e.tokens is not None)
    seconds = sum(e.gpu_seconds for e in estimates if e.gpu_seconds is not None)
    memory = [e.gpu_gib for e in estimates if e.gpu_gib is not None]
    parts = [f"about {_count(tokens)} tokens"] if tokens else []
    if seconds:
        parts.append(f"{_hours(seconds)} on one A100-class GPU")
    if memory:
        parts.append(f"largest stage {max(memory):,.0f} GiB of GPU memory (may be split over GPUs)")
    if parts:
        console.print("estimated: " + ", ".join(parts), soft_wrap=True)
    unknown = sum(e.tokens is None and e.rows is None for e in estimates)
    if unknown:
        console.print(f"{unknown} stages without an estimate are not included")


def _groups(plan: Plan) -> list[tuple[str, list[Stage]]]:
    """Stages grouped by the part of their label before ": ", so that an evaluation is one line."""
    groups: dict[str, list[Stage]] = {}
    for stage in plan.stages.values():
        name, colon, _ = stage.label.partition(": ")
        groups.setdefault(name if colon else f"{stage.label}\0{stage.id}", []).append(stage)
    return [(name.partition("\0")[0], stages) for name, stages in groups.items()]


def _numbers(estimates: list[Estimate]) -> tuple[str, str, str, str]:
    tokens = _sum([e.tokens for e in estimates])
    seconds = _sum([e.gpu_seconds for e in estimates])
    memory = [e.gpu_gib for e in estimates if e.gpu_gib is not None]
    rows = estimates[0].rows if len(estimates) == 1 else None
    return (
        "" if len(estimates) > 1 else UNKNOWN if rows is None else f"{rows:,}",
        UNKNOWN if tokens is None else _count(round(tokens)),
        f"{max(memory):,.0f} GiB" if memory else UNKNOWN,
        UNKNOWN if seconds is None else _hours(seconds),
    )


def _sum(values: list[float | None] | list[int | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _count(number: int) -> str:
    """
    >>> _count(950), _count(1_234_567), _count(2_500_000_000)
    ('950', '1.2 M', '2.5 G')
    """
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= size:
            return f"{number / size:.1f}{unit}"
    return str(number)


def _hours(seconds: float) -> str:
    if seconds >= 3600:
        return f"{seconds / 3600:,.1f} h"
    return f"{seconds / 60:.1f} min" if seconds >= 60 else f"{seconds:.0f} s"


def _show_recipe(console: Console, data: dict[str, Any]) -> None:
    for key, value in data.items():
        if key in ("claims", "title", "systems", "suites") or value in (None, {}, []):
            continue
        if isinstance(value, dict):
            _show_table(console, key, value)
        else:
            console.print(f"{key} = {value!r}", highlight=False)
    for system in data["systems"]:
        changes = ", ".join(f"{k} = {v!r}" for k, v in system["set"].items())
        console.print(f"system {system['name']}: {system['method']} {changes}", highlight=False)
    for suite in data["suites"]:
        settings = ", ".join(f"{k} = {v!r}" for k, v in suite["settings"].items())
        console.print(f"suite {suite['name']}: {settings or 'defaults'}", highlight=False)
    console.print(f"{len(data['claims'])} claims\n", highlight=False)


def _show_table(console: Console, name: str, table: dict[str, Any]) -> None:
    console.print(f"[bold]\\[{name}][/bold]", highlight=False)
    for key, value in table.items():
        if value is None:
            continue
        items = value if isinstance(value, list) and value else [value]
        for item in items:
            if isinstance(item, dict):
                item = ", ".join(f"{k} = {v!r}" for k, v in item.items() if v not in (None, False))
                console.print(f"  {key}: {item}", highlight=False, soft_wrap=True)
            else:
                console.print(f"  {key} = {item!r}", highlight=False)
