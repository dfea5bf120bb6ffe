"""Parsing in several threads."""

from __future__ import annotations

import ast
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.verification import syntax
from harness.verification.screening import objection
from harness.verification.scripts import split_tests


def test_threads_parse_one_source_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    inside, most, count = 0, 0, threading.Lock()

    def slow(source: str) -> ast.Module:
        nonlocal inside, most
        with count:
            inside += 1
            most = max(most, inside)
        time.sleep(0.01)
        with count:
            inside -= 1
        return ast.Module([], [])

    monkeypatch.setattr(syntax.ast, "parse", slow)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(split_tests, ["assert f(1)"] * 4))
        list(pool.map(objection, ["x = 1"] * 4))
    assert most == 1


def test_errors_are_those_of_python() -> None:
    with pytest.raises(SyntaxError):
        syntax.parse("x =")
    assert ast.dump(syntax.parse("x = 1")) == ast.dump(ast.parse("x = 1"))
