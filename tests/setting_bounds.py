"""Defaults and bounds of settings, field by field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from harness.core.errors import BadRecord
from harness.core.records import Record, parse

Bounds = Mapping[str, tuple[list[Any], list[Any]]]  # field -> values accepted, values refused


def values_of(record: type[Record], **given: Any) -> dict[str, Any]:
    """Every field's value where only some are given."""
    made = parse(record, given, "test")
    return {name: getattr(made, name) for name in type(made).model_fields}


def assert_bounds(record: type[Record], given: Mapping[str, Any], bounds: Bounds) -> None:
    """Each value is accepted or refused beside the given ones; refusals name the field."""
    for field, (accepted, refused) in bounds.items():
        for value in accepted:
            assert getattr(parse(record, {**given, field: value}, "test"), field) == value
        for value in refused:
            with pytest.raises(BadRecord, match=field):
                parse(record, {**given, field: value}, "test")


def assert_left_out(record: type[Record], given: Mapping[str, Any], changes: Any) -> None:
    """Fields that stored parameters lack at their default and hold at another value.

    Ids of stages of earlier versions, which did not have the field, depend on it.
    """
    assert not set(changes) & parse(record, given, "test").model_dump(mode="json").keys()
    for field, value in changes.items():
        stored = parse(record, {**given, field: value}, "test").model_dump(mode="json")
        assert stored.keys() & changes.keys() == {field}
        assert parse(record, stored, "test") == parse(record, {**given, field: value}, "test")
