"""Overrides of tables: dotted keys with values, as `--set a.b=c` gives them.

    set_key({"a": {"b": 1}}, "a.b", 2)            {"a": {"b": 2}}
    merge({"a": {"b": 1}}, {"a": {"c": 2}})       {"a": {"b": 1, "c": 2}}

What they were made from stays unchanged.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.core.errors import BadRecord, UserError

Overrides = Mapping[str, Any] | Sequence[str]


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two tables recursively; other values of `over` replace those of `base`.

    >>> merge({"a": {"x": 1, "y": 2}, "l": [1]}, {"a": {"y": 3}, "l": [2]})
    {'a': {'x': 1, 'y': 3}, 'l': [2]}
    """
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        both = isinstance(old, dict) and isinstance(value, dict)
        merged[key] = merge(old, value) if both else value  # type: ignore[arg-type]
    return merged


def overridden(overrides: Overrides) -> Iterator[tuple[str, Any, str]]:
    """Dotted key, value and text of each override."""
    if isinstance(overrides, Mapping):
        for key, value in overrides.items():
            yield key, value, f"{key}={value}"
    else:
        for text in overrides:
            yield *parse_override(text), text


def parse_override(text: str) -> tuple[str, Any]:
    """Split "a.b=value".

    >>> parse_override("train.learning_rate=5e-7")
    ('train.learning_rate', 5e-07)
    >>> parse_override("models.target.ref=nano:target")
    ('models.target.ref', 'nano:target')
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise UserError(f'--set expects "key=value", found "{text}"; for example train.beta=0.1')
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value


def set_key(data: Mapping[str, Any], dotted: str, value: object) -> dict[str, Any]:
    """A copy of `data` with the dotted key set; numbers index lists.

    Raises:
        BadRecord: the key leads through something that is no table, or beyond the end of a list.
    """
    return dict(_with(data, dotted.split("."), value, []))


def _with(inner: Any, parts: Sequence[str], value: object, path: Sequence[str]) -> Any:
    """A copy of a table or list at `path` with the value at the key `parts` inside it."""
    if not parts:
        return value
    head, *rest = parts
    key, here = ".".join([*path, *parts]), ".".join(path)
    if inner is None:
        inner = {}  # an optional table
    if isinstance(inner, (list, tuple)):
        if not head.isdigit() or int(head) >= len(inner):
            raise BadRecord(f'--set {key}: "{here}" is a list of {len(inner)}; found "{head}"')
        items = list(inner)
        items[int(head)] = _with(items[int(head)], rest, value, [*path, head])
        return items
    if not isinstance(inner, Mapping):
        raise BadRecord(f'--set {key}: "{here}" is {inner!r}, not a table')
    return {**inner, head: _with(inner.get(head, {}), rest, value, [*path, head])}
