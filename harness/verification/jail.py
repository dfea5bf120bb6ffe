"""The jail: a script that runs tests against untrusted code without network and within limits.

Linux only. The script (`python -S -s -P jail.py`) uses the standard library only, so that the
process from which untrusted code is forked contains no thread, library or secret of the caller.
Argument: JSON {"caller", "isolation", "temporary", "paths", "limits"}; input: {"code", "tests",
"entry_point"}; output: {"passed", ...}.

The *supervisor* has the clock and the result. *init* is the first process of a PID namespace; when
it ends, the kernel ends every process in the namespace, daemons too. Without namespaces it is an
ordinary process, and the two below may not start processes or threads. *tester* (`tester`) runs the
tests and forms the verdict; *answer* (`answer`) runs the code and gives the tester the values that
it asks for. Only the tester can speak to the supervisor, and no code of the answer runs in it.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, os.path.abspath(__file__).rsplit("/", 3)[0])

from harness.verification.answer import serve_answer
from harness.verification.confinement import build_root, confine, enter_namespaces, hide, tie
from harness.verification.memory import Meter
from harness.verification.screening import objection
from harness.verification.tester import LOST, run_tests

if __name__ == "__main__":
    sys.path.pop(0)

LOOK = 0.1  # seconds between looks at the folder of an answer


class Stop(Exception):
    """Ends the run; the arguments are a key and a value of the result."""


class Run:
    """One run of a jail, seen from the supervisor.

    Args:
        request: what the caller asks for.
    """

    def __init__(self, request: dict[str, Any]) -> None:
        self.request, self.limits = request, request["limits"]
        self.apart = request["isolation"] == "namespaces"
        self.result: dict[str, Any] = {"passed": 0}
        self.child = 0
        self.ended: int | None = None
        self.meter: Meter | None = None
        self.folder = ""

    def start(self) -> tuple[int, int, int]:
        """Fork init; returns descriptors: requests (write), verdicts (read), output (read)."""
        requests, verdicts, output, go = os.pipe(), os.pipe(), os.pipe(), os.pipe()
        if self.apart:
            enter_namespaces()
        else:
            hide()
            self.folder = f"{self.request['temporary']}/jail-{os.getpid()}-{os.urandom(8).hex()}"
            os.mkdir(self.folder, 0o700)
        self.request["root"] = self.folder
        self.child = os.fork()
        if self.child == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.close(go[1])
            os.read(go[0], 1)
            be_init(self.request, self.apart, (requests[0], verdicts[1], output[1]))
        self.meter = Meter(self.limits["memory_mb"] << 20, self.child)
        for descriptor in (requests[0], verdicts[1], output[1], go[0], go[1]):
            os.close(descriptor)
        return requests[1], verdicts[0], output[0]

    def expire(self, *_: object) -> None:
        self.result.setdefault("stopped", "wall time")
        self.kill()

    def kill(self) -> None:
        if self.child and self.ended is None:
            os.kill(self.child, signal.SIGKILL)

    def close(self, *_: object) -> None:
        """Stop all processes and remove what the run has left."""
        if self.child and self.ended is None:
            if self.result.get("stopped") != "ended early":
                self.kill()
            self.ended = os.waitstatus_to_exitcode(os.waitpid(self.child, 0)[1])
        if self.meter is not None:
            killed = self.meter.group is not None and self.meter.exceeded()
            if killed and "stopped" in self.result:
                self.result["stopped"] = "memory"
            self.meter.close()
        if self.folder:
            remove(self.folder)

    def orphaned(self, *_: object) -> None:
        """The caller has ended: leave nothing."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self.kill()
        self.close()
        os._exit(1)


def remove(folder: str) -> None:
    """Remove a folder with all that is in it, also what an answer has made unreadable."""
    os.chmod(folder, 0o700)
    with os.scandir(folder) as entries:
        for entry in list(entries):
            if entry.is_dir(follow_symlinks=False):
                remove(entry.path)
            else:
                os.remove(entry.path)
    os.rmdir(folder)


def supervise() -> dict[str, Any]:
    """Start the processes, send code and tests, and return the result."""
    request = {**json.loads(sys.argv[1]), "user": 1_000_000_000 + os.getpid()}
    run = Run(request)
    signal.signal(signal.SIGTERM, run.orphaned)
    tie(signal.SIGTERM)
    if os.getppid() != request["caller"]:  # it ended before this process was tied to it
        raise SystemExit
    sys.path += request["paths"][1:]
    try:
        requests, verdicts, output = run.start()
        given = json.load(sys.stdin)  # after the fork, so that the answer's memory has no test
        if reason := objection(given["code"]):
            raise Stop("objection", reason)
        signal.signal(signal.SIGALRM, run.expire)
        signal.setitimer(signal.ITIMER_REAL, request["limits"]["wall_s"])
        read_verdicts(run, given, listen(run, verdicts, output), requests)
    except (Stop, BrokenPipeError) as stop:
        kind, text = stop.args if isinstance(stop, Stop) else ("stopped", "ended early")
        run.result.setdefault(kind, text)
    finally:
        run.close()
        signal.setitimer(signal.ITIMER_REAL, 0)
    ended = abs(run.ended or 0) % 128
    if run.result.get("stopped") == "ended early" and ended == signal.SIGXCPU:
        run.result["stopped"] = "CPU time"
    return run.result


