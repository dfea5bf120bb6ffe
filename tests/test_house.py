"""The house: sixteen rooms on eight floors, imports that point downward, and no circles.

    python -m tests.test_house            # prints the rooms, their sizes and what each one uses
    python -m tests.test_house --table    # prints what CONTRIBUTING.md and docs/ show of them

A room imports from lower floors only. An arrow is an import anywhere in a file, inside functions
and `TYPE_CHECKING` too, and a string that names a module ("package.module" or
"package.module:name"). The catalogues of the rooms are found through the distribution's entry
points, which no file names.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("harness", "methods", "leaderboards")


@dataclass(frozen=True)
class Room:
    """A part of the house: the modules with some prefixes, on one floor."""

    name: str
    floor: int
    modules: tuple[str, ...]
    duty: str


# A new file belongs to one of these; a new room is a change of the design.
ROOMS = (
    Room("methods", 8, ("methods",), "one folder per method, and the catalogue of methods"),
    Room(
        "cli",
        8,
        (
            "harness.cli",
            "harness.api",
            "harness.reproduce",
            "harness.evaluate",
            "harness.planned",
            "harness.sweep",
            "harness.testing",
        ),
        "command line and Python calls, reproduction, conformance checks for plugins",
    ),
    Room("leaderboards", 7, ("leaderboards",), "boards, claims, comparisons, samples, rendering"),
    Room(
        "nano", 7, ("harness.nano",), "offline universe: world, tiny models, oracle judge, server"
    ),
    Room("suites", 6, ("harness.suites",), "one folder per benchmark: protocol, settings, metrics"),
    Room("judging", 5, ("harness.judging",), "judges, prompt frames, verdicts, agreement"),
    Room("distillation", 5, ("harness.distillation",), "alignment, teachers on disk, fusion"),
    Room("backends", 4, ("harness.backends",), "running a model: generate and score"),
    Room("training", 4, ("harness.training",), "objectives, losses and the trainer"),
    Room("merging", 4, ("harness.merging",), "merging checkpoints tensor by tensor"),
    Room("models", 3, ("harness.models",), "references, checkpoints, chat templates, log-probs"),
    Room("data", 3, ("harness.data",), "prompts, answers and authors from all sources"),
    Room("verification", 3, ("harness.verification",), "checks of mathematics, code and letters"),
    Room("engine", 2, ("harness.engine",), "operations, plans, runs, store, registry, recipes"),
    Room("stats", 2, ("harness.stats",), "statistics shared by suites; numpy only"),
    Room("core", 1, ("harness.core",), "errors, hashing, records, text"),
)
# Packages without code of their own: they import nothing, or name what the top floor offers.
FACES = ("harness",)


def room_of(module: str) -> Room | None:
    for room in ROOMS:
        if any(module == own or module.startswith(f"{own}.") for own in room.modules):
            return room
    return None


@cache
def files() -> dict[str, Path]:
    """Module name -> file, of everything that is shipped."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


MODULE = re.compile(rf"({'|'.join(PACKAGES)})(\.\w+)+")


def arrows(module: str, known: Mapping[str, Path]) -> Iterator[tuple[str, int]]:
    """The modules that a file names, each with the line that names it."""
    tree = ast.parse(known[module].read_text(encoding="utf-8"))
    documentation = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}, line {node.lineno}: a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            name = node.value.partition(":")[0]
            if id(node) in documentation or not MODULE.fullmatch(name):
                continue
            names = [name]
        else:
            continue
        for name in names:
            while name and name not in known:
                name = name.rpartition(".")[0]
            if name and name not in FACES:
                yield name, node.lineno


@cache
def graph() -> dict[str, dict[str, int]]:
    """Module -> the modules it names -> a line that names it."""
    known = files()
    return {
        module: {name: line for name, line in arrows(module, known) if name != module}
        for module in known
    }


def circles(edges: Mapping[str, Mapping[str, object]]) -> list[list[str]]:
    """The strongly connected parts of a graph that have several nodes (Tarjan's algorithm)."""
    found: list[list[str]] = []
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []

    def visit(node: str) -> None:
        number[node] = lowest[node] = len(number)
        stack.append(node)
        for other in edges.get(node, {}):
            if other not in number:
                visit(other)
                lowest[node] = min(lowest[node], lowest[other])
            elif other in stack:
                lowest[node] = min(lowest[node], number[other])
        if lowest[node] == number[node]:
            part = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(part) > 1:
                found.append(sorted(part))

    for node in edges:
        if node not in number:
            visit(node)
    return found


def between_rooms() -> dict[str, dict[str, int]]:
    """Room -> the rooms it uses -> how many files name one of theirs."""
    found: dict[str, dict[str, int]] = {room.name: {} for room in ROOMS}
    for module, names in graph().items():
        mine = room_of(module)
        for name in {room.name for room in map(room_of, names) if room is not None}:
            if mine is not None and mine.name != name:
                found[mine.name][name] = found[mine.name].get(name, 0) + 1
    return found


