"""The oracle as an HTTP server with OpenAI's chat-completion API and scripted faults.

    with NanoServer(faults=FaultScript(faults=(fault("429=0.05"),))) as server:
        ...                        # requests to server.url
    server.counts()["ok"]

For trying out and testing code that calls hosted models, without a hosted model. The server binds
to the loopback interface by default, reads and serves no files, does not stream, and logs digests
and outcomes, never texts or keys. Unlike the judge `nano:oracle` it grades questions outside the
nano world by length, so that any suite can be run against it; such grades are meaningless.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
from pathlib import Path
from types import TracebackType
from typing import TextIO

from harness.backends.base import Backend
from harness.core.errors import EnvironmentProblem, MissingExtra, UserError
from harness.judging.published_frames import parse_published_frame
from harness.nano import chat_format, world
from harness.nano.endpoints import Endpoints, Entry, RequestLog
from harness.nano.faults import FaultScript
from harness.nano.oracle import OracleBackend, OracleSettings

try:
    from aiohttp import web
except ImportError:
    raise MissingExtra("aiohttp", "api") from None

_LOGGER = logging.getLogger(__name__)
DEFAULTS = OracleSettings(unknown="generic")
_BACKLOG = 1024  # pending connections
_SHUTDOWN_S = 2.0  # time for unfinished replies


class NanoServer:
    """HTTP server of the oracle in a separate thread; a context manager that can be used once.

    Args:
        settings: settings of the oracle; by default unknown questions are graded by length.
        faults: scripted faults and rate limits.
        port: port to bind; 0 chooses a free one.
        key: bearer token that clients must send; None requires none.
        model: the only model served; "*" for any.
        log: file to which a JSON line is appended for each chat request.
        backend: what answers instead of the oracle, such as another judge of the nano world.

    Raises:
        UserError: the log cannot be written.
    """

    def __init__(
        self,
        settings: OracleSettings | None = None,
        faults: FaultScript | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        key: str | None = None,
        model: str = chat_format.MODEL,
        log: Path | None = None,
        backend: Backend | None = None,
    ) -> None:
        self.settings = settings or DEFAULTS
        self._backend = backend
        self.faults = faults or FaultScript()
        self.host, self.port = host, port
        self._model, self._key = model, key
        self._file = _append(log)
        self._log = RequestLog(self._file)
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._problem: Exception | None = None

    @property
    def url(self) -> str:
        """Base URL for clients."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/v1"

    @property
    def entries(self) -> list[Entry]:
        """Log of chat requests, in the order of completion."""
        return list(self._log.entries)

    def counts(self) -> dict[str, int]:
        """Counts as in `RequestLog.counts` and GET /nano/log."""
        return self._log.counts()

    def start(self) -> NanoServer:
        """Bind the address and serve; returns when the server accepts requests.

        Raises:
            UserError: the address cannot be bound.
            EnvironmentProblem: the server fails to start.
        """
        bound = _bind(self.host, self.port)
        self.port = bound.getsockname()[1]
        ready = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(bound, ready), name="nano-server", daemon=True
        )
        self._thread.start()
        ready.wait()
        if self._problem is not None:
            raise EnvironmentProblem(f"the nano server did not start: {self._problem}")
        return self

    def wait(self) -> None:
        """Block until the server has stopped; a signal interrupts the wait.

        Raises:
            EnvironmentProblem: the server failed.
        """
        if self._thread is not None:
            self._thread.join()
        if self._problem is not None:
            raise EnvironmentProblem(f"the nano server failed: {self._problem}")

    def stop(self) -> None:
        """Finish running replies, close hanging connections and free the port; idempotent."""
        if self._thread is not None and self._loop is not None and self._stopping is not None:
            with contextlib.suppress(RuntimeError):  # the loop has closed already
                self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join()
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> NanoServer:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _run(self, bound: socket.socket, ready: threading.Event) -> None:
        try:
            asyncio.run(self._serve(bound, ready))
        except Exception as error:
            self._problem = error
            _LOGGER.debug("the nano server failed", exc_info=True)
        finally:
            bound.close()
            ready.set()

    async def _serve(self, bound: socket.socket, ready: threading.Event) -> None:
        # Build the world and read the templates now, not at the first request.
        world.find("")
        parse_published_frame([])
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        endpoints = Endpoints(
            self._backend or OracleBackend(self.settings),
            self.faults,
            self._log,
            model=self._model,
            key=self._key,
            stopping=self._stopping,
        )
        runner = web.AppRunner(
            endpoints.application(),
            access_log=None,
            handler_cancellation=True,
            shutdown_timeout=_SHUTDOWN_S,
        )
        await runner.setup()
        try:
            await web.SockSite(runner, bound, backlog=_BACKLOG).start()
            ready.set()
            await self._stopping.wait()
        finally:
            await runner.cleanup()


def _bind(host: str, port: int) -> socket.socket:
    """Listening socket bound to the address.

    Raises:
        UserError: the address cannot be used.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise UserError(
            f'cannot listen on "{host}": {error.strerror}; use --host 127.0.0.1'
        ) from None
    bound = socket.socket(family, kind, protocol)
    # Allows reuse of a port whose last connections are still closing.
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(address)
        # Listen at once: two sockets can bind the same port, but only one can listen.
        bound.listen(_BACKLOG)
    except OSError as error:
        bound.close()
        raise UserError(
            f"cannot listen on {host} port {port}: {error.strerror}; give another port, or any "
            "free one with --port 0"
        ) from None
    return bound


def _append(path: Path | None) -> TextIO | None:
    if path is None:
        return None
    try:
        return path.open("a", encoding="utf-8", buffering=1)
    except OSError as error:
        raise UserError(f"cannot write the log {path}: {error.strerror}") from None
