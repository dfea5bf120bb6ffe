"""Both ends of the line in one process: what crosses it, what is refused, what is forged."""

from __future__ import annotations

import builtins
import io
import os
import sys
import threading
import types
from collections.abc import Iterator
from typing import Any

import pytest

from harness.verification import remote
from harness.verification.answer import Printed, Served
from harness.verification.proxies import (
    REMOTE,
    Remote,
    RemoteClass,
    RemoteFunction,
    RemoteIterator,
    is_remote,
)
from harness.verification.remote import Answer
from harness.verification.wire import Ended, Forged

CODE = """
import enum
class Base:
    def __init__(self, x): self.x = x
    def __eq__(self, other): return isinstance(other, Base) and self.x == other.x
    def __add__(self, other): return Base(self.x + (other.x if isinstance(other, Base) else other))
    def __lt__(self, other): return self.x < other.x
    def __float__(self): return float(self.x)
    def __contains__(self, item): return item == self.x
    def count(self, item): return int(item == self.x)
class Plain: pass
class Words(list):
    def first(self): return self[0]
class Text(str): pass
class Table(dict): pass
class Own(Exception):
    def __init__(self, code): super().__init__(code, "more"); self.code = code
def fails(kind): raise {"own": Own(3), "key": KeyError("k"), "odd": KeyError(object())}[kind]
def counted(n): yield from range(n)
def used(f, *args): return f(*args)
def got(o): return o.value
def put(o, name, value): setattr(o, name, value)
def changed(items, table): items.append(4); table["new"] = [1]; return items
def same(x): return x
def zipped(): return zip([1], "a")
def shown(): print("shown", end=""); return 1
async def later(): return 6
base, plain, words, text = Base(1), Plain(), Words([1, 2]), Text("t")
"""


class Ends:
    """An answer that is served by a thread, and the tests' end of the line to it."""

    def __init__(self, code: str) -> None:
        down, up = os.pipe(), os.pipe()
        self.down, self.up = down, up
        self.served = Served(down[0], up[1], Printed())
        self.module = types.ModuleType("candidate")
        exec(code, vars(self.module))
        self.number = self.served.number_of(self.module)
        self.ended: list[str] = []
        self.answer = Answer(up[0], down[1], self.ended.append)
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self) -> None:
        try:
            while True:
                self.served.link.send(self.served.serve(self.served.link.receive()))
        except (Ended, Forged):
            return
        finally:
            os.close(self.up[1])  # whatever happens, nobody waits for a reply

    def __getattr__(self, name: str) -> Any:
        return self.answer.request("get", self.number, name)

    def close(self) -> None:
        os.close(self.down[1])
        self.thread.join(30)
        for descriptor in (self.down[0], self.up[0]):
            os.close(descriptor)


@pytest.fixture(scope="module")
def ends() -> Iterator[Ends]:
    made = Ends(CODE)
    made.answer.words = frozenset({"Base"})
    made.Base  # noqa: B018  # makes its proxy
    made.answer.named.add(object.__getattribute__(made.Base, "__dict__")[REMOTE][1])
    yield made
    made.close()


def test_objects_functions_and_classes_are_proxies(ends: Ends) -> None:
    assert isinstance(ends.Base, RemoteClass)
    assert isinstance(ends.same, RemoteFunction)
    assert isinstance(ends.zipped(), RemoteIterator)
    assert isinstance(ends.plain, Remote)
    assert isinstance(ends.plain, ends.Plain)
    assert not isinstance(ends.base, ends.Plain)
    assert all(map(is_remote, (ends.Base, ends.same, ends.plain)))
    assert not any(map(is_remote, (1, int, len, Remote)))
    assert ends.base is ends.base
    assert ends.same(ends.plain) is ends.plain
    assert ends.same(int) is int
    assert list(ends.zipped()) == [(1, "a")]
    assert {"fails", "base"} <= set(dir(ends.answer.resolve(["x", ends.number, ["u", "object"],
                                                             "object"])))  # fmt: skip


def test_attributes_are_those_of_the_answer(ends: Ends) -> None:
    made = ends.Base(5)
    assert made.x == 5
    made.x = 6
    assert made == ends.Base(6)
    del made.x
    with pytest.raises(AttributeError, match="x"):
        made.x  # noqa: B018
    assert not hasattr(made, "__wrapped__")
    ends.Plain.kind = 7
    assert ends.plain.kind == 7
    with pytest.raises(AttributeError):
        ends.Plain.__abstractmethods__  # noqa: B018


