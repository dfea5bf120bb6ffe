"""Running one test script against an answer: what is called, and whether anything was asserted.

Standard library only. A script is run from top to bottom; then what it defines and did not run
itself is run by the rules of pytest (`test*`), unittest (`TestCase`) and HumanEval (`check`). A
script passes if nothing failed and at least one assertion held that can fail: `assert` of something
other than a constant, a method of TestCase, a call of a function named `assert*`, a required
exception, or an `if` that raises. An assertion that failed is a failure even if it is caught.
"""

from __future__ import annotations

import ast
import sys
import types
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from harness.verification import pytest_rules

NOTHING = "the test asserts nothing"
CAUGHT = "an assertion failed, and the test caught the exception"
_CONTEXTS = ("raises", "warns", "Raises", "RaisesRegex", "Warns", "WarnsRegex", "Logs", "NoLogs")
_FAILURES = ("fail", "exit", "_exit", "quit")


class Count:
    """Assertions of a script.

    Attributes:
        held: number that held.
        failed: an assertion failed, and no later one replaced it.
        entered: names of the functions that were entered.
    """

    def __init__(self) -> None:
        self.entered: set[str] = set()
        self.begin()

    def begin(self) -> None:
        """Count from nothing, for the next script."""
        self.held, self.failed = 0, False
        self.entered.clear()

    def seen(self, value: Any, inside_handler: bool) -> bool:
        truth = bool(value)
        self.held += truth
        self.failed = not truth or (self.failed and not inside_handler)
        return truth

    def guarded(self, value: Any) -> bool:
        truth = bool(value)
        self.held += not truth
        return truth

    def caught(self) -> None:
        if not issubclass(sys.exc_info()[0] or AssertionError, AssertionError):
            self.held += 1

    def done(self) -> None:
        self.held, self.failed = self.held + 1, False

    def names(self) -> dict[str, Any]:
        """Functions that an instrumented script calls."""
        return {
            "__seen__": self.seen,
            "__guarded__": self.guarded,
            "__caught__": self.caught,
            "__done__": self.done,
            "__entered__": self.entered.add,
        }


class Counting(ast.NodeTransformer):
    """Adds calls of `Count` to a script."""

    def __init__(self, tree: ast.AST) -> None:
        functions = ast.FunctionDef | ast.AsyncFunctionDef
        self._own = {node.name for node in ast.walk(tree) if isinstance(node, functions)}
        self._depth, self._handlers = 0, 0

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        self.generic_visit(node)
        if not always_true(node.test):
            node.test = _call("__seen__", node.test, ast.Constant(self._handlers > 0))
        return node

    def visit_If(self, node: ast.If) -> ast.AST:
        failing = any(_fails(statement) for statement in node.body)
        self.generic_visit(node)
        if failing and not isinstance(node.test, ast.Constant):
            node.test = _call("__guarded__", node.test)
        return node

    def visit_Try(self, node: ast.Try) -> ast.AST:
        decisive = any(_fails(statement) for statement in (*node.body, *node.orelse))
        for part in (node.body, node.orelse, node.finalbody):
            part[:] = self._visited(part)
        self._handlers += 1
        for handler in node.handlers:
            handler.body[:] = self._visited(handler.body)
            if decisive:
                handler.body.insert(0, ast.Expr(_call("__caught__")))
        self._handlers -= 1
        return node

    def _visited(self, statements: list[ast.stmt]) -> list[ast.stmt]:
        found: list[Any] = []
        for statement in statements:
            made = self.visit(statement)
            found += made if isinstance(made, list) else [made]
        return found

    def visit_Expr(self, node: ast.Expr) -> Any:
        self.generic_visit(node)
        name = _called(node.value)
        foreign = name.lower().startswith("assert") and name not in self._own
        context = name.removeprefix("assert") in _CONTEXTS
        several = isinstance(node.value, ast.Call) and len(node.value.args) > 1
        if (foreign and not context) or (context and several):
            return [node, ast.Expr(_call("__done__"))]
        return node

    def visit_With(self, node: ast.With) -> Any:
        self.generic_visit(node)
        names = [_called(item.context_expr) for item in node.items]
        if any(name.removeprefix("assert") in _CONTEXTS for name in names):
            return [node, ast.Expr(_call("__done__"))]
        return node

    visit_AsyncWith = visit_With  # type: ignore[assignment]

    def visit_FunctionDef(self, node: Any) -> ast.AST:
        self._depth += 1
        handlers, self._handlers = self._handlers, 0
        self.generic_visit(node)
        self._handlers = handlers
        self._depth -= 1
        if self._depth == 0 and is_test_name(node.name):
            place = 1 if ast.get_docstring(node, clean=False) is not None else 0
            node.body.insert(place, ast.Expr(_call("__entered__", ast.Constant(node.name))))
        return node

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        self._depth += 1
        self.generic_visit(node)
        self._depth -= 1
        return node


def finish(made: Any) -> None:
    """Run what an asynchronous test returned."""
    if isinstance(made, types.CoroutineType):
        import asyncio

        asyncio.run(made)


def is_test_name(name: str) -> bool:
    return name == "check" or name.startswith("test")


