"""Names of runs, and of their boards: what ran, and how it differs from its recipe."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.engine.overrides import Overrides, overridden


def variant(
    overrides: Overrides, limit: int | None, suites: Sequence[str], seed: int | None = None
) -> str:
    """What distinguishes a run from its recipe, for the name of its board.

    >>> variant(["train.settings.beta=0.3"], 300, ["mt_bench"])
    '+beta=0.3+limit=300+suite=mt_bench'
    """
    given = [(key, text.partition("=")[2]) for key, _, text in overridden(overrides)]
    keys = [key for key, _ in given]
    parts = [f"{_short_key(key, keys)}={text}" for key, text in given]
    parts += [f"limit={limit}"] if limit is not None else []
    parts += [f"suite={','.join(suites)}"] if suites else []
    parts += [f"seed={seed}"] if seed is not None else []
    return "".join(f"+{part}" for part in parts)


def _short_key(key: str, keys: Sequence[str]) -> str:
    """The last parts of a dotted key, as many as no other key ends in."""
    parts = key.split(".")
    for number in range(1, len(parts)):
        tail = ".".join(parts[-number:])
        if sum(other == tail or other.endswith(f".{tail}") for other in keys) == 1:
            return tail
    return key


def recipe_name(method: str, shipped: Path, path: Path) -> str:
    """Name of what runs: the method, or its recipe file if that is the user's.

    Args:
        shipped: recipe file of the method.
        path: recipe file that runs.
    """
    if path.resolve() == shipped.resolve():
        return method
    return path.stem if path.stem != "recipe" else path.resolve().parent.name
