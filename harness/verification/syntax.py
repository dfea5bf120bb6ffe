"""Python's parser, for several threads.

CPython counts the depth of a tree under construction in one place for all threads, so that two
parses at a time may end in a SystemError, "AST constructor recursion depth mismatch" (seen with
3.11.7).
"""

from __future__ import annotations

import ast
import threading

_ONE_AT_A_TIME = threading.Lock()


def parse(source: str) -> ast.Module:
    """As `ast.parse`, whose errors it raises."""
    with _ONE_AT_A_TIME:
        return ast.parse(source)
