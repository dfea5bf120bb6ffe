"""Python's parser, for several threads.

CPython counts the depth of a tree under construction, and a parse beside others has ended in a
SystemError, "AST constructor recursion depth mismatch": once, with 3.11.7, in a traced run. It
could not be provoked; one parse at a time costs nothing.
"""

from __future__ import annotations

import ast
import threading

_ONE_AT_A_TIME = threading.Lock()


def parse(source: str) -> ast.Module:
    """As `ast.parse`, whose errors it raises."""
    with _ONE_AT_A_TIME:
        return ast.parse(source)
