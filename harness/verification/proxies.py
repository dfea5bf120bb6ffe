"""The answer as its tests see it: functions, classes and objects that live in another process.

Standard library only. A call sends its arguments and returns what the answer's process gave. What
counts as equal is decided here: data is compared as data, and an object of the answer's own class
is never equal to data, whatever its `__eq__` says. Two objects of the answer are compared by the
answer, since that is what tests of a class are about.

An operator or a searching method with data of the tests as an operand shows the answer what is
expected. It is forwarded only for classes that the tests name, and what it returns must again be an
object, of which no number or truth is taken.
"""

from __future__ import annotations

import collections.abc
import sys
import types
from collections.abc import Callable
from typing import Any, Protocol

from harness.verification.answer import BASES, BINARY, COMPARISONS
from harness.verification.wire import Forged

REMOTE = "_remote"  # attribute of proxies: (answer, number)
CHANGING = (list, dict, set)
# Methods of built-in types that say whether they found what the tests pass.
SEARCHING = frozenset(
    [
        "startswith",
        "endswith",
        "count",
        "index",
        "find",
        "rfind",
        "rindex",
        "issubset",
        "issuperset",
        "isdisjoint",
        "equals",
        "match",
        "fullmatch",
        "search",
    ]
)
_CONVERSIONS = frozenset(
    [
        "__abs__",
        "__float__",
        "__int__",
        "__index__",
        "__round__",
        "__bool__",
        "__complex__",
        "__neg__",
        "__pos__",
        "__len__",
        "__floor__",
        "__ceil__",
        "__trunc__",
    ]
)
_PROBED = frozenset(("__signature__", "__wrapped__", "__set_name__", "__objclass__", "__path__"))
_CONTAINER = (
    *("__len__", "__iter__", "__str__", "__repr__"),
    *("__getitem__", "__setitem__", "__delitem__", "__reversed__"),
)


class Line(Protocol):
    """What proxies need of the tests' end of the line, see `harness.verification.remote`."""

    mixed: set[int]

    def request(self, verb: str, number: int, *parts: Any) -> Any: ...
    def is_named(self, kind: type) -> bool: ...


def is_remote(value: Any) -> bool:
    return isinstance(value, Remote | RemoteClass | RemoteModule)


def _where(value: Any) -> tuple[Line, int]:
    found: tuple[Line, int] = object.__getattribute__(value, "__dict__")[REMOTE]
    return found


class Remote:
    """A function or object of the answer."""

    def __init__(self, answer: Line, number: int) -> None:
        self.__dict__[REMOTE] = (answer, number)

    def __getattr__(self, name: str) -> Any:
        if name in _PROBED or REMOTE not in self.__dict__:
            raise AttributeError(name)
        answer, number = _where(self)
        if name in SEARCHING and not answer.is_named(type(self)):
            raise TypeError(f"the answer's {type(self).__name__} is not asked for {name}")
        return answer.request("get", number, name)

    def __setattr__(self, name: str, value: Any) -> None:
        answer, number = _where(self)
        answer.request("set", number, name, value)

    def __delattr__(self, name: str) -> None:
        answer, number = _where(self)
        answer.request("del", number, name)

    def __dir__(self) -> list[str]:
        answer, number = _where(self)
        return list(answer.request("dir", number))

    def __copy__(self) -> Any:
        answer, number = _where(self)
        return answer.request("copy", number, "copy")

    def __deepcopy__(self, memo: Any) -> Any:
        answer, number = _where(self)
        return answer.request("copy", number, "deepcopy")


class RemoteFunction(Remote):
    """A function or method of the answer."""

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        answer, number = _where(self)
        return answer.request("call", number, args, kwargs)


class RemoteIterator(Remote):
    """An iterator of a library that the answer made, such as a `zip`."""

    def __iter__(self) -> RemoteIterator:
        return self

    def __next__(self) -> Any:
        answer, number = _where(self)
        return answer.request("special", number, "__next__")


class RemoteCoroutine(Remote, collections.abc.Coroutine[Any, Any, Any]):
    """A coroutine of the answer, run to its end when it is awaited."""

    def send(self, value: Any) -> Any:
        answer, number = _where(self)
        raise StopIteration(answer.request("await", number))

    def __await__(self) -> Any:
        answer, number = _where(self)
        return answer.request("await", number)
        yield

    def throw(self, *error: Any) -> Any:
        raise error[0]

    def close(self) -> None:
        pass


class RemoteModule(types.ModuleType):
    """The answer's module, for tests that import it."""

    def __init__(self, answer: Line, number: int, names: list[str]) -> None:
        super().__init__("candidate")
        self.__dict__.update({REMOTE: (answer, number), "__all__": names})

    def __getattr__(self, name: str) -> Any:
        answer, number = self.__dict__[REMOTE]
        return answer.request("get", number, name)

    def __setattr__(self, name: str, value: Any) -> None:
        answer, number = self.__dict__[REMOTE]
        answer.request("set", number, name, value)


