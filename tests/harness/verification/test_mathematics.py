"""Mathematical answers against gold answers, the hostile ones too."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import EnvironmentProblem, MissingExtra
from harness.verification import mathematics
from harness.verification.mathematics import MathCheck, MathChecker

# Importing it here would take as long as starting a child.
pytestmark = pytest.mark.skipif(find_spec("math_verify") is None, reason="needs math-verify")


@pytest.fixture(scope="module")
def checker() -> Iterator[MathChecker]:
    with MathChecker(timeout_s=20) as made:
        yield made
        children = set(made._children)
    assert all(child.poll() is not None for child in children)


@pytest.mark.parametrize(
    ("gold", "response", "correct"),
    [
        ("\\frac{1}{2}", "so $x = 0.5$", True),
        ("1/2", "The answer is \\boxed{\\frac{2}{4}}.", True),
        ("x^2+2x+1", "\\boxed{(x+1)^2}", True),
        ("\\{1,2\\}", "\\boxed{\\{2,1\\}}", True),
        ("$5$", "\\boxed{4}", False),
        ("12", "First 12, then \\boxed{13}.", False),
        ("3", "I do not know", None),
        ("", "\\boxed{3}", None),
        ("7", "7\n\ud800", True),
        ("10", "\\boxed{__import__('os').system('touch pwned')}", False),
    ],
)
def test_answers(checker: MathChecker, gold: str, response: str, correct: bool | None) -> None:
    found = checker.check(gold, response)
    assert found.correct is correct
    assert bool(found.reason) is (correct is not True)


def test_endless_work_has_no_verdict_and_the_next_check_has_one(
    checker: MathChecker, monkeypatch: pytest.MonkeyPatch
) -> None:
    checker.check("1", "\\boxed{1}")
    with monkeypatch.context() as patch:
        patch.setattr(checker, "timeout_s", 0.3)
        found = checker.check("7", "\\boxed{9^{9^{9^{9^9}}}}")
    assert (found.correct, found.reason) == (None, "no verdict within 0.3 s")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    assert checker.check("7", "\\boxed{7}").correct
    (child,) = checker._children
    assert b"sk-secret" not in Path(f"/proc/{child.pid}/environ").read_bytes()


def test_a_child_that_dies_is_replaced(checker: MathChecker) -> None:
    checker.check("1", "1")
    (child,) = checker._children
    child.kill()
    child.wait()
    assert checker.check("1", "1") == MathCheck(correct=None, reason="the comparison crashed")
    assert checker.check("1", "1").correct


def test_threads_do_not_mix_answers(checker: MathChecker) -> None:
    def check(number: int) -> bool | None:
        return checker.check(str(number % 3), f"\\boxed{{{number}}}").correct

    with ThreadPoolExecutor(1) as pool:
        found = pool.map(check, range(12))
        assert [check(n) for n in range(12, 24)] == [False] * 12
        assert list(found) == [n % 3 == n for n in range(12)]
    assert len(checker._children) == 2


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mathematics, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"crucible-bench\[verify\]"):
        MathChecker()


class Said(MathChecker):
    """A checker whose comparisons are written in advance; what was asked of it."""

    def __init__(self, *checks: MathCheck) -> None:
        self.checks, self.asked = list(checks), []  # type: ignore[var-annotated]

    def _asked(self, question: list[str]) -> MathCheck:
        self.asked.append(question)
        return self.checks.pop(0) if len(self.checks) > 1 else self.checks[0]


RIGHT, WRONG = MathCheck(correct=True), MathCheck(correct=False)
LATE = MathCheck(correct=None, reason="no verdict within 5 s")


def test_a_final_answer_is_compared_by_expressions() -> None:
    said = Said(RIGHT)
    assert said.check_answer("x+1", "1+x") == MathCheck(correct=True)
    assert said.asked == [["1+x", "x+1", "same"]]
    assert said.check("5", "it is 5").correct
    assert said.asked[1:] == [["5", "it is 5"]]
    long = "y+" + "z" * 99
    assert Said(WRONG).check_answer("x", long) == MathCheck(
        correct=False, reason=f"found {long[:80]}"
    )
    named = MathCheck(correct=None, reason="not an expression: y")
    assert Said(WRONG, named).check_answer("(x+1,1+x)", "(y+1,1+y)").reason == named.reason


@pytest.mark.parametrize("answer", [None, "", " $ $ ", "x" * 1001])
def test_a_missing_answer_is_wrong(answer: str | None) -> None:
    found = Said(RIGHT).check_answer("x", answer)
    assert found == MathCheck(correct=False, reason="no final answer")


def test_hard_elements_of_one_answer_are_given_up() -> None:
    said = Said(LATE)
    found = said.check_answer("a+1,b+1", "c+1,d+1")
    assert (found, len(said.asked)) == (LATE, 1)
    many = Said(WRONG)
    one, other = (", ".join(f"{name}+{n}" for n in range(20)) for name in "xy")
    assert many.check_answer(one, other).correct is False  # the first fits none: 20 questions
    assert len(many.asked) == 20
    one, other = (f"\\{{{part}\\}}" for part in (one, other))
    assert many.check_answer(one, other).correct is None
    assert len(many.asked) == 20 + mathematics.MOST_EXPRESSIONS == 220


def test_a_child_is_confined_and_knows_its_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []
    read, write = os.pipe()

    class Child:
        stdin: Any = None
        stdout = os.fdopen(read)

        def __init__(self, command: list[str], **options: Any) -> None:
            started.append((command, options))

        def kill(self) -> None:
            started.append("killed")

        def communicate(self) -> None:
            started.append("waited")

    monkeypatch.setattr(mathematics.subprocess, "Popen", Child)
    os.write(write, b"ready\n")
    checker = MathChecker(7.9, 300)
    child = checker._child()
    assert checker._child() is child
    ((command, options),) = started
    assert command == [sys.executable, "-s", "-P", str(mathematics.CHILD), "300", "17"]
    assert options == {
        "stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL,
        "text": True, "start_new_session": True,
        "env": {"PATH": os.defpath, "PYTHONHASHSEED": "0", "LANG": "C.UTF-8"},
    }  # fmt: skip
    checker.close()
    assert started[1:] == ["killed", "waited"]
    assert checker._children == set()
    os.write(write, b"no\n")
    with pytest.raises(EnvironmentProblem, match="failed to start"):
        checker._child()
    assert checker._children == set()
    os.close(write)
    assert (MathChecker().timeout_s, MathChecker().memory_mb) == (5.0, 2048)
