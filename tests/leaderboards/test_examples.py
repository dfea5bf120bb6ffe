"""The examples in the docstrings of the package run."""

from __future__ import annotations

import doctest
from importlib import import_module

import pytest

MODULES = (
    "claims",
    "files",
    "spec",
    "scores",
    "render.text",
    "render.md",
    "render.csv",
    "render.tex",
)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    failed, _ = doctest.testmod(import_module(f"leaderboards.{name}"))
    assert failed == 0
