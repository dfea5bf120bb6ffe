"""A process of a node that computes stages, whole or batches of them.

What happens is a stream of events, pairs of a kind and a value:

    progress   done, total, unit        of a whole stage
    note       text
    count      arguments of `Context.count`, of batches
    batch      number, rows
    ended      what was used: seconds, peak memory, device; and whether anything was computed
    error      kind, text, traceback
"""

from __future__ import annotations

import queue
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from harness.core.errors import CrucibleError, DamagedArtifact, kind_of, remade
from harness.engine.calls import Services
from harness.engine.cluster.messages import Message, stage_of
from harness.engine.ledger import Ledger
from harness.engine.plan import Stage
from harness.engine.stages import Batch, StageContext, artifacts_of, computed, run_stage
from harness.engine.store import Store

Event = tuple[str, Any]
Send = Callable[[str, Any], None]

EVERY_S = 0.2  # between two reports of progress


class Worker:
    """Computes stages of a store, one at a time.

    Models that an operation keeps loaded, and servers in `services`, serve the next stages too.
    """

    def __init__(self, store: Store, services: Services) -> None:
        self._store = store
        self._services = services

    def run(self, message: Message, batches: Sequence[Batch] | None = None) -> Iterator[Event]:
        """Compute a stage, or only some batches of it; the last event is "ended" or "error"."""
        events: queue.SimpleQueue[Event] = queue.SimpleQueue()

        def work() -> None:
            def send(kind: str, value: Any) -> None:
                events.put((kind, value))

            try:
                send("ended", self._compute(stage_of(message), batches, send))
            except BaseException as error:
                send("error", described(error))

        threading.Thread(target=work, daemon=True).start()
        while True:
            event = events.get()
            yield event
            if event[0] in ("ended", "error"):
                return

    def _compute(self, stage: Stage, batches: Sequence[Batch] | None, send: Send) -> dict[str, Any]:
        if batches is None:
            return {"made": run_stage(stage, self._store, _Sending(send), self._services)}
        ledger = Ledger()
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            context = _BatchContext(
                stage, place, place, ledger, _Sending(send, False), self._services
            )
            context.send = send
            inputs = artifacts_of(stage, self._store)
            for number, made in computed(stage, context, iter(batches), inputs):
                send("batch", (number, made))
            for text in context.notes:
                send("note", text)
        used = ledger.entry(context.device_used)
        return {
            "made": True,
            "peak_memory_mib": used.peak_memory_mib,
            "gpu_seconds": used.gpu_seconds,
        }

    def close(self) -> None:
        """End the servers that were started here."""
        self._services.close()


class _BatchContext(StageContext):
    """The context of some batches: what they count goes to the process of the run."""

    send: Send

    def count(self, **numbers: Any) -> None:
        self.send("count", numbers)


class _Sending:
    """A reporter whose calls become events."""

    def __init__(self, send: Send, shows_progress: bool = True) -> None:
        self._send = send
        self._next = 0.0 if shows_progress else float("inf")

    def begin(self, stage: Stage, number: int, total: int) -> None: ...
    def end(self, stage: Stage, seconds: float) -> None: ...

    def progress(self, stage: Stage, done: int, total: int, unit: str) -> None:
        now = time.monotonic()
        if now >= self._next or (done == total and self._next != float("inf")):
            self._next = now + EVERY_S
            self._send("progress", (done, total, unit))

    def note(self, stage: Stage, text: str) -> None:
        self._send("note", text)


def described(error: BaseException) -> dict[str, Any]:
    """An error as plain values; `raised` is the opposite."""
    found = {
        "kind": kind_of(error),
        "type": type(error).__name__,
        "text": str(error),
        "traceback": "".join(traceback.format_exception(error)),
    }
    if isinstance(error, DamagedArtifact):
        found |= {"id": error.id, "problem": error.problem}
    return found


class RemoteTraceback(Exception):
    """The traceback of an error in another process, as the cause of the error here."""


def raised(found: dict[str, Any], label: str, node: str) -> CrucibleError:
    """The error that a worker described."""
    text = found["text"]
    if not found["kind"]:
        text = f"{label}, on node {node}: {found['type']}: {text}"
    made = remade(found["kind"], text)
    if isinstance(made, DamagedArtifact):
        made.id, made.problem = found["id"], found["problem"]
    made.__cause__ = RemoteTraceback(f"\n{found['traceback']}")
    return made
