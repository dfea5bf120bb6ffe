"""Responses on their way to the store: those of one turn of the event loop are written together."""

from __future__ import annotations

import asyncio
import time

from harness.backends.api.responses import Busy, ResponseStore, Stored
from harness.core.errors import CrucibleError, StoreProblem

STORE_PATIENCE_S = 60.0


class Arrivals:
    """Used inside one event loop, except `close`.

    Args:
        store: None stores nothing.
    """

    def __init__(self, store: ResponseStore | None) -> None:
        self.store = store
        self._arrived: list[tuple[Stored, asyncio.Future[None]]] = []
        self._busy_since: float | None = None

    async def keep(self, row: Stored) -> None:
        """Store a response; returns when it is on disk."""
        if self.store is None:
            return
        loop = asyncio.get_running_loop()
        written: asyncio.Future[None] = loop.create_future()
        if not self._arrived:
            loop.call_soon(self._write)  # together with other arrivals in this turn of the loop
        self._arrived.append((row, written))
        await asyncio.shield(written)

    def close(self) -> None:
        """Write what another process's lock on the file held up."""
        if self._arrived and self.store is not None:
            self.store.put([row for row, _ in self._arrived])

    def _write(self) -> None:
        assert self.store is not None
        problem: CrucibleError | None = None
        try:
            self.store.put([row for row, _ in self._arrived], wait=False)
        except Busy:
            now = time.monotonic()
            self._busy_since = self._busy_since or now
            if now - self._busy_since < STORE_PATIENCE_S:
                asyncio.get_running_loop().call_later(0.05, self._write)
                return
            problem = StoreProblem(f"{self.store.path} is locked by another process")
        except CrucibleError as error:
            problem = error
        arrived, self._arrived, self._busy_since = self._arrived, [], None
        for _, written in arrived:
            if problem is None:
                written.set_result(None)
            else:
                written.set_exception(problem)
