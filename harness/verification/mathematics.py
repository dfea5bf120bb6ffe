"""Check mathematical answers against a gold answer with math-verify, with a time limit each."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import threading
from importlib.util import find_spec
from pathlib import Path

from harness.core.errors import EnvironmentProblem, MissingExtra
from harness.core.records import Record
from harness.verification.answer_forms import plain_form
from harness.verification.equal_answers import equal_answers

CHILD = Path(__file__).with_name("equivalence.py")
NO_VERDICT = "no verdict within"
MOST_EXPRESSIONS = 200  # compared by computer algebra for one answer
START_S = 120.0  # seconds; importing sympy is slow on a busy machine


class MathCheck(Record):
    """Result of one comparison; `correct` is None if an answer is not parsable or on a timeout."""

    correct: bool | None
    reason: str = ""


class MathChecker:
    """Compare answers in child processes, one per calling thread; a context manager.

    Args:
        timeout_s: seconds per check; a child that takes longer is replaced.
        memory_mb: address space of a child.

    Raises:
        MissingExtra: math-verify is not installed.
    """

    def __init__(self, timeout_s: float = 5.0, memory_mb: int = 2048) -> None:
        if find_spec("math_verify") is None:
            raise MissingExtra("math-verify", "verify")
        self.timeout_s, self.memory_mb = timeout_s, memory_mb
        self._own = threading.local()
        self._children: set[subprocess.Popen[str]] = set()

    def check(self, gold: str, response: str) -> MathCheck:
        """Compare the last answer in a response with the gold answer.

        Raises:
            EnvironmentProblem: the child process does not start.
        """
        return self._asked([gold, response])

    def check_answer(self, gold: str, answer: str | None) -> MathCheck:
        """Compare a final answer with the gold answer, see `harness.verification.equal_answers`.

        A missing answer is wrong. Raises as `check`.
        """
        if answer is None or not plain_form(answer):
            return MathCheck(correct=False, reason="no final answer")
        reasons: list[str] = []

        def same(one: str, other: str) -> bool | None:
            late = reasons and reasons[-1].startswith(NO_VERDICT)
            if late or len(reasons) >= MOST_EXPRESSIONS:
                return None  # one answer with many hard elements must not take hours
            found = self._asked([one, other, "same"])
            reasons.append(found.reason)
            return found.correct

        right = equal_answers(gold, answer, same)
        reason = "" if right else next(filter(None, reasons), f"found {answer[:80]}")
        return MathCheck(correct=right, reason=reason)

    def _asked(self, question: list[str]) -> MathCheck:
        child = self._child()
        assert child.stdin
        assert child.stdout
        try:
            child.stdin.write(json.dumps(question) + "\n")
            child.stdin.flush()
            late = not select.select([child.stdout], [], [], self.timeout_s)[0]
            line = "" if late else child.stdout.readline()
        except BrokenPipeError:
            late, line = False, ""
        if not line:
            self._end(child)
            what = f"{NO_VERDICT} {self.timeout_s:g} s" if late else "the comparison crashed"
            return MathCheck(correct=None, reason=what)
        correct, reason = json.loads(line)
        return MathCheck(correct=correct, reason=reason)

    def _child(self) -> subprocess.Popen[str]:
        known: subprocess.Popen[str] | None = getattr(self._own, "child", None)
        if known is not None and known in self._children:
            return known
        seconds = str(int(self.timeout_s) + 10)
        child = subprocess.Popen(
            [sys.executable, "-s", "-P", str(CHILD), str(self.memory_mb), seconds],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
            env={"PATH": os.defpath, "PYTHONHASHSEED": "0", "LANG": "C.UTF-8"},
        )
        self._children.add(child)
        assert child.stdout
        started = select.select([child.stdout], [], [], START_S)[0]
        if not started or child.stdout.readline() != "ready\n":
            self._end(child)
            raise EnvironmentProblem(
                "math-verify failed to start; try: python -c 'import math_verify'"
            )
        self._own.child = child
        return child

    def _end(self, child: subprocess.Popen[str]) -> None:
        child.kill()
        child.communicate()
        self._children.discard(child)

    def close(self) -> None:
        """Kill all child processes."""
        for child in tuple(self._children):
            self._end(child)

    def __enter__(self) -> MathChecker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
