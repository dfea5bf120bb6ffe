"""Row stages on rows of 1 kB, undisturbed and resumed with half of the batches in the journal."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from measuring import Case, Work, apart

from harness.core.records import Record
from harness.engine.operations import operation
from harness.engine.plan import Handle, Plan
from harness.engine.run import InlineExecutor
from harness.engine.store import Store

SIZES = (1_000, 10_000, 100_000, 1_000_000)
stopped_after = -1  # batches; a setting of the process, not of the stage


class Rows(Record):
    """Number of rows."""

    rows: int


class Batch(Record):
    """Rows per batch."""

    batch: int


class Stopped(Exception):
    """The stage has done as many batches as it was to do."""


@operation("growth_rows", version=1, params=Rows)
def source(context: Any, params: Rows) -> None:
    text = "lorem ipsum dolor sit " * 43
    with (context.directory / "rows.jsonl").open("w") as stream:
        for number in range(params.rows):
            stream.write(json.dumps({"id": f"row-{number:07d}", "text": text}) + "\n")


@operation(
    "growth_mapped",
    version=1,
    params=Batch,
    rows="rows",
    batch_size=lambda params: params.batch,
)
def mapped(
    context: Any, params: Batch, batches: Iterable[list[Any]], *, rows: Any
) -> Iterator[list[Any]]:
    for number, batch in enumerate(batches):
        if number == stopped_after:
            raise Stopped
        yield [{**row, "length": len(row["text"])} for row in batch]


def planned(rows: int, batch: int) -> tuple[Plan, Handle, Handle]:
    plan = Plan()
    made = plan.stage("growth_rows", rows=rows)
    return plan, made, plan.stage("growth_mapped", rows=made, batch=batch)


def stage(rows: int, folder: Path, *, batch: int, resumed: bool) -> Work:
    """A stage whose input is in the store; resumed, half of its batches are in its journal."""
    plan, made, target = planned(rows, batch)

    def begin() -> None:
        global stopped_after
        InlineExecutor().execute(plan, [made], Store(folder))
        if resumed:
            stopped_after = rows // batch // 2
            try:
                InlineExecutor().execute(plan, [target], Store(folder))
            except Stopped:
                return
            raise SystemExit("the stage was to stop after half of its batches")

    apart(begin)

    def finish() -> dict[str, float]:
        store = Store(folder)
        InlineExecutor().execute(plan, [target], store)
        manifest = store.manifest(target.id)
        assert manifest["files"]["rows.jsonl"]["rows"] == rows
        assert bool(manifest["resumed_batches"]) == resumed
        return {}

    return finish


CASES = {
    f"{batch} per batch{', resumed' if resumed else ''}": Case(
        partial(stage, batch=batch, resumed=resumed), SIZES, "rows"
    )
    for resumed in (False, True)
    for batch in (64, 1)
}
