"""Values between the processes: they arrive as they were, and nothing else does."""

from __future__ import annotations

import json
import math
import os
import threading
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


@pytest.mark.parametrize(
    ("value", "node"),
    [
        ((1, "a"), ["t", [1, "a"]]),
        (frozenset([1]), ["z", [1]]),
        (b"\x01\xff", ["b", "01ff"]),
        (1 + 2j, ["c", 1.0, 2.0]),
        (range(1, 9, 2), ["r", [1, 9, 2]]),
        (slice(None, 3), ["S", [None, 3, None]]),
        ({1: 2}.keys(), ["v", 0, [1]]),
        ({1: 2}.values(), ["v", 1, [2]]),
        ({1: 2}.items(), ["v", 2, [["t", [1, 2]]]]),
        (..., ["e", True]),
        (NotImplemented, ["e", False]),
        ([1, [2]], ["l", [1, ["l", [2]]]]),
        ({"a": [1]}, ["d", ["a"], [["l", [1]]]]),
        ({1}, ["s", [1]]),
        (bytearray(b"x"), ["B", "78"]),
        (deque([1], 3), ["Q", 3, [1]]),
        (Counter("aab"), ["C", ["a", "b"], [2, 1]]),
        (OrderedDict(b=1), ["O", ["b"], [1]]),
        (defaultdict(int, a=1), ["Y", "int", ["a"], [1]]),
        (defaultdict(lambda: 5), ["Y", "", [], []]),
        (Decimal("0.10"), ["N", "decimal.Decimal", "0.10"]),
        (UUID(int=5), ["N", "uuid.UUID", str(UUID(int=5))]),
        (Fraction(1, 3), ["F", 1, 3]),
        (timedelta(1, 2, 3), ["T", "timedelta", [1, 2, 3]]),
        (date(2024, 2, 29), ["T", "date", "2024-02-29"]),
        (np.int8(3), ["A", "|i1", None, "03"]),
        (np.zeros((1, 2), "int8"), ["A", "|i1", [1, 2], "0000"]),
    ],
)
def test_the_form_of_each_value(value: Any, node: Any) -> None:
    assert Packer(refused).pack(value) == node
    arrived = Unpacker(refused).unpack(node)
    assert type(arrived) is type(value)
    if not isinstance(value, defaultdict | np.ndarray | type({}.values())):
        assert arrived == value


def test_the_factory_of_a_dictionary_arrives_if_it_is_built_in() -> None:
    for kind in (int, float, str, list, dict, set, bool):
        assert sent(defaultdict(kind)).default_factory is kind
    assert sent(defaultdict(lambda: 5)).default_factory is None


def test_what_cannot_be_copied_is_a_reference() -> None:
    class Own(list[int]):
        pass

    class Counter(dict[str, int]):  # like that of the library by name only
        pass

    Counter.__module__ = "collections"
    objects = np.array([None])
    values = (object(), Own(), Counter(), int, len, objects, 1.5)
    packer = Packer(lambda value: ["x", values.index(value)])  # type: ignore[arg-type]
    places = [packer.pack(value) for value in values[:5]]
    assert places == [["x", n] for n in range(5)]
    assert Packer(lambda value: ["x", 5]).pack(objects) == ["x", 5]
    found = Unpacker(lambda node: values[node[1]]).unpack(["l", [["x", 1], ["x", 2]]])
    assert found[0] is values[1]


def test_containers_are_numbered_in_the_order_of_their_beginnings() -> None:
    inner, array = [1], np.zeros(2)
    outer = {"a": inner, "b": inner, "c": deque([2]), "d": array}
    packer = Packer(refused)
    node = packer.pack(outer)
    assert [id(value) for value in packer.containers] == [
        id(value) for value in (outer, inner, outer["c"], array)
    ]
    assert node[2][1] == ["m", 1]
    unpacker = Unpacker(refused)
    found = unpacker.unpack(node)
    assert found["a"] is found["b"] is unpacker.containers[1]
    assert unpacker.containers[3] is found["d"]
    assert Packer(refused).containers == []


def test_containers_of_a_request_are_known_to_its_reply() -> None:
    given = [1]
    packer = Packer(refused, {id(given): 4})
    assert packer.pack([given, given]) == ["l", [["a", 4], ["a", 4]]]
    assert packer.contents(given) == ["l", [1]]
    found = Unpacker(refused, [None, given]).unpack(["t", [["a", 1], ["a", 1]]])
    assert found[0] is found[1] is given


@pytest.mark.parametrize(
    ("made", "node", "after"),
    [
        ([1], ["l", [2, 3]], [2, 3]),
        ({1: 2}, ["d", [3], [["l", []]]], {3: []}),
        ({1}, ["s", [2]], {2}),
        (bytearray(b"ab"), ["B", "63"], bytearray(b"c")),
        (deque([1], 2), ["Q", 2, [3, 4]], deque([3, 4], 2)),
        (Counter("a"), ["C", ["b"], [2]], Counter("bb")),
        (defaultdict(int, a=1), ["Y", "int", ["b"], [2]], defaultdict(int, b=2)),
    ],
    ids=repr,
)
def test_containers_change_where_they_are(made: Any, node: Any, after: Any) -> None:
    Unpacker(refused).fill(made, node)
    assert made == after


def test_arrays_change_where_they_are() -> None:
    array = np.zeros(2, "int8")
    Unpacker(refused).fill(array, ["A", "|i1", [2], "0102"])
    assert array.tolist() == [1, 2]
    with pytest.raises(Forged, match="shape"):
        Unpacker(refused).fill(array, ["A", "|i1", [1], "01"])
    arrived = sent(array)
    arrived[0] = 9  # not a view of what arrived
    assert arrived.tolist() == [9, 2]


def test_an_object_is_no_value_and_plain_data_is_itself() -> None:
    with pytest.raises(Forged, match="a JSON object"):
        Unpacker(refused).unpack({})
    for value in (None, True, 5, 0.5, "x"):
        assert Unpacker(refused).unpack(value) is value


def test_long_messages_pass_and_a_closed_end_is_told() -> None:
    (down, up), (back, forth) = os.pipe(), os.pipe()
    near, far = Link(down, forth, refused), Link(back, up, refused)
    long = ["x" * 300_000]
    sender = threading.Thread(target=near.send, args=(["text", long],))
    sender.start()
    assert far.receive() == ["text", long]
    sender.join()
    for line in (b"5\n", b"[]\n", b'[5,"x"]\n', b"{}\n"):
        os.write(up, line)
        with pytest.raises(Forged, match="not a message"):
            near.receive()
    for reply in (b'["ok",1,5,[]]\n', b'["ok",3,5,[],""]\n'):
        os.write(up, reply)
        with pytest.raises(Forged, match="another request"):
            near.ask("get")
    os.close(back)
    with pytest.raises(Ended):
        near.send(["x"])
    for descriptor in (down, up, forth):
        os.close(descriptor)
