"""The part of pytest that tests of answers use, for a process in which pytest is not installed.

Standard library only. `module` stands for `import pytest`; `calls_of` finds test functions by
pytest's rules (`test*`, methods `test*` of classes `Test*`), with parameters and fixtures.
"""

from __future__ import annotations

import cmath
import io
import itertools
import re
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any


class Raises:
    """Context that requires an exception; `value` is the exception."""

    def __init__(self, expected: Any, match: str | None = None) -> None:
        self.expected, self.match = expected, match
        self.value: Any = None

    def __enter__(self) -> Raises:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool:
        if error is None:
            raise AssertionError(f"DID NOT RAISE {self.expected}")
        if not isinstance(error, self.expected):
            return False
        if self.match is not None and not re.search(self.match, str(error)):
            raise AssertionError(f"{self.match!r} does not match {str(error)!r}")
        self.type, self.value = kind, error
        return True


def raises(expected: Any, *call: Any, match: str | None = None, **kwargs: Any) -> Any:
    context = Raises(expected, match)
    if not call:
        return context
    with context:
        call[0](*call[1:], **kwargs)
    return context


class Approx:
    """A number, or numbers in a list, tuple or dictionary, with a tolerance."""

    def __init__(self, expected: Any, rel: float | None = None, abs: float | None = None) -> None:
        self.expected, self.rel, self.abs = expected, rel, abs

    def __eq__(self, other: Any) -> bool:
        return self._near(self.expected, other)

    def __repr__(self) -> str:
        return f"approx({self.expected!r})"

    def _near(self, expected: Any, found: Any) -> bool:
        if isinstance(expected, dict):
            same = isinstance(found, dict) and expected.keys() == found.keys()
            return same and all(self._near(expected[key], found[key]) for key in expected)
        if isinstance(expected, list | tuple):
            same = isinstance(found, list | tuple) and len(expected) == len(found)
            return same and all(map(self._near, expected, found))
        if not isinstance(expected, int | float | complex):
            return bool(expected == found)
        if isinstance(found, bool) or not isinstance(found, int | float | complex):
            return bool(expected == found)
        given = self.abs if self.abs is not None else 1e-12
        relative = self.rel if self.rel is not None else 1e-6 * (self.abs is None)
        near = abs(expected - found) <= max(relative * abs(expected), given)
        return expected == found or (cmath.isfinite(expected) and near)

    __hash__ = None  # type: ignore[assignment]


class Skipped(Exception):
    """Ends a test that passes no judgment."""


class Marks:
    """`pytest.mark`: parametrize and skip have their meaning, other marks have none."""

    def parametrize(self, names: Any, values: Any, **more: Any) -> Any:
        keys = [name.strip() for name in names.split(",")] if isinstance(names, str) else [*names]
        rows = [_values(row, len(keys) == 1) for row in values]

        def mark(target: Any) -> Any:
            own = target.__dict__.get("_parameters", [])
            target._parameters = [*own, [dict(zip(keys, row, strict=True)) for row in rows]]
            return target

        return mark

    def skip(self, *args: Any, **more: Any) -> Any:
        return self.skip_it(args[0]) if args and callable(args[0]) else self.skip_it

    @staticmethod
    def skip_it(target: Any) -> Any:
        target._skipped = True
        return target

    def skipif(self, condition: Any, **more: Any) -> Any:
        return self.skip_it if condition else lambda target: target

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **more: (
            args[0] if len(args) == 1 and callable(args[0]) and not more else lambda target: target
        )


class Param(tuple[Any, ...]):
    """Values of `pytest.param`."""


def _values(row: Any, single: bool) -> tuple[Any, ...]:
    if isinstance(row, Param):
        return tuple(row)
    return (row,) if single else tuple(row)


def fixture(function: Any = None, *, params: Any = (None,), **more: Any) -> Any:
    def mark(target: Any) -> Any:
        target._fixture = list(params)
        target._autouse = bool(more.get("autouse"))
        return target

    return mark if function is None else mark(function)


def skip(reason: str = "", **more: Any) -> Any:
    raise Skipped(reason)


def fail(reason: str = "", **more: Any) -> Any:
    raise AssertionError(reason)


def importorskip(name: str, *args: Any, **more: Any) -> Any:
    try:
        return __import__(name)
    except ImportError:
        skip(name)


@contextmanager
def warns(kind: Any = Warning, match: str | None = None) -> Iterator[Any]:
    import warnings

    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        yield found
    kept = [w for w in found if issubclass(w.category, kind)]
    if not any(re.search(match or "", str(w.message)) for w in kept):
        raise AssertionError(f"DID NOT WARN {kind}")


def make_module() -> types.ModuleType:
    """The module `pytest`."""
    made = types.ModuleType("pytest")
    own = {"raises": raises, "approx": Approx, "mark": Marks(), "fixture": fixture, "fail": fail}
    own |= {"skip": skip, "xfail": skip, "importorskip": importorskip, "warns": warns}
    own |= {"param": lambda *values, **more: Param(values), "main": lambda *args, **more: 0}
    made.__dict__.update(own)
    return made


