"""A server as a child process, which is watched until it is ready.

with ChildProcess(command, environment, log) as server:
    wait_until_ready(server, lambda: answers(port), timeout_s=600)
"""

from __future__ import annotations

import time
from collections.abc import Callable

from harness.core.errors import EnvironmentProblem
from harness.engine.children import ChildProcess


def wait_until_ready(
    server: ChildProcess, ready: Callable[[], bool], timeout_s: float, what: str = "the server"
) -> None:
    """Call `ready` repeatedly until it returns true.

    Raises:
        EnvironmentProblem: the server ended, or was not ready in time; with the end of its log.
    """
    start = time.monotonic()
    pause_s = 0.05
    while True:
        if server.exit_code is not None:
            raise EnvironmentProblem(
                f"{what} ended while starting, with exit code {server.exit_code}; "
                f"{server.log_note()}"
            )
        if ready():
            return
        if time.monotonic() - start > timeout_s:
            raise EnvironmentProblem(
                f"{what} was not ready within {timeout_s:g} s; {server.log_note()}"
            )
        time.sleep(pause_s)
        pause_s = min(0.5, pause_s * 1.3)


def ended(server: ChildProcess, what: str = "the server") -> EnvironmentProblem:
    """The error for a server that ended while it was in use."""
    return EnvironmentProblem(
        f"{what} ended with exit code {server.exit_code} while it was answering; "
        f"{server.log_note()}"
    )
