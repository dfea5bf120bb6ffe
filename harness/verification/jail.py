"""The jail: a script that runs untrusted code and its tests without network and within limits.

Linux only. The script (`python -S -s -P jail.py`) uses the standard library only, so that the
process from which untrusted code is forked contains no thread, library or secret of the caller.
Argument: JSON {"caller", "isolation", "root", "paths", "limits"}; input: {"code", "tests"};
output: {"passed", ...}.

The *supervisor* has the tests, the clock and the result. *init* is the first process of a PID
namespace; when it ends, the kernel ends every process in the namespace, daemons too. The *runner*
executes the code. Without namespaces the supervisor forks the runner directly, and the runner may
not start processes or threads.

What a pass proves: after each test the runner must send back a random number that was drawn after
the code was loaded and that it reads only when the test has returned. Code that exits early or
writes to the runner's pipe does not know it. Tests see the built-in names as they were before the
code ran. Code that changes other modules at run time, or reads the runner's frames or pipes, can
still cheat; `screening` rejects only open attempts.
"""

from __future__ import annotations

import builtins
import io
import json
import os
import resource
import select
import signal
import sys
import types
from collections.abc import Iterator
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, os.path.abspath(__file__).rsplit("/", 3)[0])

from harness.verification.confinement import build_root, confine, enter_namespaces, hide, tie
from harness.verification.screening import objection

if __name__ == "__main__":
    sys.path.pop(0)


class Stop(Exception):
    """Ends the run; the arguments are a key and a value of the result."""


def supervise() -> dict[str, Any]:
    """Fork init or the runner, send code and tests, and return the result."""
    tie()
    request = {**json.loads(sys.argv[1]), "user": 1_000_000_000 + os.getpid()}
    if os.getppid() != request["caller"]:  # it ended before this process was tied to it
        raise SystemExit
    sys.path += request["paths"][1:]
    apart = request["isolation"] == "namespaces"
    questions, answers, output = os.pipe(), os.pipe(), os.pipe()
    if apart:
        enter_namespaces()
    else:
        hide()
    child = os.fork()
    if child == 0:
        inside(request, apart, (questions[0], answers[1], output[1]))
    for descriptor in (questions[0], answers[1], output[1]):
        os.close(descriptor)
    result: dict[str, Any] = {"passed": 0}

    def expire(*_: object) -> None:
        result.setdefault("stopped", "wall time")
        os.kill(child, signal.SIGKILL)

    signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, request["limits"]["wall_s"])
    try:
        lines = listen(child, request["limits"], answers[0], output[0])
        ask(json.load(sys.stdin), lines, questions[1], result)
    except (Stop, BrokenPipeError) as stop:
        kind, text = stop.args if isinstance(stop, Stop) else ("stopped", "ended early")
        result.setdefault(kind, text)
    if result.get("stopped") != "ended early":
        os.kill(child, signal.SIGKILL)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    signal.setitimer(signal.ITIMER_REAL, 0)
    if result.get("stopped") == "ended early" and abs(ended) % 128 == signal.SIGXCPU:
        result["stopped"] = "CPU time"
    return result


def ask(
    given: dict[str, Any], lines: Iterator[str], questions: int, result: dict[str, Any]
) -> None:
    """Send the code, then one test at a time, and count in `result` the tests that pass.

    Raises:
        Stop: the code is rejected, does not load, or a reply is forged.
    """

    def send(text: str) -> str:
        os.write(questions, text.encode(errors="replace").hex().encode() + b"\n")
        return text

    if reason := objection(given["code"]):
        raise Stop("objection", reason)
    if (line := next(lines)) != "ready":  # no untrusted code has run yet
        raise Stop("setup", line)
    send(given["code"])
    if (line := next(lines)) != "loaded":
        raise Stop("reason", line)
    for test in given["tests"]:
        send(test)
        expected = send(os.urandom(16).hex())
        number, _, text = next(lines).partition(" ")
        if number != expected:
            raise Stop("stopped", "forged")
        result["passed"] += text == "passed"
        if text != "passed":
            result.setdefault("reason", text)


