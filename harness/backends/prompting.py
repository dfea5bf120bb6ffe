"""Prompt builders and reply parsers: how they are found, and those for rows of any kind.

    build(row, **settings) -> list of {"role", "content"}, or None where there is nothing to ask
    read(turn, row, **settings) -> a JSON value; raises `Unreadable` with the reason

The catalogues' tables PROMPTS and READERS name them; "package.module:function" names any other. A
named function keeps its meaning: another meaning gets another name, for stages know it by its name.
"""

from __future__ import annotations

import importlib
import inspect
import json
import re
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from harness.backends.conversing import Turn
from harness.core.errors import BadData, BadRecord, unknown
from harness.core.hashing import canonical_json, text_digest
from harness.engine import registry
from harness.engine.operations import Row

Build = Callable[[Row], list[dict[str, str]] | None]
Read = Callable[[Turn, Row], Any]

_PLACE = re.compile(r"\{(\w+(?:\.\w+)*)\}")


class Unreadable(Exception):
    """A reply from which nothing can be read; the message is the reason."""


def function(table: str, name: str, arguments: int, settings: dict[str, Any]) -> Any:
    """A function of a table, or "package.module:function", with its settings.

    Raises:
        UnknownName: no table names it.
        BadRecord: it cannot be imported, or does not take these settings.
    """
    known = registry.table(table)
    if name not in known and ":" not in name:
        raise unknown(table.lower().removesuffix("s"), name, known)
    try:
        found = registry.load_target(known.get(name, name))
        inspect.signature(found).bind(*[None] * arguments, **settings)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise BadRecord(
            f'"{name}" with the settings {settings} cannot be used: {error}; expected a function '
            f"with {arguments} positional arguments and those keyword arguments"
        ) from None
    return partial(found, **settings)


def code_of(names: Iterable[Any]) -> str:
    """Digest of the modules that plugins' functions are in; built-ins are known by their name."""
    modules = sorted({str(name).partition(":")[0] for name in names if ":" in str(name)})
    try:
        sources = [inspect.getsource(importlib.import_module(module)) for module in modules]
    except (ImportError, OSError, TypeError, ValueError):
        return ""  # `function` names what is wrong
    return text_digest("\0".join(sources)) if sources else ""


# Prompt builders and reply parsers for rows of any kind


def messages(row: Row) -> list[dict[str, str]]:
    """The row's own messages."""
    found: list[dict[str, str]] = row["messages"]
    return found


def template(row: Row, *, text: str, system: str = "") -> list[dict[str, str]] | None:
    """One user message: `text` with each {field} or {field.key} replaced by the row's value.

    A value that is null, such as that of an earlier question that failed, leaves nothing to ask.

    >>> template({"id": "a", "name": {"first": "Ada"}}, text='Who is {name.first}? {"json": 1}')
    [{'role': 'user', 'content': 'Who is Ada? {"json": 1}'}]

    Raises:
        BadData: a row without the field.
    """
    values = {place: _value(row, place) for place in _PLACE.findall(text)}
    if None in values.values():
        return None
    filled = _PLACE.sub(lambda match: str(values[match[1]]), text)
    said = [{"role": "user", "content": filled}]
    return [{"role": "system", "content": system}, *said] if system else said


def _value(row: Row, place: str) -> Any:
    value: Any = row
    for key in place.split("."):
        if value is None:
            break
        if not isinstance(value, dict) or key not in value:
            raise BadData(f'row "{row["id"]}" has no field {place}, which the template names')
        value = value[key]
    return value


def text(turn: Turn, row: Row) -> str:
    """The whole reply; an empty one cannot be read."""
    if not turn.text.strip():
        raise Unreadable("the reply is empty")
    return turn.text.strip()


def json_object(turn: Turn, row: Row) -> dict[str, Any]:
    """The first JSON object in the reply."""
    for start in re.finditer(r"\{", turn.text):
        try:
            found, _ = json.JSONDecoder().raw_decode(turn.text, start.start())
            canonical_json(found)  # refuses what JSON files cannot hold: NaN, infinity
        except (ValueError, RecursionError):
            continue
        return dict(found)
    raise Unreadable("the reply contains no JSON object")