def always_true(test: ast.expr) -> bool:
    """Whether an asserted expression holds for every answer: a constant, a tuple with items."""
    if isinstance(test, ast.Tuple):
        return bool(test.elts)
    return isinstance(test, ast.Constant) and bool(test.value)


def _call(name: str, *args: ast.expr) -> ast.Call:
    return ast.Call(ast.Name(name, ast.Load()), list(args), [])


def _called(node: ast.expr) -> str:
    """Last part of the name of the function that an expression calls, or ""."""
    node = node.value if isinstance(node, ast.Await) else node
    function = node.func if isinstance(node, ast.Call) else None
    return str(getattr(function, "attr", getattr(function, "id", "")))


def _fails(statement: ast.stmt) -> bool:
    """Whether a statement always fails."""
    if isinstance(statement, ast.Raise):
        return True
    if isinstance(statement, ast.Assert):
        return isinstance(statement.test, ast.Constant) and not statement.test.value
    return isinstance(statement, ast.Expr) and _called(statement.value) in _FAILURES


def instrumented(source: str) -> types.CodeType:
    """Code of a script that counts its assertions.

    Raises:
        SyntaxError: of the script.
    """
    tree = ast.parse(source, "tests.py")
    made = ast.fix_missing_locations(Counting(tree).visit(tree))
    return compile(made, "tests.py", "exec")


class Script:
    """The tests of one answer, run one after another in one scope.

    Args:
        scope: global names of the tests.
        subject: returns what a function `check(candidate)` receives.
    """

    def __init__(self, scope: dict[str, Any], subject: Callable[[], Any]) -> None:
        self.scope, self._subject = scope, subject
        # One for all: a function of an earlier script asserts for the script that calls it.
        self._count = Count()
        scope["__builtins__"] = {**scope["__builtins__"], **self._count.names()}
        self._run: list[Any] = []  # functions and classes of earlier tests

    def run(self, source: str) -> str:
        """Run one test and return "passed", or why it does not pass."""
        count = self._count
        count.begin()
        _count_methods(count)
        try:
            exec(instrumented(source), self.scope)
            for work in self._collected(count):
                work()
        except BaseException as error:
            return describe(error)
        finally:
            self._run += self._defined().values()
        if count.failed:
            return CAUGHT
        return "passed" if count.held else NOTHING

    def _defined(self) -> dict[str, Any]:
        """Functions and classes that the tests define and that were not looked at before."""
        return {
            name: target
            for name, target in self.scope.items()
            if isinstance(target, type | types.FunctionType)
            and getattr(target, "__module__", "") == "__main__"
            and not any(target is known for known in self._run)
        }

    def _collected(self, count: Count) -> Iterator[Callable[[], Any]]:
        """Calls of what the tests define and have not run themselves."""
        for name, target in self._defined().items():
            if name in count.entered:
                continue
            if is_case(target):
                yield partial(run_cases, target)
            elif name == "check" and isinstance(target, types.FunctionType):
                yield partial(self._check, target)
            else:
                yield from pytest_rules.calls_of(name, target, self.scope)

    def _check(self, check: types.FunctionType) -> None:
        needed = check.__code__.co_argcount > len(check.__defaults__ or ())
        finish(check(*[self._subject()] if needed else []))


def is_case(target: Any) -> bool:
    """Whether something is a TestCase; unittest is imported by tests that use it."""
    cases = sys.modules.get("unittest")
    return cases is not None and isinstance(target, type) and issubclass(target, cases.TestCase)


def run_cases(kind: Any) -> None:
    """Run the methods of a TestCase; raises the first failure."""
    import unittest

    class Result(unittest.TestResult):
        first: BaseException | None = None

        def addFailure(self, test: Any, err: Any) -> None:
            self.first = self.first or err[1]

        addError = addFailure

        def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:
            if err is not None:
                self.addFailure(test, err)

        def addUnexpectedSuccess(self, test: Any) -> None:
            self.first = self.first or AssertionError("unexpected success")

    result = Result()
    unittest.defaultTestLoader.loadTestsFromTestCase(kind).run(result)
    if result.first is not None:
        raise result.first


_ORIGINAL: dict[str, Any] = {}


def _count_methods(count: Count) -> None:
    """Make the assertion methods of TestCase count, if the tests mention unittest."""
    cases: Any = sys.modules.get("unittest")
    for name in dir(cases.TestCase) if cases else ():
        if name.startswith("assert") and name.removeprefix("assert") not in _CONTEXTS:
            original = _ORIGINAL.setdefault(name, getattr(cases.TestCase, name))
            setattr(cases.TestCase, name, _counted(original, count))


def _counted(original: Any, count: Count) -> Any:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            found = original(self, *args, **kwargs)
        except AssertionError:
            count.failed = True
            raise
        count.held += 1
        return found

    method.__name__ = original.__name__
    return method


def describe(error: BaseException) -> str:
    """One line that describes an exception."""
    try:
        text = f"raised {type(error).__name__}: {error}"
    except BaseException:
        text = "raised an exception that cannot be shown"
    return text.replace("\r", " ").replace("\n", " ")[:300]
