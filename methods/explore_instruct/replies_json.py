"""Replies in JSON: sub-tasks and examples, also of replies that were cut off or hold more text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

Fields = dict[str, str]
_ESCAPE = re.compile(r'\\(["\\/bfnrtu])|\\')
# LaTeX commands that begin like an escape of JSON: \beta, \frac, \theta, \right; \neq.
_LETTERS = {"\b": r"\b", "\f": r"\f", "\t": r"\t", "\r": r"\r", "\n": r"\n"}
_LOST = re.compile(r"[\b\f\t\r](?=[a-z])|\n(?=(?:eq|abla|ot|u|eg|i)\b)")


def json_subtasks(text: str) -> list[tuple[Fields, list[Fields]]]:
    """(name and reason, examples) of all objects with a name, wherever they are in the reply."""
    return [
        (
            {"name": _string(item["name"]), "reason": _string(item.get("reason"))},
            _listed(item.get("examples")),
        )
        for item in _objects(text, "name")
    ]


def json_examples(text: str) -> list[Fields]:
    """Instruction, input and output of all objects with an instruction and an output."""
    return _listed(list(_objects(text, "instruction")))


def with_latex(text: str) -> str:
    r"""A text whose LaTeX commands were read as escapes of JSON, because "\" was not doubled.

    >>> with_latex("2 \times \frac{1}{2}")
    '2 \\times \\frac{1}{2}'
    """
    return _LOST.sub(lambda match: _LETTERS[match[0]], text)


def _listed(items: Any) -> list[Fields]:
    if not isinstance(items, list):
        return []
    return [
        {key: _string(item.get(key)) for key in ("instruction", "input", "output")}
        for item in items
        if isinstance(item, dict) and "instruction" in item and "output" in item
    ]


def _objects(text: str, key: str) -> Iterator[dict[str, Any]]:
    """Outermost objects with a key, in order; of a reply that was cut off, the complete ones."""
    text = _ESCAPE.sub(lambda match: match[0] if match[1] else r"\\", text)
    decoder, place = json.JSONDecoder(strict=False), 0
    while (start := text.find("{", place)) >= 0:
        try:
            found, place = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            place = start + 1
            continue
        yield from _with_key(found, key)


def _with_key(value: Any, key: str) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict) and key in value:
        yield value
    elif isinstance(value, (dict, list)):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _with_key(inner, key)


def _string(value: Any) -> str:
    """A JSON value as text; numbers and lists as they are written."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
