"""Values between the processes: they arrive as they were, and nothing else does."""

from __future__ import annotations

import json
import math
import os
from collections import Counter, OrderedDict, defaultdict, deque
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.verification.wire import Ended, Forged, Link, Packer, Unpacker

SCALARS = st.none() | st.booleans() | st.integers() | st.text() | st.binary()
SCALARS |= st.floats(allow_nan=False) | st.complex_numbers(allow_nan=False)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text() | st.integers(), inner)
        | st.sets(st.integers() | st.text())
    ),
    max_leaves=12,
)


def refused(value: Any) -> Any:
    raise TypeError(f"no reference to {value!r} expected")


def sent(value: Any) -> Any:
    return Unpacker(refused).unpack(json.loads(json.dumps(Packer(refused).pack(value))))


@given(VALUES)
def test_data_arrives_as_it_was(value: Any) -> None:
    found = sent(value)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "value",
    [
        Counter("abca"), OrderedDict(b=1, a=2), deque([1, 2], 3), Decimal("0.10"), Fraction(1, 3),
        date(2024, 2, 29), time(1, 2), datetime(2024, 1, 2, 3, 4, 5, 6), timedelta(1, 2, 3),
        UUID(int=5), range(1, 9, 2), slice(1, None), ..., frozenset([1]), bytearray(b"x"),
        -0.0, math.inf, "\ud800", 3**5000, {(1, 2): {3}}, np.float64(0.5), np.int8(3),
    ],
    ids=repr,
)  # fmt: skip
def test_values_of_the_library_arrive_as_they_were(value: Any) -> None:
    assert repr(sent(value)) == repr(value)


def test_more_containers() -> None:
    made = sent(defaultdict(list, a=[1]))
    assert (made["a"], made["b"]) == ([1], [])
    array = np.arange(6, dtype="float32").reshape(2, 3)
    found = sent(array)
    assert (found.dtype, found.tolist()) == (array.dtype, array.tolist())
    shared = [1]
    first, second = sent([shared, shared])
    assert first is second
    loop: list[Any] = []
    loop.append(loop)
    again = sent(loop)
    assert again[0] is again
    assert list(sent({1: 2}.items())) == [(1, 2)]


@pytest.mark.parametrize(
    "node",
    [
        {}, [], ["?"], ["t"], ["a", 9], ["m", 0], ["T", "datetime", "x"], ["b", "zz"],
        ["A", "O", [1], ""],
        ["F", 1, 0], ["d", [[]], [1]], ["s", [["l", []]]], ["l", 5], ["N", "decimal.Decimal", "x"],
    ],
    ids=repr,
)  # fmt: skip
def test_what_is_no_value_is_forged(node: Any) -> None:
    with pytest.raises((Forged, TypeError)):
        Unpacker(refused).unpack(node)


def test_only_the_expected_reply_is_taken() -> None:
    (down, up), (back, forth) = os.pipe(), os.pipe()
    link = Link(down, forth, lambda message: ["ok", message[1], None, [], ""])
    os.write(up, b'["call",7]\n["ok",1,5,[],""]\n["ok",1,6,[],""]\nx\n')
    assert link.ask("get")[2] == 5
    assert os.read(back, 999).splitlines()[1] == b'["ok",7,null,[],""]'
    for _ in range(2):  # a reply to an earlier request, then no JSON
        with pytest.raises(Forged):
            link.ask("get")
    os.close(up)
    with pytest.raises(Ended):
        link.ask("get")
    os.close(back)
