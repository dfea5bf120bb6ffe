"""Execution of plans: missing artifacts are computed, existing ones reused, no finished batch lost.

The inline executor runs stages one after another in this process. Other executors implement
`execute(plan, targets, store, reporter)` and call `run_stage` on their workers.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from harness.core.errors import BadData, CrucibleError
from harness.engine.calls import Services
from harness.engine.code import remember
from harness.engine.io import disk_errors, write_rows
from harness.engine.ledger import Ledger, provenance
from harness.engine.operations import Artifact, Row
from harness.engine.plan import Handle, Plan, Stage
from harness.engine.store import Journal, Store


class Reporter(Protocol):
    """Receiver of progress events; every method may do nothing."""

    def begin(self, stage: Stage, number: int, total: int) -> None: ...
    def progress(self, stage: Stage, done: int, total: int, unit: str) -> None: ...
    def note(self, stage: Stage, text: str) -> None: ...
    def end(self, stage: Stage, seconds: float) -> None: ...


class Silent:
    """A reporter that ignores all events."""

    def begin(self, stage: Stage, number: int, total: int) -> None: ...
    def progress(self, stage: Stage, done: int, total: int, unit: str) -> None: ...
    def note(self, stage: Stage, text: str) -> None: ...
    def end(self, stage: Stage, seconds: float) -> None: ...


@dataclass(frozen=True)
class RunSummary:
    """Result of a run.

    Attributes:
        executed: ids of the stages that were executed.
        reused: number of stages whose artifacts existed or were not needed.
    """

    executed: tuple[str, ...]
    reused: int
    seconds: float


class InlineExecutor:
    """Executes one stage at a time, in this process.

    Args:
        services: clients, servers and account shared by the stages; the caller owns and closes
            them. Without it, each run opens services with default settings and closes them.
    """

    def __init__(self, services: Services | None = None) -> None:
        self.services = services

    def execute(
        self, plan: Plan, targets: Sequence[Handle], store: Store, reporter: Reporter | None = None
    ) -> RunSummary:
        reporter = reporter or Silent()
        start = time.monotonic()
        finished = [id for id in plan.stages if store.has(id)]
        todo = plan.needed(targets, finished)
        executed = []
        own = Services() if self.services is None else None
        try:
            services = self.services or own
            assert services is not None
            for number, stage in enumerate(todo, 1):
                began = time.monotonic()
                reporter.begin(stage, number, len(todo))
                if run_stage(stage, store, reporter, services):
                    executed.append(stage.id)
                reporter.end(stage, time.monotonic() - began)
        finally:
            if own is not None:
                own.close()
        reused = len(plan.stages) - len(todo)
        return RunSummary(tuple(executed), reused, time.monotonic() - start)


@dataclass
class StageContext:
    """Implementation of `harness.engine.operations.Context`."""

    stage: Stage
    directory: Path
    scratch: Path
    ledger: Ledger
    reporter: Reporter
    services: Services = field(default_factory=Services)
    resumed_batches: int | None = None
    notes: list[str] = field(default_factory=list)
    _device: str | None = field(default=None, repr=False)

    @property
    def device(self) -> str:
        """ "cuda" where torch sees a GPU, else "cpu"; `$CRUCIBLE_DEVICE` overrides."""
        if self._device is None:
            self._device = os.environ.get("CRUCIBLE_DEVICE") or _torch_device()
        return self._device

    @property
    def device_used(self) -> str:
        return self._device or "cpu"

    def progress(self, done: int, total: int, unit: str = "rows") -> None:
        self.reporter.progress(self.stage, done, total, unit)

    def count(
        self,
        *,
        tokens_in: int = 0,
        tokens_out: int = 0,
        requests: int = 0,
        cached: int = 0,
        cost_usd: float | None = None,
    ) -> None:
        self.ledger.count(
            tokens_in=tokens_in,
            tokens_out=tokens_out,
            requests=requests,
            cached=cached,
            cost_usd=cost_usd,
        )

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


def _torch_device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def run_stage(
    stage: Stage, store: Store, reporter: Reporter, services: Services | None = None
) -> bool:
    """Compute the artifact of one stage; False if another process computed it meanwhile."""
    with store.lock(stage.id):
        if store.has(stage.id):
            return False
        with disk_errors(store.root):
            scratch = store.partial(stage.id) / "scratch"
            scratch.mkdir(parents=True, exist_ok=True)
            output = store.fresh_output(stage.id)
            context = StageContext(
                stage, output, scratch, Ledger(), reporter, services or Services()
            )
            inputs = {key: _artifacts(store, value) for key, value in stage.inputs.items()}
            if stage.operation.rows is None:
                stage.operation.function(context, stage.params, **inputs)
            else:
                _run_rows(stage, store, context, inputs)
        store.commit(stage.id, _manifest(stage, context))
        if stage.plain not in ("", stage.id):
            with disk_errors(store.root):
                remember(store.root, stage.plain, stage.id, stage.code)
        for text in context.notes:
            reporter.note(stage, text)
        return True


def _artifacts(store: Store, value: Handle | tuple[Handle, ...]) -> Artifact | tuple[Artifact, ...]:
    if isinstance(value, tuple):
        return tuple(store.artifact(handle.id) for handle in value)
    return store.artifact(value.id)


def _manifest(stage: Stage, context: StageContext) -> dict[str, Any]:
    return {
        "id": stage.id,
        "operation": stage.operation.name,
        "version": stage.operation.version,
        "label": stage.label,
        "params": stage.params.model_dump(mode="json"),
        "inputs": {
            key: [h.id for h in value] if isinstance(value, tuple) else value.id
            for key, value in stage.inputs.items()
        },
        "libraries": stage.operation.library_versions(),
        "resumed_batches": context.resumed_batches,
        "ledger": context.ledger.entry(context.device_used).model_dump(),
        **({"notes": context.notes} if context.notes else {}),
        **({"code": dict(stage.code)} if stage.code else {}),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        **provenance(),
    }


def _run_rows(stage: Stage, store: Store, context: StageContext, inputs: dict[str, Any]) -> None:
    """Compute the missing batches of a row stage, then write all rows in input order."""
    operation = stage.operation
    assert operation.rows is not None
    rows = inputs[operation.rows].rows()
    _check_ids(rows, stage)
    size = operation.batch_size(stage.params) if operation.batch_size else 1
    batches = [rows[start : start + size] for start in range(0, len(rows), size)]
    journal = Journal(store.partial(stage.id) / "journal.jsonl")
    try:
        context.resumed_batches = len(journal.batches)
        done = sum(len(batches[number]) for number in journal.batches)
        context.progress(done, len(rows))
        missing = [n for n in range(len(batches)) if n not in journal.batches]
        if missing:
            by_first_id = {batches[n][0]["id"]: n for n in missing}
            queue: Iterator[list[Row]] = (batches[n] for n in missing)
            for made in operation.function(context, stage.params, queue, **inputs):
                number = _batch_number(made, by_first_id, batches, stage)
                journal.append(number, made)
                done += len(made)
                context.progress(done, len(rows))
        if len(journal.batches) != len(batches):
            raise CrucibleError(
                f'operation "{operation.name}" returned {len(journal.batches)} of '
                f"{len(batches)} batches"
            )
        written = [row for number in range(len(batches)) for row in journal.batches[number]]
        write_rows(context.directory / "rows.jsonl", written)
        for text in operation.notes(stage.params, written) if operation.notes else ():
            context.note(text)
    finally:
        journal.close()


def _check_ids(rows: list[Row], stage: Stage) -> None:
    seen: set[str] = set()
    for row in rows:
        id = row.get("id")
        if not isinstance(id, str) or id in seen:
            what = "is missing or not text" if not isinstance(id, str) else f'"{id}" occurs twice'
            raise BadData(f'input of stage "{stage.label}": row id {what}')
        seen.add(id)


def _batch_number(
    made: list[Row], by_first_id: dict[str, int], batches: list[list[Row]], stage: Stage
) -> int:
    number = by_first_id.get(made[0]["id"]) if made else None
    if number is None or [row["id"] for row in made] != [row["id"] for row in batches[number]]:
        raise CrucibleError(
            f'operation "{stage.operation.name}" must yield one list per batch with the ids it '
            f"was given; found {[row.get('id') for row in made][:3]}"
        )
    return number