def test_operators_with_data_are_for_classes_that_tests_name(ends: Ends) -> None:
    assert ends.base + ends.Base(2) == ends.Base(3)
    assert ends.base < ends.Base(2)
    assert 1 in ends.base
    assert ends.base.count(1) == 1
    assert float(ends.base) == 1.0
    mixed = ends.base + 5
    assert mixed == ends.Base(6)
    for taken in (lambda: float(mixed), lambda: mixed < ends.base):
        with pytest.raises(TypeError, match="is not taken"):
            taken()
    assert ends.base != 1  # whatever its __eq__ says
    assert (ends.base == 1) is False
    number = object.__getattribute__(ends.Base, "__dict__")[REMOTE][1]
    ends.answer.named.remove(number)
    try:
        with pytest.raises(TypeError, match=r"gave an object \(Base\), not data"):
            ends.base + 5
        with pytest.raises(TypeError, match="not data"):
            1 in ends.base  # noqa: B015
        with pytest.raises(TypeError, match="is not asked for count"):
            ends.base.count(1)
        with pytest.raises(TypeError, match="is not asked for count"):
            ends.Base.count(ends.base, 1)
        assert ends.base + ends.Base(2) == ends.Base(3)
    finally:
        ends.answer.named.add(number)


def test_subclasses_of_built_in_types(ends: Ends) -> None:
    assert ends.words == [1, 2]
    assert ends.words != [1]
    assert 2 in ends.words
    assert len(ends.words) == 2
    assert ends.words[1] == 2
    ends.words.append(3)
    assert ends.words == [1, 2, 3]
    assert ends.words.first() == 1
    ends.words.pop()
    assert isinstance(ends.words, list)
    with pytest.raises(TypeError):
        hash(ends.words)
    assert ends.text == "t"
    assert ends.text.upper() == "T"
    assert hash(ends.text) == hash("t")


def test_containers_of_the_tests_change_with_a_call(ends: Ends) -> None:
    items, table = [3], {"old": 1}
    assert ends.changed(items, table) is items
    assert items == [3, 4]
    assert table == {"old": 1, "new": [1]}
    kept = [1]
    assert ends.same(kept) is kept
    assert kept == [1]


def test_exceptions_arrive_with_their_arguments(ends: Ends) -> None:
    with pytest.raises(ends.Own) as caught:
        ends.fails("own")
    assert (caught.value.args, caught.value.code) == ((3, "more"), 3)
    with pytest.raises(KeyError) as key:
        ends.fails("key")
    assert key.value.args == ("k",)
    with pytest.raises(KeyError, match="object at"):
        ends.fails("odd")
    own = ZeroDivisionError("mine")

    def raises() -> None:
        raise own

    with pytest.raises(ZeroDivisionError) as back:
        ends.used(raises)
    assert back.value is own


def test_objects_of_the_tests_are_used_by_the_answer(ends: Ends) -> None:
    class Holder:
        value = 8

    Holder.__module__ = "__main__"
    holder = Holder()
    assert ends.got(holder) == 8
    ends.put(holder, "fresh", 9)
    assert holder.fresh == 9  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="cannot be set"):
        ends.put(holder, "value", 1)
    with pytest.raises(AttributeError, match="cannot be set"):
        ends.put(io.StringIO(), "fresh", 1)
    assert ends.used(lambda *given: given, 1, "a") == (1, "a")
    assert ends.used(len, [1, 2]) == 2
    with pytest.raises(TypeError, match="a module cannot be passed"):
        ends.same(os)


def test_generators_stop_and_close(ends: Ends) -> None:
    assert list(ends.counted(3)) == [0, 1, 2]
    going = ends.counted(3)
    assert next(going) == 0
    going.close()
    with pytest.raises(StopIteration):
        next(going)


def test_what_a_call_prints_is_printed_here(
    ends: Ends, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = sys.stdout
    printed = ends.served.printed

    def shown() -> int:
        printed.write("shown")
        return 1

    ends.module.shown = shown  # type: ignore[attr-defined]
    assert ends.shown() == 1
    assert sys.stdout is real
    assert capsys.readouterr().out == "shown"
    assert ends.same(1) == 1
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("verb", "parts", "error"),
    [
        ("get", ["__class__"], None),
        ("get", ["_private"], AttributeError),
        ("get", ["gi_frame"], AttributeError),
        ("get", ["tb_next"], AttributeError),
        ("get", [5], AttributeError),
        ("get", ["absent"], AttributeError),
        ("get", ["value"], 8),
        ("set", ["value", 1], AttributeError),
        ("set", ["f_back", 1], AttributeError),
        ("del", ["value"], AttributeError),
        ("special", ["__len__"], 2),
        ("special", ["__await__"], AttributeError),
        ("special", ["__bytes__"], AttributeError),
        ("special", ["__class__"], AttributeError),
        ("call", [[1], {"b": 2}], (1, 2)),
    ],
)
def test_uses_that_an_answer_may_make(verb: str, parts: list[Any], error: Any) -> None:
    class Target:
        value, _private = 8, 9

        def __len__(self) -> int:
            return 2

        def __call__(self, a: int, b: int) -> tuple[int, int]:
            return a, b

    if error is None or error is AttributeError:
        with pytest.raises(AttributeError):
            remote._use(verb, Target(), parts)
    else:
        assert remote._use(verb, Target(), parts) == error