class RemoteClass(type):
    """Type of the local stand-ins of the answer's classes."""

    def __new__(
        meta, name: str, bases: tuple[type, ...], space: dict[str, Any], **options: Any
    ) -> Any:
        if REMOTE in space:
            return super().__new__(meta, name, bases, space)
        if "__classcell__" in space or options:
            raise TypeError(f"a test's subclass of the answer's class may not use super(): {name}")
        answer, number = next(_where(base) for base in bases if isinstance(base, RemoteClass))
        hidden = ("__module__", "__qualname__", "__doc__")
        members = {key: value for key, value in space.items() if key not in hidden}
        return answer.request("subclass", number, name, bases, members)

    def __init__(cls, *args: Any, **options: Any) -> None:
        pass

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        answer, number = cls.__dict__[REMOTE]
        return answer.request("call", number, args, kwargs)

    def __getattr__(cls, name: str) -> Any:
        if name in _PROBED or name.startswith("__abstract"):
            raise AttributeError(name)
        answer, number = cls.__dict__[REMOTE]
        if name in SEARCHING and not answer.is_named(cls):
            raise TypeError(f"the answer's class {cls.__name__} is not asked for {name}")
        return answer.request("get", number, name)

    def __setattr__(cls, name: str, value: Any) -> None:
        answer, number = cls.__dict__[REMOTE]
        answer.request("set", number, name, value)

    def __iter__(cls) -> Any:
        answer, number = cls.__dict__[REMOTE]
        return answer.request("special", number, "__iter__")

    def __len__(cls) -> Any:
        answer, number = cls.__dict__[REMOTE]
        return answer.request("special", number, "__len__")

    def __bool__(cls) -> bool:
        return True

    def __getitem__(cls, key: Any) -> Any:
        answer, number = cls.__dict__[REMOTE]
        return answer.request("special", number, "__getitem__", key)


def _method(name: str) -> Callable[..., Any]:
    """A special method that is forwarded, as far as the rules of this module allow."""

    def method(self: Any, *args: Any) -> Any:
        answer, number = _where(self)
        mixed = any(not is_remote(arg) for arg in args)
        if mixed and name in COMPARISONS:
            return NotImplemented
        guarded = name in BINARY or name in ("__contains__", "__divmod__")
        if mixed and guarded and not answer.is_named(type(self)):
            raise TypeError(f"the answer gave an object ({type(self).__name__}), not data")
        if number in answer.mixed and (name in _CONVERSIONS or name in COMPARISONS[2:]):
            raise TypeError("a number or truth made from what the test expects is not taken")
        found = answer.request("special", number, name, *args)
        if mixed and name in BINARY:
            if not is_remote(found):
                raise TypeError(f"{name} of an object with data must give an object")
            answer.mixed.add(_where(found)[1])
        return found

    method.__name__ = name
    return method


def _fresh(name: str, base: type) -> Callable[..., Any]:
    """A comparison of a list, dictionary or set subclass by its present contents."""

    def method(self: Any, *args: Any) -> Any:
        answer, number = _where(self)
        value = answer.request("value", number)
        if type(value) is not base:
            raise Forged("contents of another type")
        return getattr(value, name)(*args)

    return method


def generator(answer: Line, number: int) -> Any:
    sent = None
    while True:
        try:
            value = answer.request("send", number, sent)
        except StopIteration as end:
            return end.value
        try:
            sent = yield value
        except GeneratorExit:
            answer.request("close", number)
            raise


def _call(name: str) -> Callable[..., Any]:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return Remote.__getattr__(self, name)(*args, **kwargs)

    return method


def standard_exception(name: str, origin: str, bases: Any, own: Any, error: bool) -> Any:
    """The exception class of the standard library that is meant, or None."""
    known = sys.modules.get(origin)
    if not error or origin not in sys.stdlib_module_names or origin.startswith("unittest"):
        return None
    real = vars(known).get(name) if known is not None else None
    return real if isinstance(real, type) and issubclass(real, BaseException) else None


def local_class(
    answer: Line, number: int, name: str, origin: str, bases: Any, own: Any, error: bool
) -> Any:
    """Local stand-in of a class of the answer.

    Args:
        bases: its base classes, as they are here.
        own: special methods that it defines.
        error: it is an exception.

    Raises:
        Forged: there can be no such class.
    """
    hidden = {REMOTE: (answer, number), "__module__": "candidate"}
    space: dict[str, Any] = {str(special): _method(special) for special in own}
    for base in (base for base in bases if base in BASES):
        if base in CHANGING:
            space |= {n: _call(n) for n in dir(base) if not n.startswith("_")}
            space |= {n: _method(n) for n in _CONTAINER if hasattr(base, n)}
            space |= {n: _fresh(n, base) for n in (*COMPARISONS, "__contains__")}
            space["__hash__"] = None
        else:
            space = {}
    if "__eq__" in own and space.get("__eq__") and "__hash__" not in space:
        space["__hash__"] = None
    usable = [
        base
        for base in bases
        if isinstance(base, RemoteClass) or base in BASES or issubclass(base, BaseException)
    ]
    for chosen in ((*usable, Remote), (Remote, *usable), (Remote,)):
        try:
            return RemoteClass(name, tuple(dict.fromkeys(chosen)), space | hidden)
        except TypeError:
            continue
    raise Forged("a class that cannot be made")


def bare(kind: Any) -> Any:
    """An instance without a call of its class."""
    return kind.__new__(kind)