def test_there_are_sixteen_rooms_on_eight_floors() -> None:
    assert len(ROOMS) == 16
    assert {room.floor for room in ROOMS} == set(range(1, 9))
    assert all(any(map(room.name.__eq__, _used_rooms())) for room in ROOMS)


def _used_rooms() -> set[str]:
    return {room.name for room in map(room_of, files()) if room is not None}


@pytest.mark.parametrize("module", files())
def test_imports_point_downward(module: str) -> None:
    if module in FACES:
        rooms = {room.name for room in map(room_of, graph()[module]) if room is not None}
        assert rooms <= {"cli"}, f"{module} is a face and names the calls of the top floor alone"
        return
    mine = room_of(module)
    assert mine is not None, f"{module} belongs to no room; move it, or change ROOMS and the design"
    for name, line in graph()[module].items():
        other = room_of(name)
        where = f"{module}, line {line}"
        assert other is not None, f"{where}: {name} belongs to no room"
        assert other == mine or other.floor < mine.floor, (
            f"{where}: {mine.name} (floor {mine.floor}) names {name} of {other.name} "
            f"(floor {other.floor})"
        )
        pair = {mine.name, other.name}
        assert pair != {"methods", "leaderboards"}, f"{where}: {name}"
        own, theirs = module.split("."), name.split(".")
        if mine == other and mine.name == "methods" and own[1] != "catalogue":
            assert own[1] == theirs[1], f"{where}: one method names another, {name}"


def test_rooms_form_no_circle() -> None:
    assert circles(between_rooms()) == []


def test_files_form_no_circle() -> None:
    assert circles(graph()) == []


def test_no_string_in_harness_names_a_module_of_methods() -> None:
    """Methods are found through the registry alone; not even a part of an f-string names one."""
    for module, path in files().items():
        if not module.startswith("harness"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                named = re.match(r"methods\.\w*", node.value)
                assert not named, f"{module}, line {node.lineno}: {node.value!r}"


def test_circles_are_found() -> None:
    edges: dict[str, dict[str, int]] = {"a": {"b": 1}, "b": {"c": 1}, "c": {"a": 1}, "d": {"a": 1}}
    assert circles(edges) == [["a", "b", "c"]]


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_pages_show_the_house(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    parts = [table(), elevation()] if page == "docs/architecture.md" else [table()]
    assert all(part in text for part in parts), (
        f"{page} shows other rooms; paste the output of: python -m tests.test_house --table"
    )


def table() -> str:
    """The rooms as a Markdown table, from the top floor down."""
    rows = [("floor", "room", "modules", "duty"), ("---",) * 4]
    for room in ROOMS:
        modules = ", ".join(f"`{name}`" for name in room.modules)
        rows.append((str(room.floor), room.name, modules, room.duty))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def elevation() -> str:
    """The rooms as boxes, one line per floor."""
    lines = []
    for floor in sorted({room.floor for room in ROOMS}, reverse=True):
        boxes = "  ".join(f"[ {room.name} ]" for room in ROOMS if room.floor == floor)
        lines.append(f"floor {floor}   {boxes}")
    return "\n".join(lines)


HEAVY = ("torch", "transformers", "scipy", "datasets", "trl", "openai", "ray", "pyarrow")


def test_the_face_imports_nothing_heavy() -> None:
    code = (
        "import sys\nimport harness\n"
        "names = [name for name in sys.modules if name.startswith('harness.')]\n"
        "assert not names, names\n"
        "from harness import board, compare, evaluate, judge, reproduce\n"
        "assert all(map(callable, (board, compare, evaluate, judge, reproduce)))\n"
        f"assert not [name for name in {HEAVY!r} if name in sys.modules]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("arguments", [["--help"], ["methods"], ["suites"]])
def test_light_commands_import_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom harness.cli import main\n"
        f"sys.argv = ['crucible', *{arguments!r}]\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert not stop.code\n"
        f"print('LOADED', [name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("LOADED []"), done.stdout


def drawn() -> str:
    """The house as text, one floor after another from the top down."""
    sizes: dict[str, list[int]] = {room.name: [] for room in ROOMS}
    for module, path in files().items():
        room = room_of(module)
        if room is not None:
            sizes[room.name].append(len(path.read_text(encoding="utf-8").splitlines()))
    uses, lines = between_rooms(), []
    for floor in sorted({room.floor for room in ROOMS}, reverse=True):
        lines.append(f"floor {floor}")
        for room in (room for room in ROOMS if room.floor == floor):
            count = f"{len(sizes[room.name])} files, {sum(sizes[room.name]):,} lines"
            lines.append(f"  {room.name:<13} {room.duty} ({count})")
            below = [other.name for other in ROOMS if other.name in uses[room.name]]
            lines.append(f"  {'':<13} uses {', '.join(below) or 'nothing'}")
    return "\n".join(lines)


if __name__ == "__main__":
    shown = f"{table()}\n\n{elevation()}" if "--table" in sys.argv else drawn()
    sys.stdout.write(shown + "\n")
