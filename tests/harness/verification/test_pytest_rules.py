"""The part of pytest for tests of answers: numbers as pytest compares them, and what is called."""

from __future__ import annotations

import builtins
import math
import os
import sys
import types
import warnings
from itertools import product
from typing import Any

import pytest

from harness.verification import pytest_rules
from harness.verification.pytest_rules import Approx, Marks, Raises, calls_of, make_module

NUMBERS = (
    0, 1, -1, 1.0, 1 + 1e-6, 1 + 1.1e-6, 1 - 9e-7, 1e-12, 1.1e-12, -1e-12, 100, 100.01, 100.0001,
    -100.0001, math.inf, -math.inf, math.nan, 2 + 1j, 2 + 1.000001j, 2.1 + 1j, 5e-12j, "1",
)  # fmt: skip
TOLERANCES: tuple[dict[str, float], ...] = (
    {}, {"abs": 0.011}, {"rel": 1e-4}, {"rel": 1e-4, "abs": 1e-3}, {"abs": 0}, {"rel": 0},
)  # fmt: skip


@pytest.mark.parametrize("given", TOLERANCES, ids=repr)
def test_numbers_are_near_as_pytest_decides(given: dict[str, float]) -> None:
    for expected, found in product(NUMBERS, NUMBERS):
        if given and isinstance(expected, str):
            continue  # pytest refuses it
        wanted = found == pytest.approx(expected, **given)
        assert (found == Approx(expected, **given)) == wanted, (expected, found)


@pytest.mark.parametrize(
    ("expected", "found", "near"),
    [
        ([1.0, 2.0], [1.0000001, 2], True),
        ([1.0, 2.0], [1.1, 2], False),
        ([1.0, 2.0], [1.0, 2.0, 3.0], False),
        ([1.0, 2.0], (1.0, 2.0), True),
        ([1.0], 1.0, False),
        ({"a": 1.0, "b": 2.0}, {"b": 2.0000001, "a": 1}, True),
        ({"a": 1.0, "b": 2.0}, {"a": 1.0, "b": 3}, False),
        ({"a": 1.0}, {"a": 1.0, "b": 2}, False),
        ({"a": 1.0}, [1.0], False),
        ({"a": [1.0, (2.0,)]}, {"a": [1, (2.0000001,)]}, True),
        ("x", "x", True),
        (None, None, True),
        (1.0, None, False),
        (1, True, True),
        (1.0000001, True, False),  # near, but a truth is no number
    ],
)
def test_containers_are_near_if_all_of_their_numbers_are(
    expected: Any, found: Any, near: bool
) -> None:
    assert (found == Approx(expected)) is near
    assert (found != Approx(expected)) is not near


def test_a_number_with_a_tolerance_is_shown_and_has_no_hash() -> None:
    assert repr(Approx(1.5)) == "approx(1.5)"
    with pytest.raises(TypeError):
        hash(Approx(1))


def fails() -> None:
    raise KeyError("the key")


def test_required_exceptions() -> None:
    with Raises(KeyError) as caught:
        fails()
    assert isinstance(caught.value, KeyError)
    assert caught.type is KeyError
    with pytest.raises(AssertionError, match="DID NOT RAISE"), Raises(KeyError):
        pass
    with pytest.raises(KeyError), Raises((ValueError, IndexError)):
        fails()
    with Raises((ValueError, KeyError), match=r"the \w+"):
        fails()
    with pytest.raises(AssertionError, match="does not match"), Raises(KeyError, match="other"):
        fails()
    assert Raises(KeyError).value is None


def test_required_exceptions_of_a_call() -> None:
    found = pytest_rules.raises(ValueError, int, "x", base=16, match="base 16")
    assert isinstance(found.value, ValueError)
    with pytest.raises(AssertionError, match="does not match"):
        pytest_rules.raises(ValueError, int, "x", match="other")
    with pytest_rules.raises(KeyError, match="key"):
        fails()


def test_required_warnings() -> None:
    with pytest_rules.warns(UserWarning, match="second"):
        warnings.warn("first", UserWarning, stacklevel=1)
        warnings.warn("the second", UserWarning, stacklevel=1)
    with pytest_rules.warns():
        warnings.warn("any", stacklevel=1)
    for kind, match in ((FutureWarning, None), (UserWarning, "other")):
        with pytest.raises(AssertionError, match="DID NOT WARN"), pytest_rules.warns(kind, match):
            warnings.warn("first", UserWarning, stacklevel=1)
    with pytest.raises(AssertionError), pytest_rules.warns():
        pass


def test_the_module_has_what_tests_use() -> None:
    made = make_module()
    assert made.__name__ == "pytest"
    assert made.raises is pytest_rules.raises
    assert made.main(["-q"], plugins=[]) == 0
    assert tuple(made.param(1, 2, id="x")) == (1, 2)
    assert made.importorskip("math") is math
    for leave in (made.skip, made.xfail):
        with pytest.raises(pytest_rules.Skipped, match="why"):
            leave("why")
    with pytest.raises(pytest_rules.Skipped):
        made.importorskip("no_such_module_at_all")
    with pytest.raises(AssertionError, match="wrong"):
        made.fail("wrong", pytrace=False)
    assert made.approx is Approx
    assert isinstance(made.mark, Marks)


