"""Floors: a module imports only from its own floor or below, and light modules stay light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# First match wins, so single modules stand before their packages.
FLOORS = (
    (0, ("harness.errors", "harness.records", "harness.hashing")),
    (
        1,
        (
            "harness.registry",
            "harness.plugins",
            "harness.operations",
            "harness.recipe",
            "harness.store",
            "harness.ledger",
            "harness.costs",
            "harness.calls",
            "harness.prices",
        ),
    ),
    (2, ("harness.chat", "harness.data", "harness.metrics", "harness.stats")),
    (
        3,
        (
            "harness.backends",
            "harness.models",
            "harness.checkpoints",
            "harness.prompts",
            "harness.sampling",
            "harness.judging",
            "harness.train",
            "harness.align",
            "harness.distributions",
            "harness.merge",
            "harness.nano",
            "harness.lm_eval",
            "harness.personality",
            "harness.verify",
        ),
    ),
    (4, ("harness.suites", "harness.plan", "harness.run", "harness.testing")),
    (5, ("methods", "leaderboards")),
    (6, ("harness.cli",)),
)


def floor_of(module: str) -> int | None:
    for floor, prefixes in FLOORS:
        for prefix in prefixes:
            if module == prefix or module.startswith(prefix + "."):
                return floor
    return None


def modules() -> list[tuple[str, Path]]:
    found = []
    for package in ("harness", "methods", "leaderboards"):
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found.append((name.removesuffix(".__init__"), path))
    return found


def imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


@pytest.mark.parametrize(("module", "path"), modules())
def test_imports_point_downward(module: str, path: Path) -> None:
    floor = floor_of(module)
    if module in ("harness", "methods", "leaderboards"):
        assert not imports(path) - {"__future__", "__future__.annotations"}
        return
    assert floor is not None, f"{module} stands on no floor; add it to FLOORS"
    for name in imports(path):
        other = floor_of(name)
        if other is not None:
            assert other <= floor, f"{module} (floor {floor}) imports {name} (floor {other})"
        # Methods and leaderboards do not know each other, nor does one method another.
        for first, second in (("methods", "leaderboards"), ("leaderboards", "methods")):
            assert not (module.startswith(first) and name.startswith(second)), (module, name)
        mine, theirs = module.split("."), name.split(".")
        if mine[0] == theirs[0] == "methods" and len(mine) > 2 and len(theirs) > 1:
            assert mine[1] == theirs[1], f"{module} imports another method: {name}"


HEAVY = ("torch", "transformers", "scipy", "datasets", "trl", "openai", "ray", "pyarrow")


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
