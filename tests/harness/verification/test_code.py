"""Code checks around the jail: permission, screening, extraction, splitting."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.errors import EnvironmentProblem, UserError
from harness.verification import code as checking
from harness.verification.code import (
    LONGEST,
    Limits,
    check_code,
    extract_code,
    isolation,
    split_tests,
)
from harness.verification.screening import objection


@pytest.fixture(scope="module")
def confined() -> str:
    try:
        return isolation()
    except EnvironmentProblem as problem:
        pytest.skip(str(problem))


def test_nothing_runs_without_permission(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "_jailed", None)
    with pytest.raises(UserError, match="--allow-code-execution"):
        check_code("x = 1", ["assert x"])


def test_a_result_says_how_much_passed_why_not_and_in_what(confined: str) -> None:
    found = check_code("x = 1", ["assert x", "assert not x"], allow_code_execution=True)
    assert (found.tests_passed, found.tests_total, found.static_ok) == (1, 2, True)
    assert found.reason == "raised AssertionError: "
    assert found.isolation == confined
    slow = check_code(
        "import time; time.sleep(9)", ["assert time"], Limits(wall_s=0.3), allow_code_execution=True
    )
    assert slow.reason == "passed its limit of wall time"


def test_the_weak_isolation_needs_an_option_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def jailed(code: str, tests: list[str], limits: Limits, how: str, **more: str) -> object:
        reason = "raised KeyError: 'what a file contains'"
        found = (
            {"passed": 1, "reason": reason} if code == "x = 1" else {"passed": 0, "reason": reason}
        )
        return found if how == checking.FILTER else {"setup": f"no {how} here"}

    monkeypatch.setattr(checking, "_jailed", jailed)
    monkeypatch.setattr(checking, "isolation", isolation.__wrapped__)  # asks again
    with pytest.raises(EnvironmentProblem, match=r"no Landlock here.*--allow-weak-isolation"):
        check_code("x = 2", ["assert x == 1"], allow_code_execution=True)
    found = check_code(
        "x = 2", ["assert x == 1"], allow_code_execution=True, allow_weak_isolation=True
    )
    assert found.isolation == "system call filter"
    assert found.reason == "raised KeyError"


def test_no_secret_is_in_a_reason(confined: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "pa55-of-the-user")
    code = "def f(x): raise KeyError('pa55-of-' + 'the-user', 'hf_' + 'a' * 20)"
    found = check_code(code, ["assert f(1) == 1"], allow_code_execution=True)
    assert found.reason == "raised KeyError: ('[hidden]', '[hidden]')"


def test_results_do_not_depend_on_the_hash_seed(confined: str) -> None:
    code = "x = list({'a', 'b', 'c', 'd', 'e'})"
    order = [
        check_code(code, ["assert x == 1, x"], allow_code_execution=True).reason for _ in range(3)
    ]
    assert len(set(order)) == 1


def test_installed_packages_are_a_setting(confined: str) -> None:
    code, tests = "import numpy\nx = int(numpy.arange(4).sum())", ["assert x == 6"]
    assert check_code(code, tests, allow_code_execution=True).tests_passed == 0
    chosen = Limits(packages=True, memory_mb=1024)
    assert check_code(code, tests, chosen, allow_code_execution=True).tests_passed == 1


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("def f(:", "does not compile: SyntaxError"),
        ("return 1", "does not compile: SyntaxError"),
        ("x = '\0'", "does not compile"),
        ("[" * 5000 + "]" * 5000, "does not compile"),
        ("import sys; sys._getframe(1).f_locals", "uses "),
        ("import gc; gc.get_objects()", "uses get_objects"),
        ("from ctypes import util", "uses ctypes"),
        ("import ctypes.util as u", "uses ctypes"),
        ("import math\nmath.isclose = lambda *a: True", "replaces math.isclose"),
        ("import unittest as u\nu.TestCase.x = 1\nu.main = 2", "replaces u.main"),
        ("from unittest import TestCase as T\nsetattr(T, 'assertEqual', print)", "replaces T"),
        ("import sys\nsys.modules['unittest'] = 1", "replaces sys.modules"),
        ("import builtins\nbuiltins.__dict__['all'] = 1", "replaces builtins.__dict__"),
        ("import math\ndel math.inf", "replaces math.inf"),
        ("class A:\n    def __eq__(self, other): return True", "equal to everything"),
        ("class A:\n    __eq__ = lambda *a: True", "equal to everything"),
    ],
)
def test_what_is_not_run(code: str, reason: str) -> None:
    assert objection(code).startswith(reason) or reason in objection(code)


@pytest.mark.parametrize(
    "code",
    [
        "",
        "import sys\nsys.setrecursionlimit(9)\nsys.stdout = None",
        "import os\nos.environ['A'] = 'b'",
        "import collections\nd = collections.defaultdict(int)\nd['a'] += 1\nx: int = 3",
        "class A:\n    def __init__(self): self.x = 1\n    def __eq__(self, o): return o.x == 1",
        "from typing import List\ndef f(node):\n    node.next = None\n    return [node]",
    ],
)
def test_ordinary_code_is_run(code: str) -> None:
    assert objection(code) == ""


@given(st.text(alphabet="adef _.=()\n\0\ud800é", max_size=30))
def test_screening_reads_any_text(code: str) -> None:
    assert isinstance(objection(code), str)


def test_code_that_is_too_long_is_not_run(confined: str) -> None:
    found = check_code("#" * (LONGEST + 1), ["pass"], allow_code_execution=True)
    assert (found.static_ok, found.tests_passed) == (False, 0)


def test_text_that_is_no_code_is_a_failure(confined: str) -> None:
    for code in ("\ud800", "\0", "I cannot help with that."):
        found = check_code(code, ["pass"], allow_code_execution=True)
        assert (found.static_ok, found.isolation) == (False, "")
        assert found.reason.startswith("does not compile")


def test_code_is_found_in_a_response() -> None:
    both = "```python\nx = 1\n```\nor\n```py\nx = 1\ny = 2\n```\n```bash\nls -l something long\n```"
    assert extract_code(both) == "x = 1\ny = 2\n"
    assert extract_code("```python\nx = 1") == "x = 1"
    assert extract_code("x = 1") == "x = 1"


@given(st.text(alphabet="abc =\n()", min_size=1))
def test_a_fenced_text_is_found_whole(code: str) -> None:
    assert extract_code(f"Here:\n```python\n{code}\n```\nEnjoy.") == code + "\n"


def test_tests_are_split_at_asserts() -> None:
    assert split_tests("def check(f):\n    assert f(1)\ncheck(f)") == (
        "def check(f):\n    assert f(1)\ncheck(f)",
    )
    assert split_tests("assert a\nassert b; assert c\nx = 1") == (
        "assert a",
        "assert b; assert c\nx = 1",
    )
    assert split_tests("not python (") == ("not python (",)


@given(st.lists(st.sampled_from(["x = 1", "assert x", "def f():\n    assert 0", "# é"])))
def test_splitting_loses_no_line(lines: list[str]) -> None:
    script = "\n".join(lines)
    found = split_tests(script)
    assert "\n".join(found) == script
    assert len(found) == max(1, lines.count("assert x"))


def test_long_integers_are_compared_in_the_jail_and_limited_outside(confined: str) -> None:
    code, tests = "def f(n):\n    return 10 ** n", ["assert f(9000) == 10 ** 9000"]
    assert check_code(code, tests, allow_code_execution=True).tests_passed == 1
    assert 0 < sys.get_int_max_str_digits() <= 4300  # a file with a longer number is refused
