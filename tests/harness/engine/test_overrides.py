"""Dotted keys and merged tables: what is set, what stays, what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from harness.core.errors import BadRecord, UserError
from harness.engine.overrides import merge, overridden, parse_override, set_key

TABLE: dict[str, Any] = {"a": {"b": 1, "c": [10, {"d": 2}]}, "e": None, "t": (1, 2), "s": "text"}


@pytest.mark.parametrize(
    ("key", "changed"),
    [
        ("x", {"x": 9}),
        ("a.b", {"a": {"b": 9, "c": [10, {"d": 2}]}}),
        ("a.x.y", {"a": {"b": 1, "c": [10, {"d": 2}], "x": {"y": 9}}}),
        ("a.c.0", {"a": {"b": 1, "c": [9, {"d": 2}]}}),
        ("a.c.1.d", {"a": {"b": 1, "c": [10, {"d": 9}]}}),
        ("a.c.1.x", {"a": {"b": 1, "c": [10, {"d": 2, "x": 9}]}}),
        ("e.x", {"e": {"x": 9}}),
        ("t.1", {"t": [1, 9]}),
        ("s", {"s": 9}),
    ],
)
def test_a_key_is_set_and_everything_else_stays(key: str, changed: dict[str, Any]) -> None:
    before = repr(TABLE)
    assert set_key(TABLE, key, 9) == {**TABLE, **changed}
    assert repr(TABLE) == before


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("a.c.2", '--set a.c.2: "a.c" is a list of 2; found "2"'),
        ("a.c.x.y", '--set a.c.x.y: "a.c" is a list of 2; found "x"'),
        ("a.b.c.d", '--set a.b.c.d: "a.b" is 1, not a table'),
        ("s.x", "--set s.x: \"s\" is 'text', not a table"),
        ("a.c.0.x", '--set a.c.0.x: "a.c.0" is 10, not a table'),
    ],
)
def test_a_key_that_leads_nowhere_is_named_whole(key: str, said: str) -> None:
    with pytest.raises(BadRecord) as caught:
        set_key(TABLE, key, 9)
    assert str(caught.value) == said


def test_tables_are_merged_and_other_values_replaced() -> None:
    base = {"a": {"x": 1, "y": {"z": 2}}, "l": [1, 2], "n": 1, "t": {"q": 1}}
    over = {"a": {"y": {"w": 3}}, "l": [3], "n": {"m": 1}, "t": 5, "new": 6}
    assert merge(base, over) == {
        "a": {"x": 1, "y": {"z": 2, "w": 3}}, "l": [3], "n": {"m": 1}, "t": 5, "new": 6
    }  # fmt: skip
    assert base["a"] == {"x": 1, "y": {"z": 2}}


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("a.b=1", "a.b", 1), ("a = 5e-7 ", "a", 5e-7), ('a="1"', "a", "1"), ("a=x=y", "a", "x=y"),
        ("a=[1, 2]", "a", [1, 2]), ("a={b = 1}", "a", {"b": 1}), ("a=true", "a", True),
        ("a=nano:target", "a", "nano:target"), ("a=", "a", ""),
    ],
)  # fmt: skip
def test_values_are_toml_or_else_text(text: str, key: str, value: object) -> None:
    assert parse_override(text) == (key, value)
    assert list(overridden([text])) == [(key, value, text)]
    assert list(overridden({key: value})) == [(key, value, f"{key}={value}")]


@pytest.mark.parametrize("text", ["a.b", "=1", " =1", ""])
def test_a_text_without_key_or_value_is_refused(text: str) -> None:
    with pytest.raises(
        UserError, match=r'--set expects "key=value", found ".*train.settings.beta=0.1'
    ):
        parse_override(text)