def listen(child: int, limits: dict[str, Any], answers: int, output: int) -> Iterator[str]:
    """Yield the runner's lines.

    Raises:
        Stop: the limit of output or memory is exceeded, or the runner has ended.
    """
    listening, written, buffer = [answers, output], 0, b""
    while True:
        ready = select.select(listening, [], [], 0.02)[0]
        if output in ready:
            part = os.read(output, 1 << 16)
            written += len(part)
            if not part:
                listening.remove(output)
        if answers in ready:
            part = os.read(answers, 1 << 12)
            if not part:
                raise Stop("stopped", "ended early")
            *lines, buffer = (buffer + part).split(b"\n")
            yield from (line.decode(errors="replace") for line in lines)
        if written > limits["output_kb"] << 10:
            raise Stop("stopped", "output")
        if memory_of(child) > limits["memory_mb"] << 20:
            raise Stop("stopped", "memory")


def memory_of(process: int | str) -> int:
    """Private resident bytes of a process and all its descendants."""
    try:
        with open(f"/proc/{process}/statm") as stream:
            _, resident, shared = map(int, stream.read().split()[:3])
        below: list[str] = []
        for thread in os.listdir(f"/proc/{process}/task"):
            with open(f"/proc/{process}/task/{thread}/children") as stream:
                below += stream.read().split()
    except OSError:
        return 0
    return (resident - shared) * resource.getpagesize() + sum(map(memory_of, below))


def inside(request: dict[str, Any], apart: bool, pipes: tuple[int, int, int]) -> None:
    """Run as init and fork the runner, or run as the runner; never returns."""
    try:
        tie()
        if apart:
            build_root(request["root"], request["limits"], request["paths"])
        else:
            os.chdir(request["root"])
        if apart and (runner := os.fork()):
            os.closerange(0, 1024)
            while (ended := os.wait())[0] != runner:
                pass
            code = os.waitstatus_to_exitcode(ended[1])
            os._exit(code if code >= 0 else 128 - code)
        confine(request, apart, pipes)
        os.write(pipes[1], b"ready\n")
        run(pipes[0], pipes[1])
    except BaseException as error:
        os.write(pipes[1], f"{type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(0)


def run(questions: int, answers: int) -> None:
    """Load the code, then run each test received (the runner).

    All functions used after loading are bound to local names before it, because the code may
    replace them. Input is not buffered, so the code cannot find tests or numbers in memory.
    """
    get, unhex, text = io.FileIO(questions).readline, bytes.fromhex, bytes.decode
    write, leave, line_of = os.write, os._exit, describe
    module = types.ModuleType("candidate")
    sys.modules["candidate"] = sys.modules["__main__"] = module
    sys.argv = ["candidate.py"]
    plain = dict(vars(builtins))
    try:
        exec(compile(unhex(text(get())), "candidate.py", "exec"), vars(module))
    except BaseException as error:
        write(answers, line_of(error) + b"\n")
        leave(0)
    scope = {**vars(module), "__builtins__": plain, "__name__": "tests"}
    write(answers, b"loaded\n")
    while source := get():
        try:
            exec(compile(unhex(text(source)), "tests.py", "exec"), scope)
            outcome = b"passed"
        except BaseException as error:
            outcome = line_of(error)
        write(answers, unhex(text(get())) + b" " + outcome + b"\n")
    leave(0)


def describe(error: BaseException, encode: Any = str.encode, replace: Any = str.replace) -> bytes:
    """One line that describes an exception; its methods are untrusted and may raise."""
    try:
        text = f"raised {type(error).__name__}: {error}"
    except BaseException:
        text = "raised an exception that cannot be shown"
    line: bytes = encode(replace(text, "\n", " "), "utf-8", "replace")
    return line[:300]


if __name__ == "__main__":
    try:
        outcome = supervise()
    except BaseException as error:
        outcome = {"setup": f"{type(error).__name__}: {error}"}
    os.write(1, json.dumps(outcome).encode())
