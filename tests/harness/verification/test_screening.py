"""Screening by value: what each form of cheating is told, and the code that passes."""

from __future__ import annotations

import pytest

from harness.verification.screening import REFUSED, objection
from harness.verification.scripts import Script, joined, prepares, split_tests


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_names_that_reach_the_program_outside_are_refused(name: str) -> None:
    told = f"uses {name}, which reads or steers the program that runs it"
    for code in (
        name,
        f"x.{name}",
        f"import {name}",
        f"from {name} import x",
        f"from x import {name}",
        f"import {name}.x as y",
        f"def {name}(): pass",
    ):
        assert objection(code) == told, code
    assert objection(f"import x as {name}_") == ""


def test_the_first_name_in_order_is_told() -> None:
    assert objection("from ctypes import addaudithook").startswith("uses ")
    assert objection("def settrace(ctypes): pass\nctypes") == (
        "uses settrace, which reads or steers the program that runs it"
    )
    code = "import a\na.b = 1\nsettrace"
    assert objection(code) == "replaces a.b, which its tests may call"


@pytest.mark.parametrize(
    ("code", "replaced"),
    [
        ("import m\nm.x = 1", "m.x"),
        ("import m as n\nn.x = 1", "n.x"),
        ("import m as n\nm.x = 1", ""),
        ("import m.n\nm.x = 1", "m.x"),
        ("from m import n\nn.x = 1", "n.x"),
        ("from m import n\nm.x = 1", ""),
        ("import m\nm.x += 1", "m.x"),
        ("import m\nm.x: int = 1", "m.x"),
        ("import m\ny = m.x = 1", "m.x"),
        ("import m\nm.x.y = 1", ""),
        ("import m\nm.x[0] = 1", ""),
        ("import m\nm.__dict__[0] = 1", "m.__dict__"),
        ("import m\nm.modules[0] = 1", "m.modules"),
        ("import m\ndel m.x", "m.x"),
        ("import m\nfor m.x in y: pass", "m.x"),
        ("import m\nsetattr(m, 'x', 1)", "m.attributes"),
        ("import m\ndelattr(m, 'x')", "m.attributes"),
        ("import m\nsetattr()", ""),
        ("import m\nsetattr(y, m, 1)", ""),
        ("import m\ngetattr(m, 'x')", ""),
        ("import m\nsetattr(m.x, 'y', 1)", ""),
        ("import sys\nsys.stdin = 1", ""),
        ("import sys\nsys.modules = 1", "sys.modules"),
        ("sys.modules['m'] = 1", "sys.modules"),
        ("__builtins__.x = 1", "__builtins__.x"),
        ("y.x = 1", ""),
        ("x = 1", ""),
    ],
)
def test_replaced_names(code: str, replaced: str) -> None:
    assert objection(code) == (f"replaces {replaced}, which its tests may call" if replaced else "")


@pytest.mark.parametrize(
    ("code", "refused"),
    [
        ("class A:\n def __eq__(s, o): return True", True),
        ("class A:\n def __ne__(s, o): return False", True),
        ("class A:\n def __lt__(s, o): return True", False),
        ("class A:\n def __eq__(s, o):\n  x = 1\n  return True", False),
        ("class A:\n def __eq__(s, o): return s.x", False),
        ("class A:\n def __eq__(s, o): pass", False),
        ("class A:\n __eq__ = lambda s, o: True", True),
        ("class A:\n y = __ne__ = lambda s, o: False", True),
        ("class A:\n __eq__ = lambda s, o: s.x", False),
        ("class A:\n y = lambda s, o: True", False),
        ("class A:\n __eq__ = True", False),
    ],
)
def test_objects_that_equal_everything(code: str, refused: bool) -> None:
    told = "defines objects that are equal to everything"
    assert objection(code) == (told if refused else "")


def test_code_that_does_not_compile() -> None:
    assert objection("x = (") == (
        "does not compile: SyntaxError: '(' was never closed (<unknown>, line 1)"
    )
    assert objection("x = '\0'").startswith("does not compile: ")
    assert objection("return 1").startswith("does not compile: SyntaxError: 'return' outside")


# Scripts of tests as data.


@pytest.mark.parametrize(
    ("script", "parts"),
    [
        ("", ("",)),
        ("x = 1", ("x = 1",)),
        ("assert a", ("assert a",)),
        ("assert a\nassert b", ("assert a", "assert b")),
        ("  # c\nassert a\n\nx = 1\nassert b\ny = 2",
         ("  # c\nassert a", "\nx = 1\nassert b\ny = 2")),
        ("assert (a,\n  b)\nassert c  \n\n", ("assert (a,\n  b)", "assert c")),
        ("def f():\n    assert a\nassert b\nassert c",
         ("def f():\n    assert a\nassert b", "assert c")),
        ("assert a; assert b\nassert c", ("assert a; assert b", "assert c")),
        ("x = (", ("x = (",)),
    ],
)  # fmt: skip
def test_scripts_are_split_behind_their_asserts(script: str, parts: tuple[str, ...]) -> None:
    assert split_tests(script) == parts


@pytest.mark.parametrize(
    ("test", "later", "whether"),
    [
        ("import m\nx = 1", (), True),
        ("# a comment", (), True),
        ("assert a", (), False),
        ("x = (", (), False),
        ("f(1)", (), False),
        ("x = f(1)", (), True),
        ("x", (), True),
        ("t.assertEqual(1, 1)", (), False),
        ("if a:\n    raise ValueError", (), False),
        ("with pytest.raises(E):\n    x = f(1)", (), False),
        ("with pytest.warns(E):\n    x = f(1)", (), True),
        ("if a:\n    x = fail(1)", (), False),
        ("def helper(): return 1", (), True),
        ("def helper(): assert a", ("helper()",), True),
        ("def helper(): assert a", ("other()",), False),
        ("async def helper(): assert a", ("helper()",), True),
        ("class T:\n    def test_a(self): assert a", (), False),
        ("class T:\n    def test_a(self): assert a", ("T().test_a()",), True),
        ("def helper(): return 1\nassert a", (), False),
    ],
)
def test_scripts_that_prepare(test: str, later: tuple[str, ...], whether: bool) -> None:
    assert prepares(test, later) is whether


@pytest.mark.parametrize(
    ("tests", "found"),
    [
        ((), []),
        (("assert a", "assert b"), [("assert a", 1), ("assert b", 1)]),
        (("x = 1", "y = 2", "assert a"), [("x = 1\ny = 2\nassert a", 3)]),
        (("assert a", "x = 1", "assert b"), [("assert a", 1), ("x = 1\nassert b", 2)]),
        (("assert a", "assert b", "x = 1", "y = 2"),
         [("assert a", 1), ("assert b\nx = 1\ny = 2", 3)]),
        (("x = 1", "y = 2"), [("x = 1", 1), ("y = 2", 1)]),
        (("def h(): assert a", "h()"), [("def h(): assert a\nh()", 2)]),
        (("h()", "def h(): assert a"), [("h()", 1), ("def h(): assert a", 1)]),
    ],
)  # fmt: skip
def test_scripts_that_prepare_are_joined_to_the_next(tests: tuple[str, ...], found: object) -> None:
    assert joined(tests) == [Script(*pair) for pair in found]  # type: ignore[attr-defined]
