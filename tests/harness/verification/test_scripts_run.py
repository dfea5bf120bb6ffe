"""Scripts of tests run by themselves against a function that is here: verdicts and counts."""

from __future__ import annotations

import builtins
import sys
import unittest
from collections.abc import Iterator
from typing import Any

import pytest

from harness.verification.asserting import (
    CAUGHT,
    NOTHING,
    Count,
    Script,
    describe,
    instrumented,
    is_case,
    run_cases,
)


@pytest.fixture(autouse=True)
def methods() -> Iterator[None]:
    """Scripts that mention unittest replace its methods for good, in a process of their own."""
    own = dict(vars(unittest.TestCase))
    yield
    for name, value in own.items():
        if name.startswith("assert"):
            setattr(unittest.TestCase, name, value)


def script(f: Any = lambda x: x) -> Script:
    scope = {"__builtins__": dict(vars(builtins)), "__name__": "__main__", "f": f}
    return Script(scope, lambda: f)


def verdict(source: str) -> str:
    return script().run(source)


PASSED, FAILED = "passed", "raised AssertionError: "


@pytest.mark.filterwarnings("ignore:assertion is always true")
@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("assert f(1) == 1", PASSED),
        ("assert f(1) == 2", FAILED),
        ("assert f(1) == 2, 'why\\nnot'", FAILED + "why not"),
        ("assert 1", NOTHING),
        ("assert ()", FAILED),
        ("assert (f(1), 'always true')", NOTHING),
        ("assert False", FAILED),
        ("if f(1) != 1: raise ValueError", PASSED),
        ("if f(1) == 1: raise ValueError('x')", "raised ValueError: x"),
        ("if f(1) != 1:\n    print(1)\n    exit(1)", PASSED),
        ("if f(1) != 1: sys.exit(1)", PASSED),
        ("if f(1) != 1: assert 0", PASSED),
        ("if f(1) != 1: assert 1", NOTHING),
        ("if f(1) != 1: assert f(2)", NOTHING),
        ("if f(1) != 1: print(2)", NOTHING),
        ("if False: raise ValueError", NOTHING),
        ("if f(1) == 1:\n    pass\nelse:\n    raise ValueError", NOTHING),
        ("x = f(1)", NOTHING),
        ("x = (", "raised SyntaxError: '(' was never closed (tests.py, line 1)"),
    ],
)
def test_verdicts_on_statements(source: str, found: str) -> None:
    assert verdict(source) == found


