"""Test scripts as data: split into tests, and joined where one only prepares the next."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import NamedTuple

from harness.verification.syntax import parse


class Script(NamedTuple):
    """A script that is run as one test.

    Attributes:
        tests: number of the given tests that it contains.
    """

    text: str
    tests: int


def split_tests(script: str) -> tuple[str, ...]:
    """Split a test script: one test per top-level assert, with the lines before it.

    A script without a top-level assert, or that does not parse, is one test.

    >>> split_tests("x = f(1)\nassert x == 1\nassert f(2) == 4\n")
    ('x = f(1)\nassert x == 1', 'assert f(2) == 4')
    """
    try:
        body = parse(script).body
        found = {node.end_lineno or 0 for node in body if isinstance(node, ast.Assert)}
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        found = set()
    lines, inner = script.split("\n"), sorted(found)[:-1]
    spans = zip([0, *inner], [*inner, len(lines)])
    return tuple("\n".join(lines[start:end]).rstrip() for start, end in spans)


def joined(tests: Sequence[str]) -> list[Script]:
    """Join tests that only prepare later ones (imports, functions, values) to the next test.

    >>> joined(["import math", "def check(f):\\n    assert f(4) == 2", "check(math.sqrt)"])[0].tests
    3
    """
    waiting: list[str] = []
    found: list[Script] = []
    for number, test in enumerate(tests):
        if prepares(test, tests[number + 1 :]):
            waiting.append(test)
        else:
            found.append(Script("\n".join([*waiting, test]), len(waiting) + 1))
            waiting = []
    if waiting and found:
        last = found.pop()
        found.append(Script("\n".join([last.text, *waiting]), last.tests + len(waiting)))
    elif waiting:
        found = [Script(test, 1) for test in waiting]
    return found


def prepares(test: str, later: Sequence[str]) -> bool:
    """Whether a test asserts nothing itself, and nothing that it defines would be called.

    Functions and classes with assertions prepare if later tests name them.
    """
    try:
        body = parse(test).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    text = "\n".join(later)
    for statement in body:
        asserts = any(map(_asserts, ast.walk(statement)))
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            if asserts and statement.name not in text:
                return False
        elif asserts or (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call)):
            return False
    return True


def _asserts(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        return str(name).startswith(("assert", "raises", "fail"))
    return isinstance(node, ast.Assert | ast.Raise)