def calls(source: str) -> list[Any]:
    """What tests noted in `seen`, run as a script of an answer's tests is."""
    scope: dict[str, Any] = {"__name__": "__main__", "pytest": make_module(), "seen": []}
    exec(source, scope)
    for name, target in list(scope.items()):
        for call in calls_of(name, target, scope):
            call()
    return list(scope["seen"])


@pytest.mark.parametrize(
    ("source", "seen"),
    [
        ("def test_it(): seen.append(1)\ndef it_test(): seen.append(2)\ntests = 3", [1]),
        ("async def test_it(): seen.append(1)", [1]),
        (
            "class TestIt:\n def test_a(self): seen.append(1)\n def a_test(self): seen.append(2)",
            [1],
        ),
        ("class ItTest:\n def test_a(self): seen.append(1)", []),
        (
            "class TestIt:\n def __init__(self): pass\n def test_a(self): seen.append(1)",
            [],
        ),
        ("class Base:\n def test_a(self): seen.append(1)\nclass TestIt(Base): pass", [1]),
        ("class TestIt:\n test_a = 5\n def test_b(self): seen.append(2)", [2]),
        ("@pytest.mark.skip\ndef test_it(): seen.append(1)", []),
        ("@pytest.mark.skip(reason='x')\ndef test_it(): seen.append(1)", []),
        ("@pytest.mark.skip('x')\ndef test_it(): seen.append(1)", []),
        ("@pytest.mark.skip\nclass TestIt:\n def test_a(self): seen.append(1)", []),
        ("class TestIt:\n @pytest.mark.skip\n def test_a(self): seen.append(1)", []),
        ("@pytest.mark.skipif(1, reason='x')\ndef test_it(): seen.append(1)", []),
        ("@pytest.mark.skipif(0, reason='x')\ndef test_it(): seen.append(1)", [1]),
        ("@pytest.mark.slow\ndef test_it(): seen.append(1)", [1]),
        ("@pytest.mark.slow(why=1)\ndef test_it(): seen.append(1)", [1]),
        ("@pytest.mark.slow(3)\ndef test_it(): seen.append(1)", [1]),
        ("def test_it():\n seen.append(1)\n pytest.skip('x')\n seen.append(2)", [1]),
    ],
)
def test_which_functions_are_tests(source: str, seen: list[int]) -> None:
    assert calls(source) == seen


@pytest.mark.parametrize(
    ("source", "seen"),
    [
        (
            "@pytest.mark.parametrize('a, b', [(1, 2), (3, 4)])\n"
            "def test_it(a, b): seen.append((a, b))",
            [(1, 2), (3, 4)],
        ),
        (
            "@pytest.mark.parametrize(['a', 'b'], [(1, 2)])\n"
            "def test_it(b, a): seen.append((a, b))",
            [(1, 2)],
        ),
        (
            "@pytest.mark.parametrize('a', [(1, 2), 3])\ndef test_it(a): seen.append(a)",
            [(1, 2), 3],
        ),
        (
            "@pytest.mark.parametrize('a', [pytest.param(1, id='x'), 2], ids=str)\n"
            "def test_it(a): seen.append(a)",
            [1, 2],
        ),
        (
            "@pytest.mark.parametrize('a, b', [pytest.param(1, 2, id='x')])\n"
            "def test_it(a, b): seen.append((a, b))",
            [(1, 2)],
        ),
        (
            "@pytest.mark.parametrize('a', [1, 2])\n@pytest.mark.parametrize('b', [3, 4])\n"
            "def test_it(a, b): seen.append((a, b))",
            [(1, 3), (2, 3), (1, 4), (2, 4)],
        ),
        (
            "@pytest.mark.parametrize('a', [1, 2])\nclass TestIt:\n"
            " @pytest.mark.parametrize('b', [3])\n def test_a(self, a, b): seen.append((a, b))",
            [(1, 3), (2, 3)],
        ),
    ],
)
def test_parameters_make_a_call_each(source: str, seen: list[Any]) -> None:
    assert calls(source) == seen


def test_a_row_of_another_length_is_an_error() -> None:
    with pytest.raises(ValueError):
        calls("@pytest.mark.parametrize('a, b', [(1, 2, 3)])\ndef test_it(a, b): pass")


