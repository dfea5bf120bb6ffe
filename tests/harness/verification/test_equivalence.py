"""The script that compares with math-verify: verdicts, reasons, its lines, its limits."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec

import pytest

from harness.verification import equivalence
from harness.verification.equivalence import judge, same
from harness.verification.mathematics import CHILD

pytestmark = pytest.mark.skipif(find_spec("math_verify") is None, reason="needs math-verify")


@pytest.mark.parametrize(
    ("gold", "response", "verdict"),
    [
        ("1/2", "so $0.5$", (True, "")),
        ("$1/2$", "so \\boxed{0.5}", (True, "")),
        ("\\boxed{5}", "$5$", (True, "")),
        ("5", "First $4$, then $6$", (False, "found 6")),
        ("5", "nothing", (None, "no answer that can be read")),
        ("", "$5$", (None, "the gold answer cannot be read")),
        ("5", "$" + "9" * 100 + "$", (False, "found " + "9" * 80)),
    ],
)
def test_the_last_answer_is_judged(gold: str, response: str, verdict: object) -> None:
    assert judge(gold, response) == verdict


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ("2m", "2m", True), ("2m", "2", False), ("x+1", "1+x", True), ("2x+z=1", "1", False),
        ("x\\ge 3", "[3,\\infty)", True), ("i^2", "-1", True), ("(1+i)^2", "2i", True),
        ("x^2-1", "(x-1)(x+1)", True), ("j^2", "-1", False), ("\\{1,2\\}", "\\{2,1\\}", True),
    ],
)  # fmt: skip
def test_expressions_are_compared_in_both_directions(one: str, other: str, equal: bool) -> None:
    assert same(one, other) == (equal, "")
    assert same(other, one) == (equal, "")


def test_what_is_no_expression_is_named() -> None:
    text = "\\" * 70
    assert same("1", text) == (None, f"not an expression: {text[:60]}")
    assert same(text, "1")[0] is None


def test_only_the_symbol_i_is_the_imaginary_unit() -> None:
    from sympy import I, Symbol

    i, j = Symbol("i"), Symbol("j")
    assert equivalence._complex(i + j) == I + j
    assert equivalence._complex("i") == "i"


def test_the_script_answers_line_by_line() -> None:
    """An error is an answer, what libraries print is none, and memory has a limit."""
    lines = [["1/2", "$0.5$"], ["2m", "2m", "same"], ["only one"], ["5", "$5$"]]
    questions = "".join(f"{json.dumps(line)}\n" for line in lines)
    done = subprocess.run(
        [sys.executable, "-s", "-P", str(CHILD), "2048", "100"],
        input=questions,
        capture_output=True,
        text=True,
    )
    ready, *answers = done.stdout.splitlines()
    assert ready == "ready"
    found = [json.loads(answer) for answer in answers]
    wrong = [None, "ValueError while comparing"]
    assert found == [[True, ""], [True, ""], wrong, [True, ""]]


class Limits:
    """Stands for the modules that set limits: what was set."""

    RLIMIT_AS = 9

    def __init__(self) -> None:
        self.set: list[object] = []

    def setrlimit(self, *args: object) -> None:
        self.set.append(args)

    def alarm(self, seconds: int) -> None:
        self.set.append(seconds)


def test_limits_of_the_script(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    import io
    import logging

    limits, disabled = Limits(), []
    monkeypatch.setattr(equivalence, "resource", limits)
    monkeypatch.setattr(equivalence, "signal", limits)
    monkeypatch.setattr(logging, "disable", lambda *level: disabled.append(level))
    monkeypatch.setattr(sys, "argv", ["equivalence.py", "64", "7"])
    monkeypatch.setattr(sys, "stdin", io.StringIO('["5", "$5$"]\n["5", "$6$"]\n'))
    equivalence.main()
    assert limits.set == [(9, (64 << 20, 64 << 20)), 7, 0, 7, 0]
    assert disabled == [()]
    assert capfd.readouterr().out == 'ready\n[true, ""]\n[false, "found 6"]\n'