def test_standard_input_is_that_of_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("line\n"))
    monkeypatch.setattr(builtins, "input", lambda prompt: f"<{prompt}>")
    assert remote._use("input", None, ["n?"]) == "<n?>"
    assert remote._use("readline", None, []) == "line\n"


def test_an_exception_that_cannot_be_made_keeps_its_name() -> None:
    assert remote._made(KeyError, ["k"]).args == ("k",)
    found = remote._made(UnicodeDecodeError, [1])
    assert (type(found), str(found)) == (RuntimeError, "UnicodeDecodeError of the answer")


class Scripted:
    """A line whose replies were written in advance."""

    def __init__(self, *replies: Any) -> None:
        self.replies = list(replies)
        self.answer = Answer(0, 0, self.failed)
        self.answer.link = self  # type: ignore[assignment]
        self.asked: list[Any] = []

    def failed(self, why: str) -> Any:
        raise InterruptedError(why)

    def ask(self, *parts: Any) -> Any:
        self.asked.append(parts)
        reply = self.replies.pop(0)
        if isinstance(reply, BaseException):
            raise reply
        return reply


def no(kind: Any, args: Any = (), third: Any = None) -> list[Any]:
    return ["no", 1, ["t", [kind, ["t", list(args)], third]], [], ""]


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (Forged("x"), "forged"),
        (Ended(), "ended early"),
        (["ok", 1, ["zz", 1], [], ""], "forged"),
        (["ok", 1, ["u", "print"], [], ""], "forged"),
        (["ok", 1, ["u", "nothing"], [], ""], "forged"),
        (["ok", 1, ["k", 5], [], ""], "forged"),
        (["ok", 1, ["x", "one", ["u", "int"], "object"], [], ""], "forged"),
        (["ok", 1, 5, [[0, ["l", []]]], ""], "forged"),
        (["ok", 1, 5, 7, ""], "forged"),
        (["no", 1, 5, [], ""], "forged"),
        (no(["u", "int"]), "forged"),
        (no(5), "forged"),
        (no(None, (), 0), "forged"),
    ],
)
def test_replies_that_end_the_tests(reply: Any, why: str) -> None:
    with pytest.raises(InterruptedError, match=why):
        Scripted(reply).answer.request("get", 1, "name")


def test_replies_that_raise() -> None:
    with pytest.raises(KeyError) as caught:
        Scripted(no(["u", "KeyError"], ["k"])).answer.request("get", 1, "x")
    assert caught.value.args == ("k",)
    stop = no(["u", "StopIteration"], [5])
    with pytest.raises(RuntimeError, match="raised StopIteration"):
        Scripted(stop).answer.request("call", 1, ([],), {})
    for parts in (("send", 1, None), ("special", 1, "__next__"), ("special", 1, "__anext__")):
        with pytest.raises(StopIteration):
            Scripted(stop).answer.request(*parts)
    named = Scripted(stop)
    named.answer.words = frozenset({"StopIteration"})
    with pytest.raises(StopIteration):
        named.answer.request("call", 1, [], {})
    own = Scripted(no(None, (), 0))
    own.answer._failures.append(OSError("mine"))
    with pytest.raises(OSError, match="mine"):
        own.answer.request("get", 1, "x")


def test_only_text_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert Scripted(["ok", 1, 5, [], "text"]).answer.request("get", 1, "x") == 5
    assert Scripted(["ok", 1, 5, [], ["l", []]]).answer.request("get", 1, "x") == 5
    assert capsys.readouterr().out == "text"


def test_requests_of_the_answer_that_are_forged() -> None:
    line = Scripted().answer
    line._passed.append([1])
    assert line.serve(["special", 7, 0, "__len__"]) == ["ok", 7, 1, [], ""]
    for message in (["get", 7], ["get", 7, 5, "x"], ["get", 7, "a", "x"], ["get"]):
        with pytest.raises(Forged):
            line.serve(message)
    status, number, told, changed, printed = line.serve(["get", 8, 0, "absent"])
    assert (status, number, changed, printed) == ("no", 8, [], "")
    assert told[1][0] == ["u", "AttributeError"]
    assert isinstance(line._failures[told[1][2]], AttributeError)


def test_containers_of_a_request_that_the_tests_change_are_told() -> None:
    line = Scripted().answer
    line._passed += [lambda a, b: a.append(b[0]), lambda a, b: None]
    message = ["call", 1, 0, ["t", [["l", [1]], ["l", [2]]]], ["d", [], []]]
    assert line.serve(message) == ["ok", 1, None, [[0, ["l", [1, 2]]]], ""]
    assert line.serve([*message[:2], 1, *message[3:]]) == ["ok", 1, None, [], ""]