def read_verdicts(
    run: Run, given: dict[str, Any], lines: Iterator[list[str]], requests: int
) -> None:
    """Send code and tests, and count in the result the tests that pass.

    Raises:
        Stop: the code does not load, or the tester ends before the tests do.
    """
    kind, *words = next(lines)
    if kind != "ready":  # no untrusted code has run yet
        raise Stop("setup", words[0])
    data = memoryview(json.dumps(given).encode() + b"\n")
    while data:
        data = data[os.write(requests, data) :]
    weights = iter(given["weights"])
    for kind, *words in lines:
        if kind == "setup":
            raise Stop("setup", words[0])
        if kind == "not loaded":
            raise Stop("reason", words[0])
        if kind == "forged":
            raise Stop("stopped", "forged")
        if kind == "done":
            return
        if kind == "verdict":
            run.result["passed"] += (words[0] == "passed") * next(weights)
            if words[0] != "passed":
                run.result.setdefault("reason", words[0])


def listen(run: Run, verdicts: int, output: int) -> Iterator[list[str]]:
    """Yield the tester's messages.

    Raises:
        Stop: a limit is exceeded, or the tester has ended.
    """
    listening, written, buffer, looked = [verdicts, output], 0, b"", time.monotonic()
    assert run.meter is not None
    while True:
        ready = select.select(listening, [], [], run.meter.pause())[0]
        if output in ready:
            part = os.read(output, 1 << 16)
            written += len(part)
            if not part:
                listening.remove(output)
        if verdicts in ready:
            part = os.read(verdicts, 1 << 12)
            if not part:
                raise Stop("stopped", "ended early")
            *lines, buffer = (buffer + part).split(b"\n")
            yield from (json.loads(line) for line in lines)
        if written > run.limits["output_kb"] << 10:
            raise Stop("stopped", "output")
        if run.meter.exceeded():
            raise Stop("stopped", "memory")
        if run.folder and time.monotonic() > looked + LOOK:
            looked = time.monotonic()
            if not holds(run.folder, run.limits["files"], run.limits["file_mb"] << 20):
                raise Stop("stopped", "files")


def holds(folder: str, files: int, size: int) -> bool:
    """Whether a folder keeps limits of number and total size of its files."""
    number = total = 0
    for place, folders, names in os.walk(folder):
        number += len(folders) + len(names)
        for name in names:
            with suppress(OSError):
                total += os.lstat(f"{place}/{name}").st_blocks * 512
        if number > files or total > size:
            return False
    return True


def be_init(request: dict[str, Any], apart: bool, pipes: tuple[int, int, int]) -> None:
    """Build the root, fork tester and answer, and wait for the tester; never returns."""
    requests, verdicts, output = pipes
    try:
        tie()
        os.setsid()  # kill(0) must not reach the supervisor
        if apart:
            build_root(request["limits"], request["paths"])
        else:
            os.chdir(request["root"])
            os.environ.update(HOME=request["root"], TMPDIR=request["root"])
        down, up = os.pipe(), os.pipe()
        if (tester := os.fork()) == 0:
            be_tester(request, apart, (requests, verdicts, up[0], down[1]), output)
        if (answer := os.fork()) == 0:
            be_answer(request, apart, (down[0], up[1]), output)
        os.closerange(0, 1024)
        os._exit(wait_for(tester, answer))
    except BaseException as error:
        words = ["setup", f"{type(error).__name__}: {error}"]
        os.write(verdicts, json.dumps(words).encode() + b"\n")
    finally:
        os._exit(0)


def wait_for(tester: int, answer: int) -> int:
    """Exit code of the tester, or that of an answer whose CPU time is used up."""
    codes: dict[int, int] = {}
    while tester not in codes:
        process, status = os.wait()
        codes[process] = os.waitstatus_to_exitcode(status)
    for _ in range(100 if codes[tester] == LOST else 0):  # the answer is about to end
        with suppress(ChildProcessError):
            process, status = os.waitpid(answer, os.WNOHANG)
            if process:
                codes[answer] = os.waitstatus_to_exitcode(status)
        if answer in codes:
            break
        time.sleep(0.005)
    used_up = codes.get(answer) == -signal.SIGXCPU
    code = -signal.SIGXCPU if used_up else codes[tester]
    return code if code >= 0 else 128 - code


def be_tester(
    request: dict[str, Any], apart: bool, pipes: tuple[int, int, int, int], output: int
) -> None:
    """Confine this process and run the tests; never returns."""
    try:
        confine(request, apart, pipes, output)
        run_tests(*pipes)
    except BaseException as error:
        words = ["setup", f"{type(error).__name__}: {error}"]
        os.write(pipes[1], json.dumps(words).encode() + b"\n")
    finally:
        os._exit(0)


def be_answer(request: dict[str, Any], apart: bool, pipes: tuple[int, int], output: int) -> None:
    """Confine this process, say so, and run the code; never returns."""
    try:
        confine(request, apart, pipes, output, measured=True)
        os.write(pipes[1], b'["ready"]\n')
        serve_answer(*pipes)
    except BaseException as error:
        words = ["setup", f"{type(error).__name__}: {error}"]
        os.write(pipes[1], json.dumps(words).encode() + b"\n")
    finally:
        os._exit(0)


if __name__ == "__main__":
    sys.set_int_max_str_digits(0)  # numbers of any length cross between the processes as text
    try:
        outcome = supervise()
    except Exception as error:
        outcome = {"setup": f"{type(error).__name__}: {error}"}
    os.write(1, json.dumps(outcome).encode())
