"""Values and requests between the process that runs tests and the one that runs the answer.

Standard library only. Both ends send lines of JSON over a pair of pipes: a request `[verb, ...]` or
a reply `["ok" | "no", number, value, changed, printed]`. An end that waits for a reply serves
requests of the other, so that the answer can call a function that a test passed to it.

Data is copied: the receiver builds values of built-in types, and nothing that arrives is executed
(no pickle). Lists, dictionaries and sets that a call changes are changed on the caller's side when
the reply arrives. Everything else is sent as a reference, and stays where it was made.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any

_VIEWS: tuple[type, ...] = (type({}.keys()), type({}.values()), type({}.items()))
PLAIN = frozenset((type(None), bool, int, float, str))  # their own JSON
MUTABLE = ("l", "d", "s", "B", "Q", "C", "O", "Y", "A")  # tags of values that a call may change


class Ended(BaseException):
    """The other end is gone."""


class Forged(BaseException):
    """A line is no valid message: the other end does not follow the protocol."""


def library_type(value: Any) -> str:
    """ "module.name" of the type of a value of the standard library or numpy, else ""."""
    kind = type(value)
    module = kind.__module__
    known = sys.modules.get(module)
    if module in _LIBRARY and known is not None and known.__dict__.get(kind.__name__) is kind:
        return f"{module}.{kind.__name__}"
    return ""


_LIBRARY = ("collections", "decimal", "fractions", "datetime", "uuid", "numpy")


class Packer:
    """Turns values into JSON.

    Args:
        refer: (value) -> JSON of a reference, for values that cannot be copied.
        known: id -> number of the containers of the request that this message replies to.
    """

    def __init__(self, refer: Callable[[Any], Any], known: dict[int, int] | None = None) -> None:
        self._refer, self._known = refer, known or {}
        self._seen: dict[int, int] = {}
        self.containers: list[Any] = []

    def pack(self, value: Any) -> Any:
        kind = type(value)
        if kind in PLAIN:
            return value
        if kind is tuple:
            return ["t", self._all(value)]
        if kind is frozenset:
            return ["z", self._all(value)]
        if kind is bytes:
            return ["b", value.hex()]
        if kind is complex:
            return ["c", value.real, value.imag]
        if kind is range or kind is slice:
            return ["r" if kind is range else "S", self._all((value.start, value.stop, value.step))]
        if kind in _VIEWS:
            return ["v", _VIEWS.index(kind), self._all(value)]
        if value is Ellipsis or value is NotImplemented:
            return ["e", value is Ellipsis]
        number = id(value)
        if number in self._known:
            return ["a", self._known[number]]
        if number in self._seen:
            return ["m", self._seen[number]]
        return self.contents(value, kind, True)

    def contents(self, value: Any, kind: type | None = None, note: bool = False) -> Any:
        """JSON of a container or library value itself, even if it is known."""
        kind = kind or type(value)
        name = "" if kind in (list, dict, set, bytearray) else library_type(value)
        if note and (kind in (list, dict, set, bytearray) or name in _CONTAINERS):
            self._seen[id(value)] = len(self.containers)
            self.containers.append(value)
        if kind is list:
            return ["l", self._all(value)]
        if kind is dict:
            return ["d", self._all(value), self._all(value.values())]
        if kind is set:
            return ["s", self._all(value)]
        if kind is bytearray:
            return ["B", value.hex()]
        return self._library(value, name) if name else self._refer(value)

    def _all(self, values: Any) -> list[Any]:
        items = list(values)
        if PLAIN.issuperset(map(type, items)):
            return items
        return [self.pack(item) for item in items]

    def _library(self, value: Any, name: str) -> Any:
        if name == "collections.deque":
            return ["Q", value.maxlen, self._all(value)]
        if name in ("collections.Counter", "collections.OrderedDict"):
            return [name[12], self._all(value), self._all(value.values())]
        if name == "collections.defaultdict":
            factory = value.default_factory
            made = factory.__name__ if factory in (int, float, str, list, dict, set, bool) else ""
            return ["Y", made, self._all(value), self._all(value.values())]
        if name in ("decimal.Decimal", "uuid.UUID"):
            return ["N", name, str(value)]
        if name == "fractions.Fraction":
            return ["F", value.numerator, value.denominator]
        if name == "datetime.timedelta":
            return ["T", "timedelta", [value.days, value.seconds, value.microseconds]]
        if name in ("datetime.date", "datetime.time", "datetime.datetime"):
            return ["T", name[9:], value.isoformat()]
        module: Any = sys.modules.get("numpy")
        array = module is not None and isinstance(value, module.generic | module.ndarray)
        if array and not value.dtype.hasobject:
            shape = list(value.shape) if isinstance(value, module.ndarray) else None
            return ["A", value.dtype.str, shape, value.tobytes().hex()]
        return self._refer(value)


_CONTAINERS = frozenset(
    f"collections.{name}" for name in ("deque", "Counter", "OrderedDict", "defaultdict")
) | {"numpy.ndarray"}


class Unpacker:
    """Builds values from JSON.

    Args:
        resolve: (JSON of a reference) -> value.
        known: containers of the request that this message replies to.
    """

    def __init__(self, resolve: Callable[[Any], Any], known: list[Any] | None = None) -> None:
        self._resolve, self._known = resolve, known or []
        self.containers: list[Any] = []

    def unpack(self, node: Any) -> Any:
        """Build a value.

        Raises:
            Forged: the JSON is not that of a value.
        """
        if type(node) is not list:
            if type(node) is dict:
                raise Forged("a JSON object")
            return node
        try:
            return self._build(node)
        except (LookupError, TypeError, ValueError, ArithmeticError, ImportError) as error:
            raise Forged(f"{type(error).__name__}: {error}") from None

    def _build(self, node: list[Any]) -> Any:
        tag = node[0]
        if tag == "t":
            return tuple(self._all(node[1]))
        if tag == "z":
            return frozenset(self._all(node[1]))
        if tag == "b":
            return bytes.fromhex(node[1])
        if tag == "c":
            return complex(node[1], node[2])
        if tag in ("r", "S"):
            return (range if tag == "r" else slice)(*self._all(node[1]))
        if tag == "v":
            items = self._all(node[2])
            if node[1] == 1:
                return dict(enumerate(items)).values()
            return dict.fromkeys(items).keys() if node[1] == 0 else dict(items).items()
        if tag == "e":
            return Ellipsis if node[1] else NotImplemented
        if tag == "a":
            return self._known[node[1]]
        if tag == "m":
            return self.containers[node[1]]
        if tag in MUTABLE:
            return self._container(tag, node)
        if tag in ("N", "F", "T"):
            return _library_value(node)
        return self._resolve(node)

    def _all(self, items: Any) -> list[Any]:
        return [self.unpack(item) if type(item) is list else item for item in items]

    def _container(self, tag: str, node: list[Any]) -> Any:
        if tag == "A":
            return self._array(node)
        made = _empty(tag, node)
        self.containers.append(made)
        self.fill(made, node)
        return made

    def _array(self, node: list[Any]) -> Any:
        import numpy

        if "O" in node[1]:
            raise Forged("an array of objects")
        flat = numpy.frombuffer(bytes.fromhex(node[3]), dtype=numpy.dtype(node[1]))
        if node[2] is None:
            return flat[0]
        made = flat.reshape(node[2]).copy()
        self.containers.append(made)
        return made

    def fill(self, made: Any, node: list[Any]) -> None:
        """Give a container the contents described by `node`."""
        tag = node[0]
        if tag == "A":
            value = Unpacker(self._resolve)._array(node)
            if made.shape != value.shape:
                raise Forged("an array of another shape")
            made[...] = value
        elif tag == "l":
            made[:] = self._all(node[1])
        elif tag == "B":
            made[:] = bytes.fromhex(node[1])
        elif tag in ("s", "Q"):
            items = self._all(node[-1])
            made.clear()
            made.update(items) if tag == "s" else made.extend(items)
        else:
            keys, values = self._all(node[-2]), self._all(node[-1])
            made.clear()
            for key, value in zip(keys, values):
                made[key] = value


def _empty(tag: str, node: list[Any]) -> Any:
    import collections

    if tag == "Q":
        return collections.deque(maxlen=node[1])
    if tag == "Y":
        factories = {kind.__name__: kind for kind in (int, float, str, list, dict, set, bool)}
        return collections.defaultdict(factories.get(node[1]))
    kinds: dict[str, Any] = {"l": list, "d": dict, "s": set, "B": bytearray}
    kinds |= {"C": collections.Counter, "O": collections.OrderedDict}
    return kinds[tag]()


def _library_value(node: list[Any]) -> Any:
    if node[0] == "F":
        import fractions

        return fractions.Fraction(node[1], node[2])
    if node[0] == "N":
        import decimal
        import uuid

        return decimal.Decimal(node[2]) if node[1] == "decimal.Decimal" else uuid.UUID(node[2])
    import datetime

    if node[1] == "timedelta":
        return datetime.timedelta(*node[2])
    kinds: dict[str, Any] = {"date": datetime.date, "time": datetime.time}
    return kinds.get(node[1], datetime.datetime).fromisoformat(node[2])


class Link:
    """One end of the line.

    Args:
        serve: (request) -> reply, for requests that arrive while this end waits.
    """

    def __init__(self, read: int, write: int, serve: Callable[[list[Any]], Any]) -> None:
        self._lines = open(read, "rb", buffering=1 << 16, closefd=False)  # noqa: SIM115
        self._write, self._serve, self._number = write, serve, 0

    def send(self, message: list[Any]) -> None:
        data = memoryview(json.dumps(message, separators=(",", ":")).encode() + b"\n")
        try:
            while data:
                data = data[os.write(self._write, data) :]
        except BrokenPipeError:
            raise Ended from None

    def receive(self) -> list[Any]:
        """The next message.

        Raises:
            Ended: the other end is gone.
            Forged: the line is no message.
        """
        line = self._lines.readline()
        if not line:
            raise Ended
        try:
            message = json.loads(line)
        except ValueError:
            raise Forged("not JSON") from None
        if type(message) is not list or not message or type(message[0]) is not str:
            raise Forged("not a message")
        return message

    def ask(self, verb: str, *parts: Any) -> list[Any]:
        """Send a request and return its reply; serves the other end meanwhile."""
        self._number += 1
        number = self._number
        self.send([verb, number, *parts])
        while True:
            message = self.receive()
            if message[0] in ("ok", "no"):
                if len(message) != 5 or message[1] != number:
                    raise Forged("a reply to another request")
                return message
            self.send(self._serve(message))
