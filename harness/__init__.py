"""Crucible: evaluation first, training included.

    from harness import evaluate, reproduce, board, judge, compare

Each call is imported when it is first used; see docs/python.md.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.api.boards import board as board
    from harness.api.boards import compare as compare
    from harness.api.judges import judge as judge
    from harness.evaluate import evaluate as evaluate
    from harness.reproduce import reproduce as reproduce

__all__ = ["board", "compare", "evaluate", "judge", "reproduce"]

_PLACES = {
    "board": "harness.api.boards",
    "compare": "harness.api.boards",
    "evaluate": "harness.evaluate",
    "judge": "harness.api.judges",
    "reproduce": "harness.reproduce",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
