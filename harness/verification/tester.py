"""The process that runs tests: it forms the verdict, and runs no code of the answer.

Standard library only. It is confined as the answer's process is, and holds the only line to the
supervisor. `prepare_scope` decides which names of the tests mean the answer: names that the tests
use and do not define. A module or function that the answer merely imports is imported here instead,
and built-in names mean the built-in functions, unless the answer defines nothing else that the
tests use.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import json
import os
import symtable
import sys
from typing import Any

from harness.verification import pytest_rules
from harness.verification.asserting import Script
from harness.verification.proxies import REMOTE, RemoteClass, RemoteModule
from harness.verification.remote import Answer
from harness.verification.wire import Ended, Forged

LOST = 3  # exit code of a tester whose line to the answer broke


def run_tests(request: int, verdicts: int, read: int, write: int) -> None:
    """Load the answer, run its tests in order, and report each verdict; never returns."""

    def say(*words: str) -> None:
        os.write(verdicts, json.dumps(words).encode() + b"\n")

    def fail(why: str) -> None:
        if why == "forged":
            say("forged")
        os._exit(LOST)

    answer = Answer(read, write, fail)
    kind, *words = answer.link.receive()  # nothing untrusted runs yet
    say(str(kind), *words)
    with open(request, "rb", closefd=False) as stream:
        given = json.loads(stream.readline())
    try:
        answer.link.send(["load", given["code"]])
        status, *found = answer.link.receive()
    except (Ended, Forged) as error:
        return fail("forged" if isinstance(error, Forged) else "")
    if status == "failed":
        say("not loaded", *map(str, found))
        os._exit(0)
    if status != "loaded" or [type(part) for part in found] != [int, list]:
        return fail("forged")
    say("loaded")
    number, names = found
    tests, entry = given["tests"], given["entry_point"]
    _stand_in(answer, number, names, tests)
    scope = prepare_scope(
        answer, number, given["code"], [str(name) for name in names], tests, entry
    )
    script = Script(scope, lambda: subject_of(entry, given["code"], answer, number, scope))
    for test in tests:
        say("verdict", script.run(test))
    say("done")
    os._exit(0)


def _stand_in(answer: Answer, number: int, names: list[str], tests: list[str]) -> None:
    """Modules that tests import: the answer, and pytest."""
    module = RemoteModule(answer, number, [name for name in names if not name.startswith("_")])
    for name in ("candidate", "solution", "__main__"):
        sys.modules[name] = module
    if any("pytest" in test for test in tests):
        sys.modules["pytest"] = pytest_rules.make_module()
    sys.argv = ["tests.py"]
    if any("seed" in test for test in tests):
        _share_seeds(answer, number)
    if any("unittest" in test for test in tests):
        import unittest

        unittest.main = lambda *args, **more: None  # type: ignore[assignment]  # called afterwards


def _share_seeds(answer: Answer, number: int) -> None:
    """Make `random.seed` of the tests seed the answer's random numbers too."""
    for name in ("random", "numpy.random"):
        try:
            module: Any = importlib.import_module(name)
        except ImportError:
            continue

        def seed(value: Any = None, own: Any = module.seed, name: str = name) -> None:
            own(value)
            answer.request("seed", number, name, value)

        module.seed = seed


def prepare_scope(
    answer: Answer, number: int, code: str, names: list[str], tests: list[str], entry: str
) -> dict[str, Any]:
    """Global names of the tests, see the module's text."""
    used, every = used_names([*tests, entry])
    answer.words = frozenset(every)
    dynamic = {"eval", "exec", "globals", "locals"} & used
    wanted = set(names) if dynamic else used & set(names)
    imports = imported_names(code)
    own = defined_names(code)
    clear = {n for n in wanted if n not in imports and not hasattr(builtins, n)}
    scope: dict[str, Any] = {"__builtins__": dict(vars(builtins)), "__name__": "__main__"}
    for name in sorted(wanted - {"__builtins__", "__name__"}):
        chosen = name == entry if entry else not clear or dynamic
        if is_library(name, tests):
            scope[name] = importlib.import_module(name)
        elif name in imports and not (name in own and chosen):
            scope.update(imports[name]())
        elif name in clear or chosen:
            scope[name] = answer.request("get", number, name)
    for name in used:
        found = scope.get(name)
        if isinstance(found, RemoteClass):
            answer.named.add(found.__dict__[REMOTE][1])
    return scope


def used_names(sources: list[str]) -> tuple[set[str], set[str]]:
    """Global names that scripts use and do not bind, and all their identifiers."""
    used: set[str] = set()
    bound: set[str] = set()
    every: set[str] = set()
    for source in sources:
        try:
            tables = [symtable.symtable(source, "tests.py", "exec")]
            tree = ast.parse(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        every |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        every |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        while tables:
            table = tables.pop()
            tables += table.get_children()
            top = table.get_type() == "module"
            for symbol in table.get_symbols():
                binds = symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace()
                if top and binds:
                    bound.add(symbol.get_name())
                elif symbol.is_referenced() and (top or symbol.is_global()):
                    used.add(symbol.get_name())
    return used - bound, every


def imported_names(code: str) -> dict[str, Any]:
    """Name -> function that imports what the answer imports under it, from the library.

    It returns nothing for what the answer renames (`from m import a as b`).
    """
    found: dict[str, Any] = {}
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                name = alias.asname or alias.name.partition(".")[0]
                found[name] = _importing(ast.Import([alias]))
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module != "__future__":
            for alias in node.names:
                load = _importing(ast.ImportFrom(node.module, [alias], 0))
                found |= dict.fromkeys(load() if alias.name == "*" else (), load)
                # Under another name, a function of the library could stand in for a helper.
                same = alias.asname in (None, alias.name)
                found[alias.asname or alias.name] = load if same else dict
    return found


def _importing(node: ast.stmt) -> Any:
    def load() -> dict[str, Any]:
        space: dict[str, Any] = {}
        tree = ast.fix_missing_locations(ast.Module([node], []))
        try:
            exec(compile(tree, "imports", "exec"), space)
        except Exception:
            return {}
        space.pop("__builtins__", None)
        return space

    return load


def defined_names(code: str) -> set[str]:
    """Names that the top level of the answer defines other than by importing."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
    return found


def is_library(name: str, tests: list[str]) -> bool:
    """Whether tests use a name only as a module of the standard library (`math.isclose`)."""
    if name not in sys.stdlib_module_names:
        return False
    uses = bases = 0
    for test in tests:
        for node in ast.walk(ast.parse(test)):
            if isinstance(node, ast.Name) and node.id == name:
                uses += 1
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                bases += node.value.id == name
    return 0 < uses == bases


def subject_of(entry: str, code: str, answer: Answer, number: int, scope: dict[str, Any]) -> Any:
    """What `check(candidate)` receives: `entry`, or the only function that the answer offers.

    Raises:
        LookupError: no entry point is given, and the answer offers several functions.
    """
    if entry.isidentifier():
        return answer.request("get", number, entry)
    if entry:
        return eval(compile(entry, "entry point", "eval"), scope)
    body = ast.parse(code).body
    functions = [n for n in body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    names = list(dict.fromkeys(node.name for node in functions))
    if len(names) > 1:
        called = {
            inner.id
            for node in functions
            for inner in ast.walk(node)
            if isinstance(inner, ast.Name) and inner.id != node.name
        }
        names = [name for name in names if name not in called]
    if len(names) == 1:
        return answer.request("get", number, names[0])
    raise LookupError(
        "check(candidate) needs the function to check; the answer offers "
        f"{', '.join(names) or 'none'}: name it in entry_point"
    )
