"""The extras of this distribution: which are installed, and which a run needs."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import metadata

from harness.core.errors import EnvironmentProblem
from harness.engine.recipe import Recipe

EXTRAS = {
    "train": ("torch", "transformers", "trl", "accelerate", "datasets", "rapidfuzz"),
    "api": ("openai",),
    "alpaca": ("alpaca_eval", "scikit-learn", "pyarrow"),
    "classic": ("scikit-learn",),
    "lm-eval": ("lm_eval",),
    "merge": ("mergekit",),
    "verify": ("math-verify",),
    "ray": ("ray",),
    "vllm": ("vllm",),
}


def versions_of(extra: str) -> dict[str, str | None]:
    """Installed versions of an extra's packages; None for one that is missing."""
    found: dict[str, str | None] = {}
    for package in EXTRAS.get(extra, ()):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found


def missing(extras: Iterable[str]) -> list[str]:
    """Those of the extras that lack a package."""
    return [extra for extra in dict.fromkeys(extras) if None in versions_of(extra).values()]


def install(extras: Iterable[str]) -> str:
    """
    >>> install(["merge", "lm-eval"])
    "pip install 'crucible-bench[merge,lm-eval]'"
    """
    return f"pip install 'crucible-bench[{','.join(extras)}]'"


def check_extras(recipe: Recipe) -> None:
    """Notice a missing extra before the first stage, not after an hour of them.

    Raises:
        EnvironmentProblem: naming the systems and suites that need it.
    """
    from harness.engine import registry

    users: dict[str, list[str]] = {}
    wanted = [(system.name, "methods", system.method) for system in recipe.systems]
    wanted += [(suite.name, "suites", suite.name) for suite in recipe.suites]
    for user, group, name in wanted:
        for extra in missing(registry.entries(group)[name].needs):
            users.setdefault(extra, []).append(user)
    if users:
        said = "; ".join(f"{extra} for {', '.join(names)}" for extra, names in users.items())
        raise EnvironmentProblem(
            f"extras that are not installed: {said}. Nothing was run: {install(users)}, or leave "
            "these out (--suite NAME,NAME keeps suites, --set 'systems=[...]' systems)"
        )
