"""What counts as a test of an answer: scripts of three shapes, and scripts that assert nothing."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.core.errors import EnvironmentProblem
from harness.verification.asserting import CAUGHT, NOTHING
from harness.verification.code import CodeCheck, check_code, isolation, split_tests
from tests.harness.verification.problems import METADATA, PROBLEMS


@pytest.fixture(scope="module", autouse=True)
def confined() -> str:
    try:
        return isolation()
    except EnvironmentProblem as problem:
        pytest.skip(str(problem))


def checked(code: str, tests: str | list[str], entry_point: str = "") -> CodeCheck:
    given = split_tests(tests) if isinstance(tests, str) else tests
    return check_code(code, given, entry_point=entry_point, allow_code_execution=True)


def test_right_answers_pass_and_wrong_ones_do_not() -> None:
    answers = [(p, p.right, True) for p in PROBLEMS] + [(p, p.wrong, False) for p in PROBLEMS]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = list(pool.map(lambda a: checked(a[1], a[0].tests, a[0].name), answers))
    misjudged = [
        (problem.name or problem.tests, result)
        for (problem, _, right), result in zip(answers, found)
        if (result.tests_passed == result.tests_total) != right
    ]
    assert len(answers) == 40
    assert misjudged == []


@pytest.mark.parametrize(
    "tests",
    [
        "# a comment\n",
        "pass",
        METADATA,
        "for x in []:\n    assert f(x) == 1",
        "while False:\n    assert f(0) == 1",
        "if False:\n    assert f(0)",
        "def helper():\n    assert f(1) == 2",
        "async def main():\n    assert f(1) == 2\nmain()",
        "f(1)\nprint(f(2))",
        "assert True",
        "assert (f(1) == 2, 'a tuple')",
        "def test_it():\n    f(1)",
        "import unittest\nclass T(unittest.TestCase):\n    def test_it(self):\n        f(1)",
        "import unittest\nclass T(unittest.TestCase):\n    @unittest.skip('later')\n"
        "    def test_it(self):\n        self.assertEqual(f(1), 2)",
        "import unittest\nclass T(unittest.TestCase):\n    def helper(self):\n"
        "        self.assertEqual(f(1), 2)",
        "import pytest\n@pytest.mark.skip\ndef test_it():\n    assert f(1) == 2",
        "import pytest\n@pytest.mark.parametrize('n', [])\ndef test_it(n):\n    assert f(n) == 2",
        "try:\n    f(1)\nexcept Exception:\n    pass",
        "(lambda: f(1) == 2)()",
        "f(1) == 2",
    ],
)
def test_a_script_that_asserts_nothing_is_not_passed(tests: str) -> None:
    found = checked("def f(x): return x", [tests])
    assert (found.tests_passed, found.tests_total) == (0, 1)
    assert NOTHING in found.reason


def test_an_assertion_that_fails_counts_even_if_it_is_caught() -> None:
    swallowed = (
        "try:\n    assert f(1) == 2\nexcept AssertionError:\n    print('wrong')\nassert f(1)"
    )
    assert checked("def f(x): return x", [swallowed]).reason == CAUGHT
    either = "try:\n    assert f(1) == 2\nexcept AssertionError:\n    assert f(1) == 1"
    assert checked("def f(x): return x", [either]).tests_passed == 1


def test_other_ways_to_assert_are_counted() -> None:
    code = "def f(x):\n    if x < 0: raise ValueError\n    return x"
    scripts = [
        "if f(1) != 1:\n    raise SystemExit('wrong')",
        "try:\n    f(-1)\n    assert False\nexcept ValueError:\n    pass",
        "import pytest\nwith pytest.raises(ValueError):\n    f(-1)",
        "from unittest import TestCase\nTestCase().assertEqual(f(1), 1)",
        "from unittest import mock\ng = mock.Mock()\ng(f(1))\ng.assert_called_with(1)",
        "def same(a, b):\n    assert a == b\nsame(f(1), 1)",
    ]
    for script in scripts:
        assert checked(code, [script]).tests_passed == 1, script
        assert checked("def f(x): return x - 3", [script]).tests_passed == 0, script


def test_scripts_that_prepare_belong_to_the_next_test() -> None:
    tests = ["import math", "def check(g):\n    assert g(4) == 2", "# calls it", "check(f)"]
    found = checked("def f(x): return int(x ** 0.5)", tests)
    assert (found.tests_passed, found.tests_total) == (4, 4)
    found = checked("def f(x): return x", [*tests, "assert f(1) == 1"])
    assert (found.tests_passed, found.tests_total) == (1, 5)


def test_what_check_receives_is_named_or_the_only_function() -> None:
    tests = "def check(candidate):\n    assert candidate(2) == 4\n"
    two = "def g(x): return x\ndef f(x): return x * x\n"
    assert checked(two, tests, "f").tests_passed == 1
    assert checked(two, tests, "g").tests_passed == 0
    assert "name it in entry_point" in checked(two, tests).reason
    assert checked("def g(x): return x\ndef f(x): return g(x) * x\n", tests).tests_passed == 1
