"""The process of an answer by itself: shapes, special methods, printed text, input."""

from __future__ import annotations

import collections
import fcntl
import io
import os
import types
from typing import Any

import pytest

from harness.verification import answer as answering
from harness.verification.answer import Printed, base_value, has_special, shape_of, special


@pytest.mark.parametrize(
    ("value", "shape"),
    [
        ((n for n in ()), "generator"), (iter([]), "iterator"), (zip(), "iterator"),
        (len, "function"), (lambda: 1, "function"), ("".upper, "function"), (5, "object"),
        (io.StringIO().write, "function"), (type("C", (), {"__next__": None})(), "object"),
        (type("C", (), {"__await__": None})(), "coroutine"),
    ],
)  # fmt: skip
def test_shapes(value: Any, shape: str) -> None:
    assert shape_of(value) == shape


class Number(int):
    def __add__(self, other: int) -> int:
        return 50


def test_special_methods_that_a_class_adds() -> None:
    assert has_special(Number, "__add__")
    assert not has_special(Number, "__sub__")
    assert not has_special(Number, "__enter__")
    assert has_special(collections.OrderedDict, "__reversed__")
    assert not has_special(type("C", (), {}), "__eq__")
    assert not has_special(type("C", (str,), {}), "__str__")


@pytest.mark.parametrize(
    ("value", "name", "args", "found"),
    [
        ([3], "__len__", (), 1), ({1: 2}, "__getitem__", (1,), 2), (2, "__add__", (3,), 5),
        (2, "__rsub__", (7,), 5), (2, "__pow__", (5,), 32), (2, "__pow__", (5, 7), 4),
        (2, "__lt__", (3,), True), (2, "__eq__", (3,), False), (0, "__bool__", (), False),
        ([1], "__contains__", (1,), True), (2.567, "__round__", (1,), 2.6), (3, "__index__", (), 3),
        (7, "__rpow__", (2,), 128), (7, "__divmod__", (2,), (3, 1)), ("a", "__format__", (">3",),
        "  a"), (2, "__iadd__", (3,), 5), (6, "__rtruediv__", (3,), 0.5),
    ],
)  # fmt: skip
def test_special_methods_are_called_as_python_does(
    value: Any, name: str, args: Any, found: Any
) -> None:
    assert special(value, name, *args) == found


def test_contents_of_subclasses() -> None:
    made = {
        int: type("A", (int,), {"__index__": lambda self: 9})(4),
        str: type("A", (str,), {"__str__": lambda self: "no"})("yes"),
        float: type("A", (float,), {"__float__": lambda self: 9.0})(4.5),
        dict: type("A", (dict,), {"items": lambda self: []})(a=1),
        list: type("A", (list,), {"__iter__": lambda self: iter(())})([1]),
        set: type("A", (set,), {})([1]),
    }
    plain = {int: 4, str: "yes", float: 4.5, dict: {"a": 1}, list: [1], set: {1}}
    for base, value in made.items():
        found = base_value(value, base)
        assert (found, type(found)) == (plain[base], base)


def test_printed_text_is_kept_up_to_a_limit() -> None:
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 1 << 18)
    os.set_blocking(read, False)
    kept = os.dup(1)
    try:
        os.dup2(write, 1)
        printed = Printed()
        assert printed.writable()
        assert printed.write("ab") == 2
        printed.write("c" * ((1 << 16) - 2))
        assert len(printed.text) == 1 << 16
        printed.write("\ud800")
        found = os.read(read, 1 << 18)
        assert (len(found), found[:2], found[-2:]) == ((1 << 16) + 1, b"ab", b"c?")
        printed.write("d")
        printed.close()
        assert (os.read(read, 9), printed.text) == (b"d", "")
    finally:
        os.dup2(kept, 1)
        for descriptor in (read, write, kept):
            os.close(descriptor)


def test_input_of_an_answer_is_asked_for() -> None:
    lines = iter(["a\n", "b", "", "c\n", ""])
    served: Any = types.SimpleNamespace(request=lambda verb, number: (verb, number, next(lines))[2])
    stream = answering.StandardInput(served)
    assert stream.readable()
    assert stream.read() == "a\nb"
    assert stream.readline() == "c\n"


def test_one_line_for_an_exception() -> None:
    class Odd(BaseException):
        def __str__(self) -> str:
            raise KeyError

    assert answering.describe(ValueError("a\nb")) == "raised ValueError: a b"
    assert len(answering.describe(ValueError("x" * 999))) == 300
    assert answering.describe(Odd()) == "raised an exception that cannot be shown"
