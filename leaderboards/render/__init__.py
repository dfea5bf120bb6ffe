"""Rendering of boards as text: one module per format, each a pure function of the board."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from harness.core.errors import unknown
from leaderboards.board import Board

FORMATS = ("md", "csv", "json", "tex", "html")  # files of a board's folder


def render(board: Board, format: str) -> str:
    """The board in one of FORMATS, or "terminal" for a plain table of fixed width.

    Raises:
        UnknownName: the format is not one of them.
    """
    known = ("terminal", *FORMATS)
    if format not in known:
        raise unknown("format", format, known, "crucible board --format md")
    function: Callable[[Board], str] = import_module(f"leaderboards.render.{format}").render
    return function(board)
