"""Workers somewhere, and what they say.

A pool starts workers on nodes, gives them stages, and collects their events. Beside the events of
`harness.engine.cluster.worker` there is "lost", with a reason: the worker is gone, and so is what
it had not sent.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from typing import Any, Protocol

from harness.engine.calls import Services
from harness.engine.cluster.messages import Message
from harness.engine.cluster.needs import Need, Node
from harness.engine.cluster.worker import Event, Worker
from harness.engine.stages import Batch
from harness.engine.store import Store

Handle = Any  # a worker, as its pool names it; hashable


class Pool(Protocol):
    def nodes(self) -> list[Node]:
        """The nodes that are alive now, with all that they have."""

    def start(self, nodes: Sequence[Node], need: Need) -> Handle:
        """Start a worker on the first node, which has the others at its disposal."""

    def submit(self, worker: Handle, message: Message, batches: Sequence[Batch] | None) -> None:
        """Give an idle worker a stage, or batches of one."""

    def wait(self, seconds: float) -> list[tuple[Handle, Event]]:
        """Events that have arrived; waits for the first one at most so long."""

    def stop(self, worker: Handle) -> None:
        """End a worker, whatever it does."""

    def close(self) -> None:
        """End all workers."""


class LocalPool:
    """Workers in threads of this process, which share its services; they cannot be ended."""

    def __init__(self, store: Store, services: Services, nodes: Sequence[Node]) -> None:
        self._store, self._services, self._nodes = store, services, list(nodes)
        self._events: queue.SimpleQueue[tuple[Handle, Event]] = queue.SimpleQueue()

    def nodes(self) -> list[Node]:
        return self._nodes

    def start(self, nodes: Sequence[Node], need: Need) -> Handle:
        return Worker(self._store, self._services)

    def submit(self, worker: Handle, message: Message, batches: Sequence[Batch] | None) -> None:
        def work() -> None:
            for event in worker.run(message, batches):
                self._events.put((worker, event))

        threading.Thread(target=work, daemon=True).start()

    def wait(self, seconds: float) -> list[tuple[Handle, Event]]:
        found = []
        try:
            found.append(
                self._events.get(timeout=seconds) if seconds else self._events.get_nowait()
            )
            while True:
                found.append(self._events.get_nowait())
        except queue.Empty:
            return found

    def stop(self, worker: Handle) -> None: ...

    def close(self) -> None: ...
