"""An answer and its tests in two forks of this process, without a jail, for code of our own."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import Any

from harness.verification.answer import serve_answer
from harness.verification.scripts import joined
from harness.verification.tester import run_tests


def messages(code: str, tests: tuple[str, ...], entry: str = "") -> list[list[Any]]:
    """What the tester tells the supervisor: ["ready"], ["loaded"], ["verdict", ...], ["done"]."""
    down, up, given, told = os.pipe(), os.pipe(), os.pipe(), os.pipe()
    children = []
    for work in (answer, tester):
        if (child := os.fork()) == 0:
            work(down, up, given, told)
        children.append(child)
    for descriptor in (*down, *up, given[0], told[1]):
        os.close(descriptor)
    scripts = [script.text for script in joined(tests)]
    request = {"code": code, "tests": scripts, "entry_point": entry}
    with open(given[1], "wb") as stream:
        stream.write(json.dumps(request).encode() + b"\n")
    with open(told[0], "rb") as stream:
        found = [json.loads(line) for line in stream]
    for child in children:
        os.waitpid(child, 0)
    return found


def verdicts(code: str, tests: tuple[str, ...], entry: str = "") -> list[str]:
    """ "passed" or a reason for each script, or the message that ended the tests."""
    first, *rest = messages(code, tests, entry)
    assert first == ["ready"]
    found = [words[0] for kind, *words in rest if kind == "verdict"]
    return found if rest[-1] == ["done"] else [*found, " ".join(rest[-1])]


def answer(down: Any, up: Any, given: Any, told: Any) -> None:
    silent = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(silent, number)
    for descriptor in {*range(3, 256)} - {down[0], up[1]}:  # an answer may write to any
        with suppress(OSError):
            os.close(descriptor)
    try:
        os.write(up[1], b'["ready"]\n')
        serve_answer(down[0], up[1])
    finally:
        os._exit(0)


def tester(down: Any, up: Any, given: Any, told: Any) -> None:
    silent = os.open(os.devnull, os.O_RDWR)
    os.dup2(silent, 0)
    for descriptor in (down[0], up[1], given[1], told[0]):
        os.close(descriptor)
    try:
        run_tests(given[0], told[1], up[0], down[1])
    finally:
        os._exit(1)
