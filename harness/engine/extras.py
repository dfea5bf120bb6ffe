"""Extras of this distribution, from its installed metadata: their packages, and what is missing."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from importlib import metadata

from harness.core.errors import EnvironmentProblem
from harness.engine import registry
from harness.engine.recipe import Recipe

DEVELOPMENT = ("dev", "docs")  # extras for changing Crucible, which no run needs
# 'torch<2.14,>=2.11; extra == "train"'; a test asserts that markers name an extra and nothing else.
_REQUIREMENT = re.compile(r"([\w.-]+)[^;]*; *extra *== *[\"']([\w.-]+)[\"']")


@cache
def packages() -> dict[str, tuple[str, ...]]:
    """Extra -> names of its packages.

    Raises:
        EnvironmentProblem: Crucible runs from files that were never installed.
    """
    try:
        requirements = metadata.requires(registry.DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        raise EnvironmentProblem(
            f"{registry.DISTRIBUTION} is not installed; install it: pip install -e ."
        ) from None
    found: dict[str, tuple[str, ...]] = {}
    for requirement in requirements:
        parts = _REQUIREMENT.fullmatch(requirement)
        if parts is not None and parts[2] not in DEVELOPMENT:
            found[parts[2]] = (*found.get(parts[2], ()), parts[1])
    return found


def versions_of(extra: str) -> dict[str, str | None]:
    """Installed version of each package of an extra; None for a missing one."""
    return {package: _version(package) for package in packages().get(extra, ())}


@cache
def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def missing(extras: Iterable[str]) -> list[str]:
    """Those of the extras that lack a package."""
    return [extra for extra in dict.fromkeys(extras) if None in versions_of(extra).values()]


def install(extras: Iterable[str]) -> str:
    """Command that installs extras.

    >>> install(["merge", "lm-eval"])
    "pip install 'crucible-bench[merge,lm-eval]'"
    """
    return f"pip install 'crucible-bench[{','.join(extras)}]'"


def check_extras(recipe: Recipe) -> None:
    """Notice a missing extra before the first stage.

    Raises:
        EnvironmentProblem: naming the systems and suites that need it.
    """
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
