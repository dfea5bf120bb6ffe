"""The tests' end of the line to the process that runs the answer.

Standard library only. Requests of the tests become messages and replies become values, proxies
(`proxies`) or exceptions. While a request waits, the answer may use objects that the tests passed
to it: call them, read public attributes, set attributes of instances of classes of the tests.
"""

from __future__ import annotations

import builtins
import sys
import threading
import types
from collections.abc import Callable
from typing import Any

from harness.verification.answer import SPECIALS, special
from harness.verification.proxies import (
    REMOTE,
    Remote,
    RemoteClass,
    RemoteCoroutine,
    RemoteFunction,
    RemoteIterator,
    bare,
    generator,
    is_remote,
    local_class,
    standard_exception,
)
from harness.verification.wire import Ended, Forged, Link, Packer, Unpacker

IMMUTABLE: dict[str, Any] = {
    kind.__name__: kind for kind in (str, int, float, tuple, bytes, frozenset)
}
_FRAMES = ("_", "gi_", "cr_", "ag_", "tb_", "f_", "co_", "func_")
_INPUT = ("input", "readline")
_NEXT = ("send", "await", "__next__", "__anext__")


class Answer:
    """The tests' end of the line to the answer's process.

    Args:
        fail: ends this process; called with "ended early" or "forged".
    """

    def __init__(self, read: int, write: int, fail: Callable[[str], Any]) -> None:
        self.link = Link(read, write, self.serve)
        self.fail = fail
        self.named: set[int] = set()  # numbers of the classes that the tests name
        self.mixed: set[int] = set()  # numbers of objects made by an operator with data
        self.words: frozenset[str] = frozenset()  # identifiers in the tests
        self._proxies: dict[int, Any] = {}
        self._passed: list[Any] = []  # objects of the tests that were passed to the answer
        self._numbers: dict[int, int] = {}
        self._failures: list[BaseException] = []
        self._lock = threading.RLock()

    def is_named(self, kind: type) -> bool:
        """Whether the tests name a class or one of its bases."""
        own = (base.__dict__[REMOTE][1] for base in kind.__mro__ if REMOTE in base.__dict__)
        return any(number in self.named for number in own)

    def request(self, verb: str, number: int, *parts: Any) -> Any:
        """Reply of the answer to a request; raises what the answer raised."""
        try:
            with self._lock:
                return self._requested(verb, number, *parts)
        except Forged:
            return self.fail("forged")
        except Ended:
            return self.fail("ended early")

    def _requested(self, verb: str, number: int, *parts: Any) -> Any:
        packer = Packer(self.refer)
        packed = [packer.pack(part) for part in parts]
        status, _, value, changed, printed = self.link.ask(verb, number, *packed)
        unpacker = Unpacker(self.resolve, packer.containers)
        try:
            for place, node in changed:
                unpacker.fill(packer.containers[place], node)
            found = unpacker.unpack(value)
            error = self._failure(found) if status == "no" else None
        except (LookupError, TypeError, ValueError, AttributeError):
            raise Forged("a malformed reply") from None
        if printed and isinstance(printed, str):
            sys.stdout.write(printed)
        if error is None:
            return found
        stops = isinstance(error, StopIteration | StopAsyncIteration)
        step = parts[0] if verb == "special" else verb
        if stops and step not in _NEXT and "StopIteration" not in self.words:
            raise RuntimeError("the answer raised StopIteration")
        raise error

    def _failure(self, found: Any) -> BaseException:
        """The exception that a failed request raises here."""
        kind: Any
        kind, args, remote = found
        if kind is None:
            return self._failures[remote]
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            raise Forged("no exception")
        if not isinstance(kind, RemoteClass):
            return _made(kind, args)
        error = remote if isinstance(remote, kind) else bare(kind)
        vars(BaseException)["args"].__set__(error, args)
        return error

    def refer(self, value: Any) -> Any:
        """JSON of a reference to something of the answer, or of the tests."""
        if is_remote(value):
            where = value.__dict__[REMOTE]
            return ["y", where[1]]
        known: Any = vars(builtins)
        if isinstance(value, type) and known.get(value.__name__) is value:
            return ["u", value.__name__]
        if isinstance(value, types.ModuleType):
            raise TypeError("a module cannot be passed to the answer")
        if id(value) not in self._numbers:
            self._numbers[id(value)] = len(self._passed)
            self._passed.append(value)
        simple = (types.FunctionType, types.MethodType, types.BuiltinFunctionType)
        kind = "function" if isinstance(value, simple) else "object"
        name = str(value.__name__) if isinstance(value, simple) else ""
        return ["k", self._numbers[id(value)], kind, name]

    def resolve(self, node: Any) -> Any:
        """The proxy or object that a reference means."""
        tag, number, *more = node
        if tag == "u":
            found = vars(builtins)[number]
            if not isinstance(found, type):
                raise Forged("no type")
            return found
        if tag == "k":
            return self._passed[number]
        if tag not in ("K", "x") or type(number) is not int:
            raise Forged("no reference")
        if number not in self._proxies:
            self._proxies[number] = (
                self._class(number) if tag == "K" else self._object(number, *more)
            )
        return self._proxies[number]

    def _object(self, number: int, kind: Any, shape: str, base: str = "", plain: Any = None) -> Any:
        if shape == "function":
            return RemoteFunction(self, number)
        if shape == "generator":
            return generator(self, number)
        if shape == "iterator":
            return RemoteIterator(self, number)
        if shape == "coroutine":
            return RemoteCoroutine(self, number)
        local = self.resolve(kind)
        if not isinstance(local, RemoteClass):
            return Remote(self, number)
        if base in IMMUTABLE and issubclass(local, IMMUTABLE[base]):
            value = Unpacker(self.resolve).unpack(plain)
            if type(value) is not IMMUTABLE[base]:
                raise Forged("a value of another type")
            made = IMMUTABLE[base].__new__(local, value)
        else:
            made = bare(local)
        made.__dict__[REMOTE] = (self, number)
        return made

    def _class(self, number: int) -> Any:
        described = self.request("describe", number)
        return standard_exception(*described) or local_class(self, number, *described)

    def serve(self, message: list[Any]) -> Any:
        """Reply to a request of the answer on an object that the tests passed to it."""
        try:
            verb, request, number, *packed = message
            target = None if verb in _INPUT else self._passed[number]
            unpacker = Unpacker(self.resolve)
            parts = [unpacker.unpack(part) for part in packed]
        except (LookupError, TypeError, ValueError):
            raise Forged("a malformed request") from None
        known = {id(value): place for place, value in enumerate(unpacker.containers)}

        def contents() -> list[Any]:
            return [Packer(self.refer, known).contents(value) for value in unpacker.containers]

        before = contents()
        packer = Packer(self.refer, known)
        try:
            status, value = "ok", packer.pack(_use(verb, target, parts))
        except Forged:
            raise
        except BaseException as error:
            self._failures.append(error)
            kind = next(k for k in type(error).__mro__ if vars(builtins).get(k.__name__) is k)
            told = (kind, (str(error),), len(self._failures) - 1)
            status, value = "no", Packer(self.refer).pack(told)
        changed = [[n, c] for n, c in enumerate(contents()) if repr(c) != repr(before[n])]
        return [status, request, value, changed, ""]


def _made(kind: Any, args: Any) -> BaseException:
    """An exception of a built-in or library class."""
    try:
        found: BaseException = kind(*args)
    except Exception:
        return RuntimeError(f"{kind.__name__} of the answer")
    return found


def _use(verb: Any, target: Any, parts: list[Any]) -> Any:
    """Use an object of the tests for the answer: calls, public attributes, special methods.

    The answer also reads the standard input of the tests, which they may have replaced.
    """
    if verb == "call":
        return target(*parts[0], **parts[1])
    if verb in _INPUT:
        return builtins.input(*parts) if verb == "input" else sys.stdin.readline()
    name = parts[0]
    if verb == "special":
        if name not in _FORWARDED:
            raise AttributeError(name)
        return special(target, *parts)
    if not isinstance(name, str) or name.startswith(_FRAMES):
        raise AttributeError(name)
    if verb == "get":
        return getattr(target, name)
    own = type(target).__module__ == "__main__" and not hasattr(type(target), name)
    if verb != "set" or not own:
        raise AttributeError(f"{name} of an object of the tests cannot be set")
    return setattr(target, name, parts[1])


_FORWARDED = frozenset({*SPECIALS} - {"__await__", "__get__", "__fspath__", "__bytes__"})
