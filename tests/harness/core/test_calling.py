"""Modules that are called like a function."""

from __future__ import annotations

import inspect
import sys
from types import ModuleType

import pytest

from harness.core.calling import make_callable


def test_a_module_is_called_and_stays_a_module(monkeypatch: pytest.MonkeyPatch) -> None:
    def add(first: int, second: int = 1) -> int:
        return first + second

    module = ModuleType("adding")
    module.add = add  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "adding", module)
    make_callable("adding", add)
    import adding  # type: ignore[import-not-found]

    assert adding(2) == adding.add(2) == 3
    assert isinstance(adding, ModuleType)
    assert list(inspect.signature(adding).parameters) == ["first", "second"]
