"""A stage under way on a cluster: what is handed out, and what becomes of the results."""

from __future__ import annotations

import math
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any

from harness.core.errors import CrucibleError
from harness.engine.calls import Services
from harness.engine.cluster.needs import Need
from harness.engine.io import disk_errors
from harness.engine.plan import Stage
from harness.engine.stages import Batch, Reporter, RowRun, StageContext, artifacts_of, underway
from harness.engine.store import Store

MOST_ROWS = 4096  # of a task, which this process, Ray and the worker hold in memory
LOSSES = 3  # workers that may die at a stage, one after the other, without finishing anything


@dataclass(eq=False)
class Task:
    """What a worker was given: a whole stage, or batches of which these are not finished."""

    job: Job
    batches: dict[int, Batch] | None = None


class Job(ABC):
    """A stage that was not finished when the run began.

    Attributes:
        number, total: its place in the run, for the reporter.
        tasks: number of workers that work on it.
        made: its artifact was computed here, not by another process.
    """

    def __init__(self, stage: Stage, need: Need, number: int, total: int) -> None:
        self.stage, self.need, self.number, self.total = stage, need, number, total
        self.tasks = 0
        self.begun: float | None = None
        self.finished = False
        self.made = False
        self._losses = 0

    def begin(self, store: Store, reporter: Reporter, services: Services) -> None:
        """Called once, before anything is handed out."""
        self.begun = time.monotonic()
        self._reporter = reporter
        reporter.begin(self.stage, self.number, self.total)

    @abstractmethod
    def next_task(self, workers: int) -> Task | None:
        """What the next of so many workers may do; None if nothing is left."""

    def take(self, task: Task, kind: str, value: Any) -> None:
        """An event of a worker."""
        if kind == "progress":
            self._reporter.progress(self.stage, *value)
        elif kind == "note":
            self.note(value)
        elif kind == "ended":
            self.tasks -= 1
            self._losses = 0
            self.ended(task, value)

    @abstractmethod
    def note(self, text: str) -> None: ...

    @abstractmethod
    def ended(self, task: Task, used: dict[str, Any]) -> None:
        """A worker has done what it was given."""

    def lost(self, task: Task, reason: str) -> None:
        """A worker died; what it had not finished is handed out again.

        Raises:
            CrucibleError: too many died.
        """
        self.tasks -= 1
        self._losses += 1
        if self._losses >= LOSSES:
            raise CrucibleError(
                f"{self.stage.label}: {self._losses} workers died one after the other ({reason}); "
                "finished batches are kept. Often a node has too little memory for the stage "
                "(crucible plan shows what it needs)"
            )
        self._reporter.note(self.stage, f"a worker died ({reason}); its work is done again")

    def failed(self) -> None:
        """A worker could not do what it was given."""
        self.tasks -= 1

    def end(self) -> None:
        self.finished = True
        self.stop()

    def stop(self) -> None:
        """Tell the reporter that the stage does not go on."""
        if self.begun is not None:
            self._reporter.end(self.stage, time.monotonic() - self.begun)

    def abandon(self) -> None:  # noqa: B027 - most have nothing to leave behind
        """The run ends before this stage does."""


class WholeJob(Job):
    """A stage that one worker computes, which also commits its artifact."""

    _handed_out = False

    def next_task(self, workers: int) -> Task | None:
        if self._handed_out:
            return None
        self._handed_out = True
        self.tasks += 1
        return Task(self)

    def note(self, text: str) -> None:
        self._reporter.note(self.stage, text)

    def ended(self, task: Task, used: dict[str, Any]) -> None:
        self.made = used["made"]
        self.end()

    def lost(self, task: Task, reason: str) -> None:
        super().lost(task, reason)
        self._handed_out = False


@dataclass
class _Used:
    """What the workers of a stage used."""

    peak_memory_mib: float | None = None
    gpu_seconds: float | None = None

    def add(self, used: dict[str, Any]) -> None:
        known = [v for v in (self.peak_memory_mib, used["peak_memory_mib"]) if v is not None]
        self.peak_memory_mib = max(known, default=None)
        known = [v for v in (self.gpu_seconds, used["gpu_seconds"]) if v is not None]
        self.gpu_seconds = sum(known) if known else None


@dataclass
class _Open:
    """Files and locks of a row stage under way."""

    stack: ExitStack
    context: StageContext
    rows: RowRun
    missing: Iterator[Batch]
    again: list[Batch] = field(default_factory=list)  # of workers that died
    left: int = 0  # batches that nobody has yet


class RowsJob(Job):
    """A row stage; its journal and its lock are held here, workers get batches."""

    def begin(self, store: Store, reporter: Reporter, services: Services) -> None:
        super().begin(store, reporter, services)
        self._store, self._used = store, _Used()
        stack = ExitStack()
        try:
            context = stack.enter_context(underway(self.stage, store, reporter, services))
            if context is None:
                stack.close()
                self.end()
                return
            inputs = artifacts_of(self.stage, store)
            rows = stack.enter_context(RowRun(self.stage, store, context, inputs))
        except BaseException:
            stack.__exit__(*sys.exc_info())
            raise
        self._open = _Open(stack, context, rows, rows.missing(), left=rows.lacking)
        self._finish_if_complete()

    def next_task(self, workers: int) -> Task | None:
        left = self._open.left
        if not left:
            return None
        # Large parts first, small ones at the end, so that all workers end at about the same time.
        size = left if workers == 1 else math.ceil(left / (2 * workers))
        chosen: dict[int, Batch] = {}
        rows = 0
        while len(chosen) < size and rows < MOST_ROWS:
            batch = self._open.again.pop() if self._open.again else next(self._open.missing)
            chosen[batch[0]] = batch
            rows += len(batch[1])
        self._open.left -= len(chosen)
        self.tasks += 1
        return Task(self, chosen)

    def take(self, task: Task, kind: str, value: Any) -> None:
        if kind == "batch":
            assert task.batches is not None
            number, made = value
            with disk_errors(self._store.root):
                self._open.rows.add(number, made)
            task.batches.pop(number, None)
            self._losses = 0
        elif kind == "count":
            self._open.context.count(**value)
        else:
            super().take(task, kind, value)

    def note(self, text: str) -> None:
        self._open.context.note(text)

    def ended(self, task: Task, used: dict[str, Any]) -> None:
        self._used.add(used)
        if task.batches:
            raise CrucibleError(
                f'operation "{self.stage.operation.name}" did not return {len(task.batches)} of '
                "the batches that it was given"
            )
        self._finish_if_complete()

    def lost(self, task: Task, reason: str) -> None:
        super().lost(task, reason)
        self._open.again += (task.batches or {}).values()
        self._open.left += len(task.batches or {})
        self._finish_if_complete()  # it may have died after its last batch

    def _finish_if_complete(self) -> None:
        if self._open.rows.lacking or self.tasks:
            return
        self._open.context.ledger.used_elsewhere(self._used.peak_memory_mib, self._used.gpu_seconds)
        with self._open.stack, disk_errors(self._store.root):
            self._open.rows.finish()
        self.made = True
        self.end()

    def abandon(self) -> None:
        if self.begun is not None and not self.finished:
            with suppress(Exception):  # the reason of the end is said already
                self._open.stack.__exit__(CrucibleError, CrucibleError("abandoned"), None)