@pytest.mark.parametrize(
    ("source", "seen"),
    [
        (
            "@pytest.fixture\ndef one(): return 1\n"
            "@pytest.fixture()\ndef two(one): return one + 1\n"
            "def test_it(two, one): seen.append((one, two))",
            [(1, 2)],
        ),
        (
            "@pytest.fixture\ndef made():\n seen.append('up')\n yield 5\n seen.append('down')\n"
            "def test_it(made): seen.append(made)\ndef test_no(): seen.append('none')",
            ["up", 5, "down", "none"],
        ),
        (
            "@pytest.fixture(params=[1, 2])\ndef one(request): return request.param * 10\n"
            "def test_it(one): seen.append(one)",
            [10, 20],
        ),
        (
            "@pytest.fixture(params=[1, 2])\ndef one(request): return request.param\n"
            "@pytest.fixture(params=[3, 4])\ndef two(request): return request.param\n"
            "def test_it(one, two): seen.append((one, two))",
            [(1, 3), (1, 4), (2, 3), (2, 4)],
        ),
        (
            "@pytest.fixture(autouse=True)\ndef always(): seen.append('auto')\n"
            "@pytest.fixture\ndef never(): seen.append('never')\n"
            "def test_it(): seen.append(1)",
            ["auto", 1],
        ),
        (
            "@pytest.fixture\ndef one(request): return request.param\n"
            "def test_it(one, request): seen.append((one, request.param))",
            [(None, None)],
        ),
        (
            "class TestIt:\n @pytest.fixture\n def one(self): return self\n"
            " def test_a(self, one): seen.append(one is self)",
            [True],
        ),
        (
            "@pytest.fixture\ndef one():\n seen.append('made')\n return 1\n"
            "@pytest.fixture\ndef two(one): return one\n"
            "def test_it(one, two): seen.append(one + two)",
            ["made", 2],
        ),
    ],
)
def test_fixtures_are_made_when_they_are_needed(source: str, seen: list[Any]) -> None:
    assert calls(source) == seen


def test_methods_of_a_class_are_prepared_and_cleaned_up() -> None:
    source = (
        "class TestIt:\n"
        " @classmethod\n def setup_class(cls): seen.append('class')\n"
        " def setup_method(self, method): seen.append(method.__name__)\n"
        " def setup(self): self.x = 5\n"
        " def teardown_method(self): seen.append('end')\n"
        " def test_a(self): seen.append(self.x)\n"
    )
    assert calls(source) == ["class", "test_a", 5, "end"]
    with_method = source.replace("teardown_method(self)", "teardown_method(self, method)")
    assert calls(with_method.replace("'end'", "method.__name__"))[-1] == "test_a"
    assert calls("class TestIt:\n def test_a(self): seen.append(1)") == [1]
    plain = "def setup_method(): seen.append('no')\ndef test_a(): seen.append(1)"
    assert calls(plain) == [1]


def test_an_unknown_fixture_and_a_failure_are_raised() -> None:
    with pytest.raises(LookupError, match="fixture 'missing' not found"):
        calls("def test_it(missing): pass")
    source = "@pytest.fixture\ndef one():\n yield 1\n seen.append('down')\n"
    scope: dict[str, Any] = {"__name__": "__main__", "pytest": make_module(), "seen": []}
    exec(source + "def test_it(one): assert one == 2", scope)
    (call,) = calls_of("test_it", scope["test_it"], scope)
    with pytest.raises(AssertionError):
        call()
    assert scope["seen"] == ["down"]


def test_the_fixtures_that_are_there() -> None:
    before, kept = sys.stdout, {"a": 1}
    source = (
        "import os, sys, math, types\n"
        "def test_it(tmp_path, capsys, monkeypatch):\n"
        " (tmp_path / 'x').write_text('y')\n"
        " print('first')\n assert capsys.readouterr().out == 'first\\n'\n"
        " print('second')\n found = capsys.readouterr()\n"
        " assert (found.out, found.err) == ('second\\n', '')\n"
        " assert capsys.readouterr().out == ''\n"
        " monkeypatch.setattr(math, 'pi', 3)\n monkeypatch.setattr('math.e', 2)\n"
        " monkeypatch.setattr(math, 'new', 4, raising=False)\n"
        " monkeypatch.setenv('OWN_NAME', 'v')\n"
        " seen.append((math.pi, math.new, os.environ['OWN_NAME'], tmp_path))\n"
    )
    ((pi, new, name, folder),) = calls(source)
    assert (pi, new, name) == (3, 4, "v")
    assert sys.stdout is before
    assert math.pi > 3.1
    assert not hasattr(math, "new")
    assert "OWN_NAME" not in os.environ
    assert not folder.exists()
    with pytest_rules.ExitStack() as stack:
        pytest_rules.Patches(stack).setitem(kept, "a", 2)
        assert kept == {"a": 2}
    assert kept == {"a": 1}


def test_parameters_are_those_with_names() -> None:
    def function(self: Any, a: int, /, b: int, *rest: int, c: int, d: int = 1, **more: int) -> int:
        local = a
        return local

    assert pytest_rules.parameters(function) == ("self", "a", "b", "c", "d")


def test_what_is_no_test_gives_no_calls() -> None:
    for target in (5, "x", print, builtins, types.SimpleNamespace()):
        assert calls_of("test_it", target, {}) == []
