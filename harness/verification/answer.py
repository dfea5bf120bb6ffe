"""The process that runs an answer: loads its code and serves requests of the tests (`proxies`).

Standard library only. Nothing in this process is trusted once the code is loaded: it may replace
any function, module or message here. It learns the arguments of calls and nothing else of the
tests, and all it can do is to give values.
"""

from __future__ import annotations

import builtins
import io
import operator
import os
import sys
import types
from typing import Any

from harness.verification.wire import Ended, Link, Packer, Unpacker

CAPTURED = 1 << 16  # characters printed during one call that its reply carries
BINARY = tuple(
    f"__{side}{name}__"
    for name in [
        "add",
        "sub",
        "mul",
        "truediv",
        "floordiv",
        "mod",
        "pow",
        "matmul",
        "and",
        "or",
        "xor",
        "lshift",
        "rshift",
    ]
    for side in ("", "r", "i")
)
COMPARISONS = ("__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__")
SPECIALS = (
    *BINARY, *COMPARISONS, "__call__", "__len__", "__iter__", "__next__", "__contains__",
    "__getitem__", "__setitem__", "__delitem__", "__enter__", "__exit__", "__bool__", "__str__",
    "__repr__", "__hash__", "__int__", "__float__", "__index__", "__abs__", "__neg__", "__pos__",
    "__invert__", "__round__", "__reversed__", "__missing__", "__await__", "__aiter__",
    "__anext__", "__aenter__", "__aexit__", "__complex__", "__format__", "__length_hint__",
    "__bytes__", "__fspath__", "__floor__", "__ceil__", "__trunc__", "__divmod__", "__get__",
)  # fmt: skip
BUILT_IN = {name: kind for name, kind in vars(builtins).items() if isinstance(kind, type)}
BASES = (str, int, float, tuple, bytes, frozenset, list, dict, set)


