"""Execution of plans: missing artifacts are computed, existing ones reused, no finished batch lost.

The inline executor runs stages one after another in this process. Other executors implement
`execute(plan, targets, store, reporter)` and call `run_stage` on their workers.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from harness.core.errors import CrucibleError, DamagedArtifact
from harness.engine.calls import Services
from harness.engine.code import remember
from harness.engine.integrity import ROWS
from harness.engine.io import disk_errors, iterate_objects
from harness.engine.journal import Journal
from harness.engine.ledger import Ledger, provenance
from harness.engine.mending import mend
from harness.engine.operations import Artifact, Row
from harness.engine.plan import Handle, Plan, Stage
from harness.engine.row_files import RowFile
from harness.engine.store import Store

ATTEMPTS = 5  # at a run whose artifacts are damaged while it goes on


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
        executed: list[str] = []
        worked: set[str] = set()
        own = Services() if self.services is None else None
        try:
            services = self.services or own
            assert services is not None
            for _ in range(ATTEMPTS):
                finished = mend(plan, targets, store, reporter.note)
                todo = plan.needed(targets, finished)
                worked.update(stage.id for stage in todo)
                try:
                    self._run(todo, store, reporter, services, executed)
                    break
                except DamagedArtifact as error:  # since the plan was examined
                    damage = error
            else:
                raise damage
        finally:
            if own is not None:
                own.close()
        reused = len(plan.stages) - len(worked)
        return RunSummary(tuple(executed), reused, time.monotonic() - start)

    def _run(
        self,
        todo: Sequence[Stage],
        store: Store,
        reporter: Reporter,
        services: Services,
        executed: list[str],
    ) -> None:
        for number, stage in enumerate(todo, 1):
            began = time.monotonic()
            reporter.begin(stage, number, len(todo))
            if run_stage(stage, store, reporter, services):
                executed.append(stage.id)
            reporter.end(stage, time.monotonic() - began)


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
        gpus: int | None = None,
    ) -> None:
        self.ledger.count(
            tokens_in=tokens_in,
            tokens_out=tokens_out,
            requests=requests,
            cached=cached,
            cost_usd=cost_usd,
            gpus=gpus,
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
            scratch = store.make_way(store.partial(stage.id) / "scratch")
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
        "libraries": stage.operation.library_versions(stage.params),
        "resumed_batches": context.resumed_batches,
        "ledger": context.ledger.entry(context.device_used).model_dump(),
        **({"notes": context.notes} if context.notes else {}),
        **({"code": dict(stage.code)} if stage.code else {}),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        **provenance(),
    }


def _run_rows(stage: Stage, store: Store, context: StageContext, inputs: dict[str, Any]) -> None:
    """Compute the missing batches of a row stage, then write all rows in input order.

    In memory are the batches under way alone: rows come from the input's file and go to the
    journal's, and from there to the output's.
    """
    operation = stage.operation
    assert operation.rows is not None
    size = operation.batch_size(stage.params) if operation.batch_size else 1
    path = inputs[operation.rows].path / ROWS
    with (
        closing(RowFile(path, size, f'input of stage "{stage.label}"')) as rows,
        closing(Journal(store.partial(stage.id) / "journal.jsonl", rows.fits)) as journal,
    ):
        if journal.dropped:
            context.reporter.note(
                stage, f"{journal.dropped} damaged batches of its journal are computed again"
            )
        context.resumed_batches = len(journal)
        if len(journal) < rows.batches:
            _run_batches(stage, context, inputs, rows, journal)
        if len(journal) != rows.batches:
            raise CrucibleError(
                f'operation "{operation.name}" returned {len(journal)} of {rows.batches} batches'
            )
        journal.write_rows(context.directory / ROWS)
    written = iterate_objects(context.directory / ROWS)
    for text in operation.notes(stage.params, written) if operation.notes else ():
        context.note(text)


def _run_batches(
    stage: Stage, context: StageContext, inputs: dict[str, Any], rows: RowFile, journal: Journal
) -> None:
    """Compute the batches that a journal lacks, and append them to it."""
    under_way: dict[str, tuple[int, list[str]]] = {}  # first id -> number and ids of a batch

    def queue() -> Iterator[list[Row]]:
        for number in range(rows.batches):
            if number not in journal:
                batch = rows.read(number)
                under_way[batch[0]["id"]] = number, [row["id"] for row in batch]
                yield batch

    done = sum(map(rows.count, journal.batches))
    context.progress(done, len(rows))
    for made in stage.operation.function(context, stage.params, queue(), **inputs):
        number, ids = under_way.pop(made[0]["id"] if made else "", (-1, []))
        if number < 0 or [row["id"] for row in made] != ids:
            raise CrucibleError(
                f'operation "{stage.operation.name}" must yield one list per batch with the ids it '
                f"was given; found {[row.get('id') for row in made][:3]}"
            )
        journal.append(number, made)
        done += len(made)
        context.progress(done, len(rows))