RAISING = "def g(): raise KeyError(1)\n"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("try:\n    g()\n    assert False\nexcept KeyError:\n    pass", PASSED),
        ("try:\n    assert False\n    g()\nexcept KeyError:\n    pass", FAILED),
        ("try:\n    g()\n    raise ValueError\nexcept KeyError:\n    pass", PASSED),
        ("try:\n    g()\nexcept KeyError:\n    pass\nelse:\n    assert False", PASSED),
        ("try:\n    g()\nexcept KeyError:\n    pass", NOTHING),
        ("try:\n    f(1)\n    assert False\nexcept AssertionError:\n    pass", CAUGHT),
        ("try:\n    assert f(1) == 2\nexcept AssertionError:\n    pass\nassert f(1)", CAUGHT),
        ("try:\n    assert f(1) == 2\nexcept AssertionError:\n    assert f(1) == 1", PASSED),
        ("try:\n    assert f(1) == 2\nexcept AssertionError:\n    assert f(1) == 3", FAILED),
        (
            "try:\n    assert f(1) == 2\nexcept AssertionError:\n    f(1)\nfinally:\n    f(2)",
            CAUGHT,
        ),
        ("try:\n    f(1)\nfinally:\n    assert f(1) == 1", PASSED),
        ("try:\n    f(1)\nexcept KeyError:\n    f(3)\nelse:\n    assert f(1) == 1", PASSED),
        (
            "try:\n    try:\n        assert f(1) == 2\n    except KeyError:\n        pass\n"
            "except AssertionError:\n    pass\nassert f(1)",
            CAUGHT,
        ),
        (
            "try:\n    assert f(1) == 2\nexcept AssertionError:\n"
            "    def h():\n        assert f(1) == 1\n    h()",
            CAUGHT,  # a function that is defined in a handler decides nothing about it
        ),
    ],
)
def test_verdicts_on_exceptions_that_are_caught(source: str, found: str) -> None:
    assert verdict(RAISING + source) == found


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import unittest.mock as m\nk = m.Mock()\nk(1)\nk.assert_called_with(1)", PASSED),
        ("import unittest.mock as m\nk = m.Mock()\nk.assert_called_with(1)", "raised Assertion"),
        ("from numpy.testing import assert_allclose\nassert_allclose(f(1), 1)", PASSED),
        ("def assert_same(a): print(a)\nassert_same(f(1))", NOTHING),
        ("def assert_same(a):\n    assert a == 1\nassert_same(f(1))", PASSED),
        ("def same_assert(a): pass\nk = same_assert\nk(1)", NOTHING),
        ("import types\nt = types.SimpleNamespace(Assert=f)\nt.Assert(1)", PASSED),
        ("import types\nt = types.SimpleNamespace(isassert=f)\nt.isassert(1)", NOTHING),
        ("import unittest\nt = unittest.TestCase()\nt.assertRaises(ValueError, int, 'x')", PASSED),
        ("import unittest\nt = unittest.TestCase()\nt.assertRaises(ValueError)", NOTHING),
        (
            "import unittest\nt = unittest.TestCase()\n"
            "with t.assertRaises(ValueError):\n    int('x')",
            PASSED,
        ),
        (
            "import unittest\nt = unittest.TestCase()\nwith t.assertRaises(ValueError):\n    f(1)",
            "raised AssertionError: ValueError not raised",
        ),
        (
            "import contextlib, unittest\nt = unittest.TestCase()\n"
            "with contextlib.suppress(KeyError), t.assertRaises(ValueError):\n    int('x')",
            PASSED,
        ),
        ("import contextlib\nwith contextlib.suppress(KeyError):\n    f(1)", NOTHING),
        (
            "import unittest\nt = unittest.TestCase()\nt.assertEqual(f(1), 1)\n"
            "try:\n    t.assertEqual(f(1), 2)\nexcept AssertionError:\n    pass",
            CAUGHT,
        ),
        ("import unittest\nx = unittest.TestCase().assertEqual(f(1), 1)", PASSED),
    ],
)
def test_verdicts_on_functions_that_assert(source: str, found: str) -> None:
    assert verdict(source).startswith(found)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("def test_it(): assert f(1) == 1", PASSED),
        ("def test_it(): assert f(1) == 2", FAILED),
        ("def test_it(): assert f(1) == 1\ntest_it()", PASSED),
        ("def it_test(): assert f(1) == 1", NOTHING),
        ("def test_it():\n    'text'\n    assert f(1) == 1", PASSED),
        ("async def test_it(): assert f(1) == 1", PASSED),
        ("async def test_it(): assert f(1) == 2", FAILED),
        ("def check(candidate): assert candidate(1) == 1", PASSED),
        ("def check(candidate): assert candidate(1) == 2", FAILED),
        ("def check(): assert f(1) == 2", FAILED),
        ("def check(candidate=None): assert candidate is None and f(1)", PASSED),
        ("async def check(candidate): assert candidate(1) == 2", FAILED),
        ("class check: pass", NOTHING),
        ("from os.path import join as test_it", NOTHING),
        ("class TestIt:\n    def test_a(self): assert f(1) == 2", FAILED),
        ("class TestIt:\n    def test_a(self): assert f(1) == 1", PASSED),
        (
            "import unittest\nclass T(unittest.TestCase):\n"
            "    def test_a(self): self.assertEqual(f(1), 1)",
            PASSED,
        ),
        (
            "import unittest\nclass T(unittest.TestCase):\n"
            "    def test_a(self): self.assertEqual(f(1), 2)",
            "raised AssertionError: 1 != 2",
        ),
        ("def first(): assert f(1)\ndef test_a(): first()\ndef test_b(): assert 0", FAILED),
    ],
)
def test_verdicts_on_what_a_script_defines(source: str, found: str) -> None:
    assert verdict(source) == found