class Printed(io.TextIOBase):
    """Standard output: text of the current call, for its reply; the excess is printed at once."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        if len(self.text) > CAPTURED:
            self.release()
        return len(text)

    def release(self) -> None:
        text, self.text = self.text, ""
        os.write(1, text.encode(errors="replace"))

    def close(self) -> None:
        self.release()

    def writable(self) -> bool:
        return True


class StandardInput(io.TextIOBase):
    """Standard input after loading: that of the tests."""

    def __init__(self, served: Served) -> None:
        self._served = served

    def readline(self, size: int = -1) -> str:  # type: ignore[override]
        return str(self._served.request("readline", 0))

    def read(self, size: int | None = -1) -> str:
        return "".join(iter(self.readline, ""))

    def readable(self) -> bool:
        return True


class FromTests:
    """An object of the tests that was passed to the answer; its use is a request to the tests."""

    def __init__(self, served: Served, number: int) -> None:
        self.__dict__.update(_served=served, _number=number)

    def __getattr__(self, name: str) -> Any:
        return self._served.request("get", self._number, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._served.request("set", self._number, name, value)

    def __bool__(self) -> bool:
        return bool(self._served.request("special", self._number, "__bool__"))

    def __iter__(self) -> Any:
        return self._served.request("special", self._number, "__iter__")

    def __hash__(self) -> int:
        return hash(self._number)


def _forwarded(name: str) -> Any:
    def method(self: FromTests, *values: Any) -> Any:
        return self._served.request("special", self._number, name, *values)

    return method


for _name in SPECIALS:
    if _name not in ("__bool__", "__iter__", "__hash__", "__await__", "__fspath__", "__get__"):
        setattr(FromTests, _name, _forwarded(_name))


class Served:
    """Objects of the answer by number, and the requests on them."""

    def __init__(self, read: int, write: int, printed: Printed) -> None:
        self.link = Link(read, write, self.serve)
        self.printed = printed
        self.objects: list[Any] = []
        self.numbers: dict[int, int] = {}
        self.received: dict[int, Any] = {}
        self.functions: dict[int, int] = {}  # id of a stand-in of a function of the tests -> number
        self.loop: Any = None  # of coroutines

    def number_of(self, value: Any) -> int:
        if id(value) not in self.numbers:
            self.numbers[id(value)] = len(self.objects)
            self.objects.append(value)
        return self.numbers[id(value)]

    def refer(self, value: Any) -> Any:
        """JSON of a reference to an object of the answer or of the tests."""
        if isinstance(value, FromTests):
            return ["k", value.__dict__["_number"]]
        if id(value) in self.functions:
            return ["k", self.functions[id(value)]]
        if isinstance(value, type):
            if BUILT_IN.get(value.__name__) is value:
                return ["u", value.__name__]
            return ["K", self.number_of(value)]
        kind = type(value)
        made = ["x", self.number_of(value), self.refer(kind), shape_of(value)]
        for base in BASES:
            if isinstance(value, base):
                plain = Packer(self.refer).pack(base_value(value, base))
                return [*made, base.__name__, plain]
        return made

    def resolve(self, node: Any) -> Any:
        """The object that a reference means."""
        if node[0] == "y":
            return self.objects[node[1]]
        if node[0] == "u":
            return BUILT_IN[node[1]]
        number, kind, name = node[1:]
        if number not in self.received:
            made: Any = FromTests(self, number)
            if kind == "function":
                made = self._function(number, name)
            self.received[number] = made
        return self.received[number]

    def _function(self, number: int, name: str) -> Any:
        def function(*args: Any, **kwargs: Any) -> Any:
            return self.request("call", number, args, kwargs)

        function.__name__ = function.__qualname__ = name
        self.functions[id(function)] = number
        return function

    def request(self, verb: str, number: int, *parts: Any) -> Any:
        """Ask the tests; raises what they raise."""
        packer = Packer(self.refer)
        packed = [packer.pack(part) for part in parts]
        status, _, value, changed, _ = self.link.ask(verb, number, *packed)
        unpacker = Unpacker(self.resolve, packer.containers)
        for place, node in changed:
            unpacker.fill(packer.containers[place], node)
        found = unpacker.unpack(value)
        if status == "no":
            kind, args, origin = found
            error = kind(*args)
            error.__dict__["_from_tests"] = origin
            raise error
        return found

    def serve(self, message: list[Any]) -> Any:
        """Reply to one request."""
        verb, number, target, *packed = message
        unpacker = Unpacker(self.resolve)
        parts = [unpacker.unpack(part) for part in packed]
        known = {id(value): place for place, value in enumerate(unpacker.containers)}

        def contents() -> list[Any]:
            return [Packer(self.refer, known).contents(value) for value in unpacker.containers]

        before = contents()
        try:
            status, value = "ok", VERBS[verb](self, self.objects[target], *parts)
        except Ended:
            os._exit(0)
        except BaseException as error:
            status, value = "no", self.failure(error)
        packer = Packer(self.refer, known)
        try:
            packed_value = packer.pack(value)
        except BaseException as error:
            status, packed_value = "no", Packer(self.refer).pack(self.failure(error))
        after = contents()
        changed = [[n, node] for n, node in enumerate(after) if repr(node) != repr(before[n])]
        text, self.printed.text = self.printed.text, ""
        return [status, number, packed_value, changed, text]

    def failure(self, error: BaseException) -> Any:
        """What is told of an exception: class, arguments, the exception itself, or its origin."""
        if "_from_tests" in error.__dict__:
            return (None, (), error.__dict__["_from_tests"])
        args = tuple(
            arg if isinstance(arg, bool | int | float | str | bytes | tuple | None) else repr(arg)
            for arg in error.args
        )
        return (type(error), args, error)


def base_value(value: Any, base: type) -> Any:
    """Contents of an instance of a subclass of a built-in type, as that type."""
    if base is dict:
        return dict(dict.items(value))
    if base is int:
        return int.__index__(value)
    if base is str:
        return str.__str__(value)
    if base is float:
        return float.__float__(value)
    return base(base.__iter__(value))  # type: ignore[attr-defined, call-arg]


def shape_of(value: Any) -> str:
    """How the tests may use an object: as a function, generator, iterator, coroutine or object."""
    if isinstance(value, types.GeneratorType):
        return "generator"
    if type(value).__module__ in ("builtins", "itertools") and hasattr(type(value), "__next__"):
        return "iterator"
    if hasattr(type(value), "__await__"):
        return "coroutine"
    callable_kinds = (types.FunctionType, types.MethodType, types.BuiltinFunctionType)
    return "function" if isinstance(value, callable_kinds) else "object"


def _describe(served: Served, kind: type) -> Any:
    own = [name for name in SPECIALS if has_special(kind, name)]
    builtin = kind.__module__ in ("builtins", "", None)
    bases = tuple(base for base in kind.__bases__ if base is not object)
    origin = "" if builtin else str(kind.__module__)
    return (str(kind.__name__), origin, bases, own, issubclass(kind, BaseException))


def has_special(kind: type, name: str) -> bool:
    """Whether a class defines a special method, other than a built-in base does."""
    found = getattr(kind, name, None)
    plain = [base for base in kind.__mro__ if base.__module__ == "builtins"]
    return found is not None and all(found is not getattr(base, name, None) for base in plain)


def special(value: Any, name: str, *args: Any) -> Any:
    """Call a special method as Python does."""
    if name in _SPECIAL_CALLS:
        return _SPECIAL_CALLS[name](value, *args)
    if name.startswith("__r") and name in BINARY:
        return getattr(operator, "__" + name[3:])(args[0], value)
    if name in BINARY or name in COMPARISONS:
        return getattr(operator, name)(value, *args) if len(args) == 1 else pow(value, *args)
    return getattr(type(value), name)(value, *args)


_SPECIAL_CALLS: dict[str, Any] = {
    "__bool__": bool, "__contains__": operator.contains, "__iter__": iter, "__str__": str,
    "__repr__": repr, "__hash__": hash, "__int__": int, "__float__": float, "__len__": len,
    "__getitem__": operator.getitem, "__setitem__": operator.setitem, "__next__": next,
    "__delitem__": operator.delitem, "__format__": format, "__abs__": abs, "__round__": round,
}  # fmt: skip


def _awaited(served: Served, coroutine: Any) -> Any:
    import asyncio

    async def wait() -> Any:
        return await coroutine

    if served.loop is None:
        served.loop = asyncio.new_event_loop()
    return served.loop.run_until_complete(wait())


def _subclass(
    served: Served, base: type, name: str, bases: tuple[type, ...], members: dict[str, Any]
) -> Any:
    return types.new_class(name, bases, {}, lambda space: space.update(members))


def _value(served: Served, value: Any) -> Any:
    base = next(base for base in BASES if isinstance(value, base))
    return base_value(value, base)


def _copied(served: Served, value: Any, how: str) -> Any:
    import copy

    return getattr(copy, how)(value)


def _seeded(served: Served, module: Any, name: str, seed: Any) -> None:
    """Seed the random numbers of a library that the answer uses."""
    import importlib

    if name.partition(".")[0] in sys.modules:
        importlib.import_module(name).seed(seed)


VERBS: dict[str, Any] = {
    "seed": _seeded,
    "get": lambda served, value, name: getattr(value, name),
    "set": lambda served, value, name, new: setattr(value, name, new),
    "del": lambda served, value, name: delattr(value, name),
    "call": lambda served, value, args, kwargs: value(*args, **kwargs),
    "special": lambda served, value, name, *args: special(value, name, *args),
    "describe": _describe,
    "await": _awaited,
    "send": lambda served, value, sent: value.send(sent),
    "close": lambda served, value: value.close(),
    "value": _value,
    "subclass": _subclass,
    "dir": lambda served, value: dir(value),
    "copy": _copied,
}


def serve_answer(read: int, write: int) -> None:
    """Load the code that arrives first, then serve requests until the tests are done."""
    printed = Printed()
    served = Served(read, write, printed)
    sys.stdout = printed
    module = types.ModuleType("candidate")
    sys.modules["candidate"] = sys.modules["__main__"] = module
    sys.argv = ["candidate.py"]
    _, code = served.link.receive()
    try:
        exec(compile(code, "candidate.py", "exec"), vars(module))
    except BaseException as error:
        served.link.send(["failed", describe(error)])
        os._exit(0)
    printed.release()
    builtins.input = lambda prompt="": served.request("input", 0, prompt)
    sys.stdin = StandardInput(served)
    names = [name for name in vars(module) if isinstance(name, str)]
    served.link.send(["loaded", served.number_of(module), names])
    while True:
        served.link.send(served.serve(served.link.receive()))


def describe(error: BaseException) -> str:
    """One line that describes an exception; its methods are untrusted and may raise."""
    try:
        text = f"raised {type(error).__name__}: {error}"
    except BaseException:
        text = "raised an exception that cannot be shown"
    return str.replace(text, "\n", " ")[:300]
