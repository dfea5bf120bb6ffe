"""Expected texts in `expected/`, compared with what is made now.

    EXPECTED = {"nano.md": lambda: render(nano(), "md")}
    test = compared(EXPECTED)

`python -m tests.leaderboards.expected_pages` writes the texts of all test modules again, after a
change of layout that is meant; every line of their difference is to be read before it is committed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "expected"
MODULES = (
    "tests.leaderboards.test_rendered",
    "tests.leaderboards.test_stored",
    "tests.leaderboards.test_pages",
    "tests.leaderboards.plots.test_shown",
)


def said(value: Any) -> str:
    """JSON with an entry per line."""
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def differs(name: str, text: str) -> str:
    """The first line that differs from the expected one; "" if none does."""
    expected = (FOLDER / name).read_text("utf-8").splitlines()
    found = text.splitlines()
    for number in range(max(len(expected), len(found))):
        one, other = (lines[number : number + 1] for lines in (found, expected))
        if one != other:
            return f"{name}, line {number + 1}: found {one}, expected {other}"
    return ""


def main() -> None:
    for module in MODULES:
        made: Mapping[str, Callable[[], str]] = import_module(module).EXPECTED
        for name, make in made.items():
            (FOLDER / name).write_text(make(), "utf-8")


if __name__ == "__main__":
    main()
