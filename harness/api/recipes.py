"""The recipe that a reproduction runs: a method's own or a file's, with the options of the run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.core.errors import BadRecord, UnknownName, UserError, unknown
from harness.core.records import Record
from harness.engine import registry
from harness.engine.overrides import Overrides
from harness.engine.recipe import (
    Method,
    Recipe,
    SuiteSpec,
    SystemSpec,
    load_recipe,
    named_systems,
    read_toml,
    with_settings,
)
from harness.nano.rehearsal import Rehearsal
from leaderboards.claims import claims_of


def recipe_of(name: str | Path) -> tuple[Method, Path]:
    """The method called `name` with the recipe file it runs from; or a file with its method.

    Raises:
        UnknownName: no such method.
        BadRecord: a recipe file that names no method.
    """
    if str(name).endswith(".toml"):
        path = Path(name).expanduser()
        host = read_toml(path).get("method")
        if not isinstance(host, str):
            raise BadRecord(f'{path}: key "method" is {host!r}; expected the name of a method')
        return registry.load("methods", host), path
    method: Method = registry.load("methods", str(name))
    if method.recipe_file is not None:
        return method, method.recipe_file
    host = registry.entry("methods", str(name)).recipe
    hosted: Method | None = registry.load("methods", host) if host else None
    if hosted is None or hosted.recipe_file is None:
        raise UserError(f'method "{name}" has no recipe file and names none that has')
    return method, hosted.recipe_file


def chosen_recipe(
    method: Method,
    path: Path,
    scale: str,
    overrides: Overrides = (),
    *,
    seed: int | None = None,
    limit: int | None = None,
    suites: Sequence[str] = (),
    rehearsal: Rehearsal | None = None,
) -> Recipe:
    """The recipe of a file with the options of a run; arguments and errors as `reproduce`."""
    recipe = load_recipe(method.recipe, path, scale, overrides, seed)
    if recipe.method != method.name:
        recipe = _only(recipe, method.name)
    recipe = _limited(recipe, limit, suites)
    if rehearsal is not None:
        recipe = rehearsal.recipe(recipe)
    return _claiming(_expanded(recipe), path)


def judges_of(name: str) -> set[str]:
    """The judges that the shipped recipe of a method names: those of its paper."""
    found: set[str] = set()
    waiting: list[Any] = [read_toml(recipe_of(name)[1])]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if isinstance(judge := value.get("judge"), str):
                found.add(judge)
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
    return found


def usual_limits(method: Method, scale: str) -> dict[str, int]:
    """Suite -> limit of its prompts in a profile of the shipped recipe; {} for an own profile."""
    try:
        shipped = load_recipe(method.recipe, recipe_of(method.name)[1], scale)
    except UnknownName:
        return {}
    limits = {suite.name: suite.settings.get("limit") for suite in shipped.suites}
    return {name: limit for name, limit in limits.items() if limit is not None}


def _claiming(recipe: Recipe, path: Path) -> Recipe:
    """The recipe without claims about systems that only other profiles of its file have.

    Raises:
        BadRecord: a claim about a system that no profile has.
    """
    names = {system.name for system in recipe.systems}
    parsed = claims_of(recipe, named_systems(path))
    claims = [
        c for c, claim in zip(recipe.claims, parsed, strict=True) if names >= {*claim.systems}
    ]
    return recipe.model_copy(update={"claims": tuple(claims)})


def _only(recipe: Recipe, name: str) -> Recipe:
    """The recipe with the systems of one method, and its first system for comparison."""
    first = recipe.systems[:1]
    kept = [*first, *(s for s in recipe.systems if s.method == name and s not in first)]
    if not any(system.method == name for system in kept):
        kept.append(SystemSpec(name=name, method=name))
    return recipe.model_copy(update={"systems": tuple(kept)})


def _limited(recipe: Recipe, limit: int | None, suites: Sequence[str]) -> Recipe:
    chosen = list(recipe.suites)
    if suites:
        known = {name: SuiteSpec(name=name) for name in registry.entries("suites")}
        known |= {suite.name: suite for suite in chosen}
        for wanted in suites:
            if wanted not in known:
                raise unknown("suite", wanted, known, "crucible suites")
        chosen = [known[wanted] for wanted in dict.fromkeys(suites)]
    tested = {suite.name for suite in chosen}
    claims = tuple(claim for claim in recipe.claims if claim.get("suite") in tested)
    recipe = recipe.model_copy(update={"claims": claims})
    if limit is not None:
        chosen = [
            suite.model_copy(update={"settings": {**suite.settings, "limit": limit}})
            for suite in chosen
        ]
        data = dict(recipe).get("data")
        if isinstance(data, Record) and "limit" in type(data).model_fields:
            recipe = with_settings(recipe, {"data.limit": limit}, "--limit")
    return recipe.model_copy(update={"suites": tuple(chosen)})


def _expanded(recipe: Recipe) -> Recipe:
    """The recipe with each entry that means several systems expanded."""
    systems: list[SystemSpec] = []
    for spec in recipe.systems:
        method: Method = registry.load("methods", spec.method)
        whole = method.variants is not None and not spec.set
        systems += method.variants(recipe) if whole and method.variants else [spec]
    return recipe.model_copy(update={"systems": tuple(systems)})
