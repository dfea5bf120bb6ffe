"""Rendering of boards as text: one module per format, each a pure function of the board.

`terminal` makes rich renderables for the command line and is not part of `FORMATS`.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from harness.core.errors import unknown
from leaderboards.board import Board

FORMATS = ("md", "csv", "json", "tex", "html")


def render(board: Board, format: str) -> str:
    """The board in one of FORMATS.

    Raises:
        UnknownName: the format is not one of them.
    """
    if format not in FORMATS:
        raise unknown("format", format, FORMATS, "crucible board --format md")
    function: Callable[[Board], str] = import_module(f"leaderboards.render.{format}").render
    return function(board)
