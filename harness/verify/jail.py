"""The jail: runs somebody's code and its tests, with no network and within limits (Linux).

A script (`python -S -s -P jail.py`) of the standard library, so that no thread, library or secret
of the caller is in the process that untrusted code is forked from. Frames (4 bytes of length, then
the content) come in on standard input, one JSON object goes out:

    {"isolation", "code", "root", "paths", "limits"} and ["test", ...]  ->  {"passed", ...}

The *supervisor* holds the tests, the clock and the result; *init* is the first process of a PID
namespace, whose end ends everything in it, daemons too; the *runner* is the code. Without
namespaces the supervisor forks the runner itself, which may then start no process or thread.

What a pass proves: each test reaches the runner with a number drawn after the code was loaded,
which the runner reads when the test has returned and sends back. Code that quits early or replaces
what tests call cannot know it. Code written against this very file could read the runner's frames
or pipes; `screening` refuses the names that takes where they are spelt out, and no more.
"""

from __future__ import annotations

import builtins
import json
import os
import resource
import secrets
import select
import signal
import sys
import types
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, os.path.abspath(__file__).rsplit("/", 3)[0])

from harness.verify.confinement import build_root, confine, enter_namespaces, hide, tie
from harness.verify.screening import objection

if __name__ == "__main__":
    sys.path.pop(0)


class Stop(Exception):
    """The run ends here; the argument says why."""


def read_exact(descriptor: int, size: int, read: Any = os.read) -> bytes:
    """`size` bytes; fewer where the other end closed."""
    found = b""
    while len(found) < size and (part := read(descriptor, size - len(found))):
        found += part
    return found


def receive(descriptor: int, read: Any = read_exact, number: Any = int.from_bytes) -> bytes:
    """The content of one frame, b"" at the end."""
    content: bytes = read(descriptor, number(read(descriptor, 4), "big"))
    return content


def frame(content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + content


def supervise() -> dict[str, Any]:
    """Read the request, run it, and tell what became of it."""
    tie()
    request = {**json.loads(receive(0)), "user": 1_000_000_000 + os.getpid()}
    sys.path += request["paths"][1:]
    limits, apart = request["limits"], request["isolation"] == "namespaces"
    if reason := objection(request["code"]):
        return {"objection": reason}
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
    tests = json.loads(receive(0))  # only now: the fork must not have them
    state: dict[str, Any] = {"ready": False, "passed": 0, "reason": ""}

    def expire(*_: object) -> None:
        state.setdefault("stopped", "wall time")
        os.kill(child, signal.SIGKILL)

    signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, limits["wall_s"])
    try:
        watch(child, limits, tests, state, (questions[1], answers[0], output[0]))
    except (Stop, BrokenPipeError) as stop:
        state.setdefault("stopped", str(stop) if isinstance(stop, Stop) else "ended early")
    if state.get("stopped") != "ended early":
        os.kill(child, signal.SIGKILL)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    signal.setitimer(signal.ITIMER_REAL, 0)
    if state.get("stopped") == "ended early" and abs(ended) % 128 == signal.SIGXCPU:
        state["stopped"] = "CPU time"
    return state


def inside(request: dict[str, Any], apart: bool, pipes: tuple[int, int, int]) -> None:
    """Init, or the runner itself; does not return."""
    try:
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
        run(request["code"], pipes[0], pipes[1])
    except BaseException as error:
        os.write(pipes[1], f"setup {type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(0)


def watch(
    child: int,
    limits: dict[str, Any],
    tests: list[str],
    state: dict[str, Any],
    pipes: tuple[int, int, int],
) -> None:
    """Send the tests one by one and check what comes back, until the last one or a limit."""
    questions, answers, output = pipes
    listening, written, buffer, expected = [answers, output], 0, b"", "ready"
    while True:
        ready = select.select(listening, [], [], 0.02)[0]
        if output in ready:
            part = os.read(output, 1 << 16)
            written += len(part)
            if not part:
                listening.remove(output)
            if written > limits["output_kb"] << 10:
                raise Stop("output")
        if answers in ready:
            part = os.read(answers, 1 << 12)
            buffer += part
            if not part:
                raise Stop("ended early")
            while b"\n" in buffer:
                line, buffer = buffer.split(b"\n", 1)
                expected = step(line.decode(errors="replace"), expected, state)
                if expected == "next":
                    if not tests:
                        return
                    expected = secrets.token_hex(16)
                    os.write(
                        questions,
                        frame(tests.pop(0).encode(errors="replace")) + frame(expected.encode()),
                    )
        if memory_of(child) > limits["memory_mb"] << 20:
            raise Stop("memory")


def step(line: str, expected: str, state: dict[str, Any]) -> str:
    """What to expect after a line of the runner: "loaded", or "next" for another test."""
    word, _, text = line.partition(" ")
    if not state["ready"]:
        if word != "ready":
            state["setup"] = text
            raise Stop("setup")
        state["ready"] = True
        return "loaded"
    if word == "failed" and expected == "loaded":
        state["reason"] = text
        raise Stop("not loaded")
    if word != expected:
        raise Stop("forged")
    if expected != "loaded":
        state["passed"] += text == "passed"
        state["reason"] = state["reason"] or text.removeprefix("passed")
    return "next"


def memory_of(process: int | str) -> int:
    """Private bytes in memory of a process and all below it."""
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


def run(code: str, questions: int, answers: int) -> None:
    """The runner: load the code, then run each test that arrives.

    Whatever is used after the code was loaded is bound before.
    """
    write, leave, get, told = os.write, os._exit, receive, describe
    module = types.ModuleType("candidate")
    sys.modules["candidate"] = sys.modules["__main__"] = module
    sys.argv = ["candidate.py"]
    plain = dict(vars(builtins))
    try:
        exec(compile(code, "candidate.py", "exec"), vars(module))
    except BaseException as error:
        write(answers, b"failed " + told(error) + b"\n")
        leave(0)
    scope = {**vars(module), "__builtins__": plain, "__name__": "tests"}
    write(answers, b"loaded\n")
    while source := get(questions):
        try:
            exec(compile(source, "tests.py", "exec"), scope)
            outcome = b" passed\n"
        except BaseException as error:
            outcome = b" " + told(error) + b"\n"
        write(answers, get(questions) + outcome)
    leave(0)


def describe(error: BaseException, encode: Any = str.encode, replace: Any = str.replace) -> bytes:
    """One line about an exception, whose own methods may do anything."""
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
