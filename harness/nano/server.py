"""The oracle as a real server: OpenAI's chat completions over HTTP, with scripted faults.

    with NanoServer(faults=FaultScript(faults=(fault("429=0.05"),))) as server:
        ...                        # requests to server.url
    server.counts()["ok"]

Meant for trying out and testing everything that calls hosted models, without one. It binds to the
loopback interface unless told otherwise, reads and serves no files, answers in one piece only (no
streaming), and keeps a log of digests and outcomes, never of texts or keys. Unlike the judge
`nano:oracle` it grades questions from outside the nano world by length, so that any suite can be
run against it; such grades mean nothing.
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
_WAITING = 1024  # connections that the system may hold for us
_LAST_REPLIES_S = 2.0


class NanoServer:
    """The oracle behind a socket, in a thread of its own; a context manager, usable once.

    Args:
        settings: of the oracle; by default it grades unknown questions by length.
        faults: what goes wrong, and the rate granted.
        port: 0 takes a free one.
        key: what clients must send as bearer token; None asks for none.
        model: the only name it answers to; "*" for any.
        log: a file to which a line of JSON is added for each chat request.
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
    ) -> None:
        self.settings = settings or DEFAULTS
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
        """What clients take as base URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/v1"

    @property
    def entries(self) -> list[Entry]:
        """The log of chat requests, in the order in which they were done with."""
        return list(self._log.entries)

    def counts(self) -> dict[str, int]:
        """See `RequestLog.counts`; the same as GET /nano/log."""
        return self._log.counts()

    def start(self) -> NanoServer:
        """Bind and serve; returns once requests are answered.

        Raises:
            UserError: the address cannot be bound.
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
        """Return when the server has stopped; a signal interrupts the wait.

        Raises:
            EnvironmentProblem: it did not stop, it failed.
        """
        if self._thread is not None:
            self._thread.join()
        if self._problem is not None:
            raise EnvironmentProblem(f"the nano server failed: {self._problem}")

    def stop(self) -> None:
        """Finish the replies under way, drop what hangs, free the port; may be called twice."""
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
        # Else the first request would wait for the world to be built and the templates to be read.
        world.find("")
        parse_published_frame([])
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        endpoints = Endpoints(
            OracleBackend(self.settings),
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
            shutdown_timeout=_LAST_REPLIES_S,
        )
        await runner.setup()
        try:
            await web.SockSite(runner, bound, backlog=_WAITING).start()
            ready.set()
            await self._stopping.wait()
        finally:
            await runner.cleanup()


def _bind(host: str, port: int) -> socket.socket:
    """A socket bound to the address.

    Raises:
        UserError: saying what to type instead.
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
    # A port whose last connections are still closing may be taken again at once.
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(address)
        # Here and not later: two sockets may bind one port, but only one of them may listen.
        bound.listen(_WAITING)
    except OSError as error:
        bound.close()
        raise UserError(
            f"cannot listen on {host} port {port}: {error.strerror}; take another port, or any "
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
