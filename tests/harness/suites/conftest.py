"""Suites on systems whose answers are written by the nano world, through the real engine."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.core.hashing import seed_from
from harness.core.records import Cell, Record, parse
from harness.engine.operations import Artifact, Context, Row, operation
from harness.engine.plan import Handle, Plan
from harness.engine.run import InlineExecutor, RunSummary
from harness.engine.store import Store
from harness.nano import world
from harness.suites.base import Suite, System

ROUNDS = 60


class WrittenParams(Record):
    """quality: of `world.QUALITIES`, or "baseline", "empty", "mixed", "failing"."""

    quality: str
    temperature: float = 0.0


@operation(
    "written_answers", version=1, params=WrittenParams, rows="prompts", batch_size=lambda _: 8
)
def written_answers(
    context: Context, params: WrittenParams, batches: Iterable[list[Row]], *, prompts: Artifact
) -> Iterator[list[Row]]:
    """Stands in for `sample`: answers of a known quality."""
    for batch in batches:
        yield [{**row, "system": params.quality, **_answer(row, params.quality)} for row in batch]


def _answer(row: Row, quality: str) -> Row:
    asked = [m["content"] for m in row["messages"] if m["role"] == "user"]
    found = world.find_conversation(asked)
    assert found is not None
    item, turn = found
    if quality == "failing" and seed_from(row["id"]) % 4 == 0:
        return {"responses": [], "finish": [], "error": "the prompt is too long"}
    if quality == "empty":
        text = ""
    elif quality in ("baseline", "verbose baseline"):
        flavour = "plain" if quality == "baseline" else "verbose"
        text = world.baseline_answer(item, turn, flavour)
    else:
        rng = random.Random(seed_from(row["id"], turn))
        name = (
            rng.choice(("excellent", "good", "wrong", "evasive")) if quality == "mixed" else quality
        )
        text = world.render(item, turn, "good" if quality == "failing" else name, rng)
    return {"responses": [text], "finish": ["stop"]}


class Outcome:
    """The cells of one evaluation, its rows, and what the engine did."""

    def __init__(self, plan: Plan, store: Store, cells: Handle, summary: RunSummary) -> None:
        self.plan, self.store, self.summary, self.handle = plan, store, summary, cells
        data = store.artifact(cells.id).read_json("cells.json")
        self.cells = {cell["metric"]: parse(Cell, cell, "cells.json") for cell in data}

    def value(self, metric: str) -> float:
        value = self.cells[metric].value
        assert value is not None
        return value

    def rows(self, name: str) -> list[Row]:
        """Rows of the first stage of an operation."""
        id = next(i for i, stage in self.plan.stages.items() if stage.operation.name == name)
        return self.store.artifact(id).rows()


Evaluate = Callable[..., Outcome]


@pytest.fixture
def evaluate(tmp_path: Path) -> Evaluate:
    """`evaluate(SUITE, "good", limit=20)`: the suite on a system of a quality."""
    store = Store(tmp_path / "store")

    def run(suite: Suite, quality: str, **settings: Any) -> Outcome:
        plan = Plan()

        def stage(name: str, /, **arguments: Any) -> Handle:
            if name == "sample":
                prompts, temperature = arguments["prompts"], arguments["temperature"]
                return plan.stage(
                    "written_answers", prompts=prompts, quality=quality, temperature=temperature
                )
            return plan.stage(name, **arguments)

        model = plan.stage("import_model", ref="nano:target")
        chosen = parse(suite.settings, {"rounds": ROUNDS, "limit": 24, **settings}, "test")
        cells = suite.plan(System(quality, model), chosen, _without(stage, model))
        summary = InlineExecutor().execute(plan, [cells], store)
        return Outcome(plan, store, cells, summary)

    return run


def _without(stage: Callable[..., Handle], model: Handle) -> Callable[..., Handle]:
    """Stages without the model input: no weights are needed to score written answers."""

    def kept(name: str, /, **arguments: Any) -> Handle:
        if name != "sample":
            arguments = {key: value for key, value in arguments.items() if value is not model}
        return stage(name, **arguments)

    return kept
