"""An event loop in its own thread, for callers that are not asynchronous."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, TypeVar

from harness.core.errors import CrucibleError

T = TypeVar("T")


@dataclass
class _End:
    """The end of a coroutine, and its error."""

    error: BaseException | None = None


class Job:
    """A coroutine that runs in a background loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, None]) -> None:
        self._loop = loop
        self._ended = threading.Event()
        self._task: asyncio.Task[None] | None = None
        self._work = work
        loop.call_soon_threadsafe(self._begin)

    def _begin(self) -> None:
        self._task = self._loop.create_task(self._work)
        self._task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            task.exception()  # retrieved, so that asyncio does not warn; the work reports it
        self._ended.set()

    def stop(self, patience_s: float = 10.0) -> None:
        """Cancel the work if it is running, and wait until it has ended."""
        if not self._ended.is_set() and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(lambda: self._task and self._task.cancel())
            self._ended.wait(patience_s)


class Background:
    """The loop and its thread; both run until `close`."""

    def __init__(self, name: str) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def start(self, work: Coroutine[Any, Any, None]) -> Job:
        """Run a coroutine until it ends or its job is stopped."""
        return Job(self.loop, work)

    def stream(
        self, work: Callable[[Callable[[T], None]], Coroutine[Any, Any, None]]
    ) -> Iterator[list[T]]:
        """Run a coroutine and yield what it puts, in groups, until it ends.

        Raises:
            CrucibleError: the loop was closed meanwhile; and whatever ends the coroutine.
        """
        inbox: SimpleQueue[T | _End] = SimpleQueue()

        async def reporting() -> None:
            end = _End()
            try:
                await work(inbox.put)
            except BaseException as error:
                end.error = error
                if isinstance(error, asyncio.CancelledError):
                    raise
            finally:
                inbox.put(end)

        job = self.start(reporting())
        try:
            while True:
                items = [inbox.get(), *(inbox.get() for _ in range(inbox.qsize()))]
                if arrived := [item for item in items if not isinstance(item, _End)]:
                    yield arrived
                if isinstance(end := items[-1], _End):
                    if isinstance(end.error, asyncio.CancelledError):
                        raise CrucibleError(
                            f"{self._thread.name}: their client was closed meanwhile"
                        )
                    if end.error is not None:
                        raise end.error
                    return
        finally:
            job.stop()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine and wait for its result."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()

    def close(self) -> None:
        """Cancel all running coroutines and end the thread."""
        if self.loop.is_closed():
            return
        self.call(_cancel_others())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


async def _cancel_others() -> None:
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    loop = asyncio.get_running_loop()
    await loop.shutdown_asyncgens()
    await loop.shutdown_default_executor()