def test_a_script_runs_what_it_defines_and_no_earlier_one() -> None:
    notes: list[str] = []
    made = script(notes.append)
    assert made.run("def test_a():\n    f('a')\n    assert f") == PASSED
    assert made.run("def test_b():\n    f('b')\n    assert f") == PASSED
    assert made.run("test_a()") == PASSED  # its function may be used again
    assert made.run("def test_c():\n    f('c')\n    assert f\ntest_c()\nx = 1 / 0") != PASSED
    assert made.run("assert f") == PASSED
    assert (
        made.run("def test_d(): pass\ndef test_e():\n    f('e')\n    assert f\ntest_d()") == PASSED
    )
    assert notes == ["a", "b", "a", "c", "e"]


def test_each_script_is_counted_by_itself() -> None:
    made = script()
    assert made.run("assert f(1) == 2") == FAILED
    assert made.run("assert f(1) == 1") == PASSED
    assert made.run("f(1)") == NOTHING
    assert made.run("import unittest\nt = unittest.TestCase()") == NOTHING
    assert made.run("t.assertTrue(f(1))") == PASSED
    assert made.run("f(1)") == NOTHING


def test_a_function_of_an_earlier_script_asserts_for_the_later_one() -> None:
    made = script()
    assert made.run("def same(a, b):\n    assert a == b\nsame(f(1), 1)") == PASSED
    assert made.run("same(f(2), 2)") == PASSED
    assert made.run("try:\n    same(f(2), 1)\nexcept AssertionError:\n    pass") == CAUGHT
    assert made.run("f(2)") == NOTHING


def test_a_count() -> None:
    count = Count()
    assert count.seen([1], False) is True
    assert (count.held, count.failed) == (1, False)
    assert count.seen(0, False) is False
    assert (count.held, count.failed) == (1, True)
    assert count.seen(1, False) is True
    assert (count.held, count.failed) == (2, True)
    assert count.seen(1, True) is True
    assert (count.held, count.failed) == (3, False)
    assert (count.guarded(0), count.held) == (False, 4)
    assert (count.guarded(1), count.held) == (True, 4)
    count.failed = True
    count.done()
    assert (count.held, count.failed) == (5, False)
    count.caught()
    assert count.held == 5
    for error, held in ((AssertionError(), 5), (KeyError(), 6)):
        try:
            raise error
        except Exception:
            count.caught()
        assert count.held == held


class Cases(unittest.TestCase):
    """Not collected: its methods are given by the tests below."""

    __test__ = False
    body: Any = None

    def test_it(self) -> None:
        type(self).body(self)


def failing(text: str) -> Any:
    def body(case: Any) -> None:
        raise AssertionError(text)

    return body


def test_the_first_failure_of_a_case_is_raised() -> None:
    def several(case: Any) -> None:
        for number in range(3):
            with case.subTest(number=number):
                assert number != 1, f"number {number}"
        with case.subTest(), pytest.raises(KeyError):
            raise KeyError

    def error(case: Any) -> None:
        raise KeyError("x")

    for body, message in ((failing("one"), "one"), (several, "number 1"), (error, "'x'")):
        kind = type("T", (Cases,), {"body": staticmethod(body)})
        with pytest.raises((AssertionError, KeyError), match=message):
            run_cases(kind)
    run_cases(type("T", (Cases,), {"body": staticmethod(lambda case: None)}))
    two = {name: (lambda self, name=name: failing(name)(self)) for name in ("test_a", "test_b")}
    with pytest.raises(AssertionError, match="test_a"):
        run_cases(type("T", (unittest.TestCase,), two))
    both = {**two, "test_a": unittest.expectedFailure(lambda self: None)}
    with pytest.raises(AssertionError, match="unexpected success"):
        run_cases(type("T", (unittest.TestCase,), both))


def test_what_a_case_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_case(Cases)
    assert not is_case(int)
    assert not is_case(Cases())
    monkeypatch.delitem(sys.modules, "unittest")
    assert not is_case(Cases)


def test_a_failure_is_one_line_of_limited_length() -> None:
    assert describe(ValueError("a\r\nb")) == "raised ValueError: a  b"
    assert len(describe(ValueError("x" * 999))) == 300

    class Odd(Exception):
        def __str__(self) -> str:
            raise KeyError

    assert describe(Odd()) == "raised an exception that cannot be shown"


def test_code_of_a_script_keeps_its_lines() -> None:
    code = instrumented("'text'\n\nassert f(1)")
    assert code.co_filename == "tests.py"
    assert max(line or 0 for _, _, line in code.co_lines()) == 3
