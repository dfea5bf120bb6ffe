"""A resolved recipe as a commented TOML file.

The file has every value that a run uses, under one profile, so that it runs as it stands and keeps
the id of the recipe.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tomli_w
from pydantic import BaseModel

from harness.engine.recipe import Recipe

_WIDTH = 96
_LAST = ("systems", "suites", "claims")  # long lists, after the settings of the method
_NAME = re.compile(r"[A-Za-z0-9_-]+")


def recipe_text(recipe: Recipe, heading: Sequence[str] = ()) -> str:
    """The recipe as TOML; `load_recipe` reads the same record from it.

    Args:
        heading: comment lines at the top.
    """
    data = _without_none(recipe.model_dump(mode="json"))
    profile = str(data.pop("profile") or "nano")
    data |= {key: data.pop(key) for key in _LAST if key in data}
    lines = [f"# {line}".rstrip() for line in heading]
    lines += _table(recipe, data, ())
    lines += ["", f"[{_key('profile', profile)}]"]
    return "\n".join(lines) + "\n"


def _without_none(value: Any) -> Any:
    """The value without keys whose value is None, which TOML does not have."""
    if isinstance(value, Mapping):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_none(item) for item in value]
    return value


def _table(
    record: object, data: Mapping[str, Any], path: tuple[str, ...], said: bool = True
) -> Iterator[str]:
    """Lines of a table: its values, then its tables.

    Args:
        record: what `data` is the dump of; comments are those of its class.
        said: write comments.
    """
    known = type(record).model_fields if isinstance(record, BaseModel) else {}
    notes = attributes(type(record)) if isinstance(record, BaseModel) and said else {}
    inside = dict(record) if isinstance(record, BaseModel) else {}
    shown = {
        key: value
        for key, value in data.items()
        if value or value in (0, False) or key not in known or known[key].default != value
    }
    for key, value in shown.items():
        if not _is_table(value) and not _is_tables(value):
            yield from _comment(notes.get(key, ""))
            yield tomli_w.dumps({key: value}).rstrip("\n")
    for key, value in shown.items():
        inner = (*path, key)
        if _is_table(value):
            yield ""
            yield from _comment(notes.get(key, "") or (_summary(inside.get(key)) if said else ""))
            yield f"[{_key(*inner)}]"
            yield from _table(inside.get(key), value, inner, said)
        elif _is_tables(value):
            items = inside.get(key) or [None] * len(value)
            for number, (item, one) in enumerate(zip(items, value, strict=True)):
                first = said and number == 0
                yield ""
                yield from _comment(notes.get(key, "") or _summary(item) if first else "")
                yield f"[[{_key(*inner)}]]"
                yield from _table(item, one, inner, first)


def _is_table(value: object) -> bool:
    return isinstance(value, Mapping)


def _is_tables(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, Mapping) for v in value)


def _key(*parts: str) -> str:
    return ".".join(
        part if _NAME.fullmatch(part) else tomli_w.dumps({part: 0})[:-5] for part in parts
    )


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(text, _WIDTH)]


def _summary(record: object) -> str:
    """The first sentence of the docstring of a record's own class."""
    if not isinstance(record, BaseModel) or not type(record).__doc__:
        return ""
    return " ".join(str(type(record).__doc__).strip().split("\n\n")[0].split())


def attributes(record: type[BaseModel]) -> dict[str, str]:
    """What the docstrings of a record and its bases say about each field."""
    found: dict[str, str] = {}
    for one in reversed(record.__mro__):
        block = re.search(r"^( *)Attributes:\n((?:\1 +.*\n|\n)*)", f"{one.__doc__ or ''}\n", re.M)
        if block is None:
            continue
        lines = textwrap.dedent(block[2]).splitlines()
        name = ""
        for line in lines:
            start = re.match(r"([a-z_][a-z0-9_, ]*): (.*)", line)
            if start and not line.startswith(" "):
                name = start[1]
                found |= dict.fromkeys((part.strip() for part in name.split(",")), start[2])
            elif name and line.strip():
                for part in name.split(","):
                    found[part.strip()] += f" {line.strip()}"
    return found