class Patches:
    """The fixture `monkeypatch`."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack

    def setattr(self, target: Any, name: Any, value: Any = None, raising: bool = True) -> None:
        from unittest import mock

        made = mock.patch(target, name) if isinstance(target, str) else None
        self._stack.enter_context(made or mock.patch.object(target, name, value, create=True))

    def setitem(self, target: Any, name: Any, value: Any) -> None:
        from unittest import mock

        self._stack.enter_context(mock.patch.dict(target, {name: value}))

    def setenv(self, name: str, value: str) -> None:
        import os

        self.setitem(os.environ, name, value)


class Printed:
    """The fixture `capsys`."""

    def __init__(self, stack: ExitStack) -> None:
        self._out = io.StringIO()
        before = sys.stdout
        stack.callback(setattr, sys, "stdout", before)
        sys.stdout = self._out

    def readouterr(self) -> Any:
        text = self._out.getvalue()
        self._out.truncate(self._out.seek(0))
        return types.SimpleNamespace(out=text, err="")


def _temporary(stack: ExitStack) -> Any:
    import pathlib
    import tempfile

    return pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))


BUILT_IN: dict[str, Callable[[ExitStack], Any]] = {
    "tmp_path": _temporary,
    "capsys": Printed,
    "monkeypatch": Patches,
}


def calls_of(name: str, target: Any, scope: dict[str, Any]) -> list[Callable[[], None]]:
    """The calls that pytest makes for one name of a test file; empty if it is no test."""
    if "_skipped" in getattr(target, "__dict__", {}):
        return []
    if isinstance(target, type):
        if not name.startswith("Test") or target.__init__ is not object.__init__:  # type: ignore[misc]
            return []
        methods = [key for key in dir(target) if key.startswith("test")]
        return [call for key in methods for call in _method_calls(target, key, scope)]
    if isinstance(target, types.FunctionType) and name.startswith("test"):
        fixtures = {key: value for key, value in scope.items() if _is_fixture(value)}
        return _calls(target, target, fixtures, None)
    return []


def _is_fixture(value: Any) -> bool:
    return isinstance(value, types.FunctionType) and "_fixture" in value.__dict__


def _method_calls(kind: type, key: str, scope: dict[str, Any]) -> list[Callable[[], None]]:
    function = next(vars(base)[key] for base in kind.__mro__ if key in vars(base))
    if not isinstance(function, types.FunctionType) or "_skipped" in function.__dict__:
        return []
    fixtures = {name: value for name, value in scope.items() if _is_fixture(value)}
    fixtures |= {name: value for name, value in vars(kind).items() if _is_fixture(value)}
    return _calls(function, function, fixtures, kind)


def _calls(function: Any, marked: Any, fixtures: Any, kind: Any) -> list[Callable[[], None]]:
    marks = [*function.__dict__.get("_parameters", ())]
    marks += kind.__dict__.get("_parameters", ()) if kind else ()
    rows = [
        {key: value for part in parts for key, value in part.items()}
        for parts in itertools.product(*marks)
    ]
    wanted = [name for name in parameters(function) if name in fixtures]
    choices = [[(name, value) for value in fixtures[name]._fixture] for name in wanted]
    return [
        partial(_run, function, row, dict(chosen), fixtures, kind)
        for row in rows
        for chosen in itertools.product(*choices)
    ]


def _run(function: Any, row: Any, chosen: Any, fixtures: Any, kind: Any) -> None:
    with ExitStack() as stack:
        instance = kind() if kind else None
        values: dict[str, Any] = dict(row)

        def value_of(name: str) -> Any:
            if name not in values:
                if name in fixtures:
                    values[name] = opened(fixtures[name], chosen.get(name))
                elif name in BUILT_IN:
                    values[name] = BUILT_IN[name](stack)
                elif name == "request":
                    return types.SimpleNamespace(param=None)
                else:
                    raise LookupError(f"fixture '{name}' not found")
            return values[name]

        def arguments(target: Any, param: Any = None) -> dict[str, Any]:
            names = parameters(target)
            given = {name: value_of(name) for name in names if name not in ("self", "request")}
            if "request" in names:
                given["request"] = types.SimpleNamespace(param=param)
            return given | ({"self": instance} if "self" in names else {})

        def opened(target: Any, param: Any) -> Any:
            made = target(**arguments(target, param))
            if not isinstance(made, types.GeneratorType):
                return made
            stack.callback(lambda: next(made, None))
            return next(made)

        for name, target in fixtures.items():
            if target._autouse:
                value_of(name)
        for name in ("setup_class", "setup_method", "setup"):
            if instance is not None and hasattr(instance, name):
                method = getattr(instance, name)
                method(*([function] * (len(parameters(method)) > 1)))
        if instance is not None and hasattr(instance, "teardown_method"):
            end = instance.teardown_method
            stack.callback(end, *([function] * (len(parameters(end)) > 1)))
        try:
            made = function(**arguments(function))
            if isinstance(made, types.CoroutineType):
                import asyncio

                asyncio.run(made)
        except Skipped:
            pass


def parameters(function: Any) -> tuple[str, ...]:
    """Names of the parameters of a function or method, without * and **."""
    code = function.__code__
    return tuple(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])
