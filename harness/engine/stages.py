"""Execution of one stage: its context, its lock, its batches, and the commit of its artifact.

`run_stage` does all of it in this process. An executor that computes batches elsewhere uses
`underway` and `RowRun` here, and `computed` where the batches are computed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from harness.core.errors import CrucibleError
from harness.engine.calls import Services
from harness.engine.code import remember
from harness.engine.integrity import ROWS
from harness.engine.io import disk_errors, iterate_objects
from harness.engine.journal import Journal
from harness.engine.ledger import Ledger, provenance
from harness.engine.operations import Artifact, Context, Row
from harness.engine.plan import Handle, Stage
from harness.engine.row_files import RowFile
from harness.engine.store import Store

Batch = tuple[int, list[Row]]  # number and rows


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
    with underway(stage, store, reporter, services) as context:
        if context is None:
            return False
        inputs = artifacts_of(stage, store)
        if stage.operation.rows is None:
            stage.operation.function(context, stage.params, **inputs)
            return True
        with RowRun(stage, store, context, inputs) as rows:
            if rows.lacking:
                for number, made in computed(stage, context, rows.missing(), inputs):
                    rows.add(number, made)
            rows.finish()
    return True


@contextmanager
def underway(
    stage: Stage, store: Store, reporter: Reporter, services: Services | None = None
) -> Iterator[StageContext | None]:
    """The context of a stage under its lock, None if its artifact is there by now.

    An end without an error commits what the folder of the context holds.
    """
    with store.lock(stage.id):
        if store.has(stage.id):
            yield None
            return
        with disk_errors(store.root):
            scratch = store.make_way(store.partial(stage.id) / "scratch")
            output = store.fresh_output(stage.id)
            context = StageContext(
                stage, output, scratch, Ledger(), reporter, services or Services()
            )
            yield context
        store.commit(stage.id, _manifest(stage, context))
        if stage.plain not in ("", stage.id):
            with disk_errors(store.root):
                remember(store.root, stage.plain, stage.id, stage.code)
        for text in context.notes:
            reporter.note(stage, text)


def artifacts_of(stage: Stage, store: Store) -> dict[str, Any]:
    """The artifacts that a stage reads, by the names of its inputs."""
    return {key: _artifacts(store, value) for key, value in stage.inputs.items()}


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


class RowRun:
    """The batches of a row stage: those that its journal has, and those that are to be computed.

    In memory are the batches under way alone: rows come from the input's file and go to the
    journal's, and from there to the output's.
    """

    def __init__(
        self, stage: Stage, store: Store, context: StageContext, inputs: dict[str, Any]
    ) -> None:
        operation = stage.operation
        assert operation.rows is not None
        self._stage, self._context = stage, context
        size = operation.batch_size(stage.params) if operation.batch_size else 1
        path = inputs[operation.rows].path / ROWS
        self._rows = RowFile(path, size, f'input of stage "{stage.label}"')
        try:
            self._journal = Journal(store.partial(stage.id) / "journal.jsonl", self._rows.fits)
        except BaseException:
            self._rows.close()
            raise
        if self._journal.dropped:
            context.reporter.note(
                stage, f"{self._journal.dropped} damaged batches of its journal are computed again"
            )
        context.resumed_batches = len(self._journal)
        self._done = sum(map(self._rows.count, self._journal.batches))
        if self.lacking:
            context.progress(self._done, len(self._rows))

    @property
    def lacking(self) -> int:
        """Number of batches that the journal lacks."""
        return self._rows.batches - len(self._journal)

    def missing(self) -> Iterator[Batch]:
        """The batches that the journal lacks, each read when it is asked for."""
        for number in range(self._rows.batches):
            if number not in self._journal:
                yield number, self._rows.read(number)

    def add(self, number: int, made: list[Row]) -> None:
        """Keep the results of a batch."""
        self._journal.append(number, made)
        self._done += len(made)
        self._context.progress(self._done, len(self._rows))

    def finish(self) -> None:
        """Write the rows of all batches into the folder of the stage.

        Raises:
            CrucibleError: batches are missing.
        """
        operation = self._stage.operation
        if self.lacking:
            raise CrucibleError(
                f'operation "{operation.name}" returned {len(self._journal)} of '
                f"{self._rows.batches} batches"
            )
        place = self._context.directory / ROWS
        self._journal.write_rows(place)
        written = iterate_objects(place)
        for text in operation.notes(self._stage.params, written) if operation.notes else ():
            self._context.note(text)

    def __enter__(self) -> RowRun:
        return self

    def __exit__(self, *_: object) -> None:
        self._journal.close()
        self._rows.close()


def computed(
    stage: Stage, context: Context, batches: Iterable[Batch], inputs: dict[str, Any]
) -> Iterator[Batch]:
    """The results of batches, in the order in which the operation finishes them.

    Raises:
        CrucibleError: the operation yields other rows than it was given.
    """
    under_way: dict[str, tuple[int, list[str]]] = {}  # first id -> number and ids of a batch

    def queue() -> Iterator[list[Row]]:
        for number, batch in batches:
            under_way[batch[0]["id"]] = number, [row["id"] for row in batch]
            yield batch

    for made in stage.operation.function(context, stage.params, queue(), **inputs):
        number, ids = under_way.pop(made[0]["id"] if made else "", (-1, []))
        if number < 0 or [row["id"] for row in made] != ids:
            raise CrucibleError(
                f'operation "{stage.operation.name}" must yield one list per batch with the ids it '
                f"was given; found {[row.get('id') for row in made][:3]}"
            )
        yield number, made
