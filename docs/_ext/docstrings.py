"""Our docstrings are plain text with Markdown's habits; autodoc wants reStructuredText.

An indented block becomes a literal one, `code` that is no name becomes ``code``, and characters
that reStructuredText would read as markup are escaped.
"""

from __future__ import annotations

import re
from typing import Any

SECTION = re.compile(r"(Args|Attributes|Example|Examples|Raises|Returns|Yields):$")
CODE = re.compile(r"(`[^`]+`)")
NAME = re.compile(r"`~?[A-Za-z_][\w.]*`")
LIMITS = re.compile(r"(?:~?typing\.)?Annotated\[(.+?)(?:, ~?[\w.]+\([^)]*\))+\]")
MARKUP = re.compile(r"(?<!\w)(\*\w+\*)(?!\w)|([*|\\]|(?<=\w)_(?!\w))")  # *emphasis* stays


def translate(lines: list[str]) -> list[str]:
    """The same docstring as reStructuredText, before napoleon reads its sections."""
    found: list[str] = []
    section = literal = False
    for line in lines:
        indented = line.startswith("    ")
        if line.strip() and not indented:
            section, literal = bool(SECTION.match(line)), False
        starts = indented and not section and not literal and (not found or not found[-1].strip())
        if starts:
            found += ["::", ""]
            literal = True
        found.append(line if literal or line.startswith(">>>") else _prose(line))
    return found


def _prose(line: str) -> str:
    parts = CODE.split(line)
    for place, part in enumerate(parts):
        if place % 2 == 0:
            parts[place] = MARKUP.sub(lambda found: found[1] or f"\\{found[2]}", part)
        elif not NAME.fullmatch(part):
            parts[place] = f"`{part}`"
    return "".join(parts)


def _process(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    lines[:] = translate(lines)


def _sign(app: Any, what: str, name: str, thing: Any, options: Any, given: str, back: str) -> Any:
    """Signatures without pydantic's limits; `<factory>` could not be read as Python."""
    if given == "(*args, **kwargs)":  # a protocol's
        return "", back
    return LIMITS.sub(r"\1", given).replace("<factory>", "...") if given else None, back


def setup(app: Any) -> dict[str, bool]:
    app.connect("autodoc-process-signature", _sign)
    app.connect("autodoc-process-docstring", _process, priority=100)  # napoleon comes at 500
    return {"parallel_read_safe": True}
