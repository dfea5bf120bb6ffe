"""Code that a stage depends on and that is not built in: a digest of its source is part of the id.

Built-in operations, losses, prompts and readers carry versions. Everything else is known by its
source: the module that defines the operation, and the modules of objects that parameters name,
"package.module:object" or a name that a plugin adds (a judge, a scheme of data or models, a loss, a
prompt, a reader). A module counts with all modules of its own package, and of folders outside the
installed libraries, that it imports, and with the files beside it that it names.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import re
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeGuard

from harness.core.hashing import digest
from harness.core.records import Record
from harness.engine import registry
from harness.engine.operations import Operation

OWN = ("harness", "methods", "leaderboards")  # packages whose parts carry versions
LARGEST = 1 << 20  # bytes of a file that a module names
_TARGET = re.compile(r"[A-Za-z_]\w*(?:\.\w+)*:[A-Za-z_]\w*(?:\.\w+)*")
_MODULE = re.compile(r"[A-Za-z_]\w*(?:\.\w+)+(?::[\w.]+)?")
_NOT_DATA = (".toml", ".py", ".pyc")  # recipes are parameters of their own


def code_of(operation: Operation[Any], params: Record) -> dict[str, str]:
    """Modules that a stage depends on and that are not built in, each with its digest."""
    modules = {name for name in _modules_of(operation.function) if not is_own(name)}
    modules |= {name for name in _named(params.model_dump(mode="json")) if not is_own(name)}
    return {name: found for name in sorted(modules) if (found := module_digest(name))}


def is_own(module: str) -> bool:
    """Whether a module is built in."""
    return module.partition(".")[0] in OWN


def _modules_of(function: Callable[..., Any]) -> Iterator[str]:
    """Modules of a function and of the functions that it closes over."""
    yield str(function.__module__)
    closure = function.__closure__ if hasattr(function, "__closure__") else None
    for cell in closure or ():
        try:
            value = cell.cell_contents
        except ValueError:  # still empty
            continue
        if callable(value) and isinstance(getattr(value, "__module__", None), str):
            yield value.__module__


def _named(value: Any) -> Iterator[str]:
    """Modules of the objects that parameters name."""
    if isinstance(value, Mapping):
        for part in (*value.keys(), *value.values()):
            yield from _named(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _named(part)
    elif isinstance(value, str) and len(value) < 1000:
        added = registry.added_targets()
        known = added.get(value) or added.get(value.partition(":")[0])
        if known is not None:
            yield known.partition(":")[0]
        elif _TARGET.fullmatch(value) and value.partition(":")[0] not in registry.schemes():
            module = value.partition(":")[0]
            library = module.partition(".")[0] in sys.stdlib_module_names
            if not is_own(module) and not library and _is_there(value):
                yield module


@cache
def _is_there(target: str) -> bool:
    """Whether "package.module:object" exists; imports the module."""
    try:
        registry.load_target(target)
    except (Exception, SystemExit):
        return False
    return True


_DIGESTS: dict[str, tuple[Any, str]] = {}


def module_digest(name: str) -> str:
    """Digest of the source of a module and of its own imports; "" where there is no source.

    It is computed once per import of the module: later edits of the file change what runs only in
    the next process, or after a reload.
    """
    spec = _spec_of(name)
    known = _DIGESTS.get(name)
    if known is None or known[0] is not spec:
        _DIGESTS[name] = known = (spec, _digest_of(name))
    return known[1]


def _spec_of(name: str) -> Any:
    loaded = sys.modules.get(name)
    return vars(loaded).get("__spec__") if loaded is not None else None


def _digest_of(name: str) -> str:
    """Digest of the files of a module and its imports."""
    found: dict[str, str] = {}
    waiting = [name]
    while waiting:
        module = waiting.pop()
        path = path_of(module)
        if module in found or path is None:
            continue
        data = path.read_bytes()
        found[module] = hashlib.blake2b(data, digest_size=16).hexdigest()
        parts = module.split(".")
        waiting += [".".join(parts[:end]) for end in range(1, len(parts))]
        tree = _tree(data) if path.suffix == ".py" else None
        if tree is not None:
            top, package = name.partition(".")[0], _package(module, path)
            waiting += [m for m in imported(tree, package, top) if _counts(m, top)]
            found |= {file.name: _file_digest(file) for file in named_files(tree, path.parent)}
    return digest(found) if found else ""


def path_of(module: str) -> Path | None:
    """File of a module, without importing it; None where it has none."""
    if module == "__main__":
        file = getattr(sys.modules["__main__"], "__file__", None)
        return Path(file) if file else None
    spec = _spec_of(module)
    try:
        spec = spec or importlib.util.find_spec(module)
    except (ImportError, ValueError, AttributeError):
        return None
    origin = spec.origin if spec is not None and spec.has_location else None
    return Path(origin) if origin and Path(origin).is_file() else None


def _tree(data: bytes) -> ast.Module | None:
    try:
        return ast.parse(data)
    except (SyntaxError, ValueError, RecursionError):
        return None


def _package(module: str, path: Path) -> str:
    return module if path.stem == "__init__" else module.rpartition(".")[0]


def imported(tree: ast.Module, package: str, top: str) -> Iterator[str]:
    """Names of modules that a module imports, or names in text that begins with its package.

    A name that is imported from a module is listed too: it may be a module.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            above = parts[: len(parts) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and _is_module(node.value, top):
            yield node.value.partition(":")[0]


def _is_module(text: Any, top: str) -> TypeGuard[str]:
    named = isinstance(text, str) and text.startswith(f"{top}.")
    return named and _MODULE.fullmatch(text) is not None


def named_files(tree: ast.Module, folder: Path) -> list[Path]:
    """Files of data beside a module that its text names."""
    names = {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    names = {n for n in names if 2 < len(n) < 200 and "\0" not in n and not n.endswith(_NOT_DATA)}
    found = (folder / name for name in sorted(names) if re.fullmatch(r"[\w./ -]+\.\w+", name))
    return [path for path in found if path.is_file() and path.stat().st_size <= LARGEST]


@cache
def _libraries() -> tuple[Path, ...]:
    """Folders of installed libraries, which are no part of a plugin's code."""
    paths = sysconfig.get_paths()
    keys = ("stdlib", "platstdlib", "purelib", "platlib")
    return tuple(Path(paths[key]).resolve() for key in keys)


def _counts(module: str, top: str) -> bool:
    """Whether an imported module is part of the code: of the same package, or not a library."""
    first = module.partition(".")[0]
    if first == top:
        return True
    if first in OWN or first in sys.stdlib_module_names or not first:
        return False
    path = path_of(first) or path_of(module)
    if path is None:
        return False
    resolved = path.resolve()
    return not any(resolved.is_relative_to(folder) for folder in _libraries()) and not (
        {"site-packages", "dist-packages"} & set(resolved.parts)
    )


def _file_digest(path: Path) -> str:
    return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()


# What a store knows about earlier code


def remember(root: Path, plain: str, id: str, code: Mapping[str, str]) -> None:
    """Note that the stage `plain` (its id without any code) was computed as `id`."""
    from harness.engine.io import replace_file

    path = _note_of(root, plain)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, json.dumps({"id": id, "code": dict(code)}).encode())


def changed(root: Path, stages: Iterable[Any]) -> list[str]:
    """Sentences about code that differs from that of earlier runs of these stages.

    Args:
        stages: stages to run, of class `harness.engine.plan.Stage`.
    """
    names: dict[str, None] = {}
    again = 0
    for stage in stages:
        known = _known(_note_of(root, stage.plain)) if stage.plain != stage.id else None
        if known is None or known["id"] == stage.id:
            continue
        again += 1
        before = known["code"]
        names |= {name: None for name in stage.code if before.get(name) != stage.code[name]}
    if not again:
        return []
    shown = list(dict.fromkeys(map(registry.plugin_name, names))) or ["code of plugins"]
    return [f"{', '.join(shown)} changed: {again} stage{'s' * (again > 1)} run again"]


def _note_of(root: Path, plain: str) -> Path:
    return root / "code" / plain[:2] / f"{plain}.json"


def _known(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    sound = isinstance(found, dict) and isinstance(found.get("code"), dict) and "id" in found
    return found if sound else None
