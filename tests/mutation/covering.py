"""The tests that are run against the faults of a module.

The folder that mirrors the module's room, and what this table adds: tests elsewhere that protect
the module. Of these, a fault meets the tests that execute its line.
"""

from __future__ import annotations

from pathlib import Path

# Prefix of modules -> tests beside those of the mirrored folder.
BESIDE: dict[str, tuple[str, ...]] = {
    "harness.training.losses": ("tests/methods/test_wrpo_losses.py",),
    "harness.distillation.advantage": ("tests/methods/test_adpa.py",),
    "harness.engine": ("tests/harness/test_damage.py",),
}

# Modules that run as programs of their own: no test's process executes their lines.
PROGRAMS = ("harness.verification.jail",)

# Tests that read or build every published board: minutes for each fault that nothing else notices.
LEFT_OUT = (
    "tests/leaderboards/test_results.py",
    "tests/leaderboards/test_overview.py::test_every_claim_of_every_recipe_is_listed",
    "tests/leaderboards/test_overview.py::test_the_committed_page_is_what_the_command_prints",
)


def tests_of(module: str, root: Path) -> list[str]:
    """Folders and files of tests for a module, relative to the root.

    The mirrored folder is the deepest one that exists: `harness.suites.arena_hard.metrics` has
    `tests/harness/suites/arena_hard`.

    Raises:
        SystemExit: there are none.
    """
    parts = module.split(".")[:-1]
    found = []
    while len(parts) > (1 if parts[0] == "harness" else 0):
        folder = Path("tests", *parts)
        if (root / folder).is_dir():
            found.append(str(folder))
            break
        parts.pop()
    for prefix, more in BESIDE.items():
        if module == prefix or module.startswith(f"{prefix}."):
            found += more
    if not found:
        raise SystemExit(f"no tests mirror {module}; name them with --tests PATH")
    return found
