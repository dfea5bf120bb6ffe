"""A child process that never outlives this one, whatever becomes of either.

    with ChildProcess(command, environment, log) as child:
        while child.exit_code is None: ...

`warden.py` runs between this process and the child. It holds a pipe to this process and ends the
child and every process it started when the pipe closes: on `close()`, and whenever this process
ends, by `kill -9` too. The child has its own session, so that Ctrl-C in a terminal reaches this
process only. The child's output goes to a file.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from harness.core.errors import EnvironmentProblem

WARDEN = Path(__file__).with_name("warden.py")
LOOPBACK = "127.0.0.1"
TAIL_LINES = 12  # lines of the log in an error message
TAIL_BYTES = 1 << 16
HEAD_BYTES = 1 << 22

_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_ERROR = re.compile(r"^(?:.*\] )?(\w*(?:Error|Exception): .+)$", re.MULTILINE)


class ChildProcess:
    """A running child process.

    Args:
        command: program and arguments.
        environment: all environment variables of the child; secrets belong here, not in the
            command.
        log: file that its output is appended to.
        grace_s: seconds from the request to end until it is killed.

    Raises:
        EnvironmentProblem: the command cannot be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
        *,
        grace_s: float = 10.0,
    ) -> None:
        self.log = log
        self.grace_s = grace_s
        # -I and -S: the warden needs the standard library only and must not import packages.
        warden = [sys.executable, "-I", "-S", str(WARDEN), str(os.getpid()), str(grace_s)]
        try:
            with log.open("ab") as output:
                self._warden = subprocess.Popen(
                    [*warden, *command],
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=dict(environment),
                    start_new_session=True,
                )
        except OSError as error:
            raise EnvironmentProblem(f"cannot start {command[0]}: {error}") from None

    @property
    def exit_code(self) -> int | None:
        """None while the child runs."""
        return self._warden.poll()

    def log_note(self) -> str:
        """For an error message: the first error in the log, its last lines and its path."""
        error, last = first_error(self.log), tail(self.log)
        if not last:
            return f"its log {self.log} is empty"
        return (f"{error}\n" if error else "") + f"its log {self.log} ends with:\n{last}"

    def request_end(self) -> None:
        """Ask the warden to end the child; does not wait."""
        stdin = self._warden.stdin
        if stdin is not None and not stdin.closed:
            with suppress(OSError):
                stdin.close()

    def close(self) -> None:
        """End the child and wait until it and every process it started have ended."""
        self.request_end()
        try:
            self._warden.wait(self.grace_s + 15)
        except subprocess.TimeoutExpired:
            self._warden.send_signal(signal.SIGKILL)
            self._warden.wait()

    def __enter__(self) -> ChildProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def tail(log: Path, lines: int = TAIL_LINES) -> str:
    """The last non-empty lines of a text file, without terminal colours."""
    try:
        with log.open("rb") as stream:
            stream.seek(0, 2)
            stream.seek(max(0, stream.tell() - TAIL_BYTES))
            text = stream.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
    found = [line.rstrip() for line in _ANSI.sub("", text).splitlines() if line.strip()]
    return "\n".join(found[-lines:])


def first_error(log: Path) -> str:
    """The first line of a log that names a Python error: usually the cause of later ones."""
    try:
        with log.open("rb") as stream:
            text = stream.read(HEAD_BYTES).decode("utf-8", errors="replace")
    except OSError:
        return ""
    found = _ERROR.search(_ANSI.sub("", text))
    return found[1].strip() if found else ""


def free_ports(count: int) -> list[int]:
    """Different loopback ports on which no process listens now."""
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_STREAM) for _ in range(count)]
    try:
        for found in sockets:
            found.bind((LOOPBACK, 0))
        return [int(found.getsockname()[1]) for found in sockets]
    finally:
        for found in sockets:
            found.close()
