"""From a recipe to a board: every system of the recipe, on every suite, for every seed.

`prepare` makes the whole plan without running anything; `collect` reads the finished cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.core.errors import UserError, unknown
from harness.core.records import Cell, parse
from harness.engine import registry
from harness.engine.plan import Handle, Plan, StageMaker
from harness.engine.recipe import Method, Recipe, SuiteSpec, SystemSpec, load_recipe, with_settings
from harness.engine.store import Store

REHEARSAL_PROMPTS = 24  # of the data and of each suite
# Settings of suites that say where questions, answers and verdicts come from.
ANSWERS = ("baseline", "references", "reference", "anchors")
SOURCES = ("prompts", "authors", "documents", "train", *ANSWERS, "judge", "annotator")


@dataclass(frozen=True)
class Run:
    """One system on one suite with one seed; `cells` is the stage that writes its scores."""

    seed: int
    system: SystemSpec
    suite: SuiteSpec
    cells: Handle


@dataclass
class Reproduction:
    """A resolved recipe with its plan; `models` holds None for a program without a model."""

    method: str
    recipe: Recipe
    scale: str
    seeds: list[int]
    plan: Plan = field(default_factory=Plan)
    runs: list[Run] = field(default_factory=list)
    models: dict[tuple[int, str], Handle | None] = field(default_factory=dict)

    @property
    def targets(self) -> list[Handle]:
        return [run.cells for run in self.runs]


def recipe_of(name: str) -> tuple[Method, Path]:
    """The method called `name` and the recipe file it runs from."""
    method: Method = registry.load("methods", name)
    if method.recipe_file is not None:
        return method, method.recipe_file
    host = registry.entry("methods", name).recipe
    hosted: Method | None = registry.load("methods", host) if host else None
    if hosted is None or hosted.recipe_file is None:
        raise UserError(f'method "{name}" has no recipe file and names none that has')
    return method, hosted.recipe_file


def prepare(
    name: str,
    scale: str,
    *,
    overrides: Sequence[str] = (),
    seeds: int = 1,
    seed: int | None = None,
    limit: int | None = None,
    rehearse: bool = False,
    suites: Sequence[str] = (),
) -> Reproduction:
    """Resolve a recipe and plan it.

    Args:
        seeds: replicates, with seeds `recipe.seed`, `recipe.seed + 1`, ...
        limit: at most so many rows of the recipe's data, if it has any, and of each suite.
        rehearse: replace models, data and sizes by the recipe's nano stand-ins.
        suites: only these; one that the recipe does not have runs with its defaults.

    Raises:
        UnknownName: for a method, profile, suite or system that does not exist.
        BadRecord: for a recipe or override of the wrong shape.
    """
    method, path = recipe_of(name)
    recipe = load_recipe(method.recipe, path, scale, overrides, seed)
    host: Method = registry.load("methods", recipe.method)
    if recipe.method != name:
        recipe = _only(recipe, name)
    if rehearse:
        if host.stand_ins is None:
            raise UserError(f'method "{name}" declares no stand-ins to rehearse with')
        recipe = host.stand_ins(recipe)
        recipe = recipe.model_copy(update={"suites": tuple(map(_rehearsed, recipe.suites))})
        limit = REHEARSAL_PROMPTS if limit is None else limit
    recipe = _expanded(_limited(recipe, limit, suites))
    made = Reproduction(
        name,
        recipe,
        "rehearsal" if rehearse else recipe.profile,
        [recipe.seed + number for number in range(seeds)],
    )
    for replicate in made.seeds:
        _plan_seed(made, recipe.model_copy(update={"seed": replicate}))
    return made


def _rehearsed(suite: SuiteSpec) -> SuiteSpec:
    """The suite on nano questions with the nano judge; its other settings stay."""
    kept = {key: value for key, value in suite.settings.items() if key not in SOURCES}
    return suite.model_copy(update={"edition": "", "settings": kept})


def _only(recipe: Recipe, name: str) -> Recipe:
    """The recipe with the systems of one method, and its first, which they are compared with."""
    first = recipe.systems[:1]
    kept = [*first, *(s for s in recipe.systems if s.method == name and s not in first)]
    if not any(system.method == name for system in kept):
        kept.append(SystemSpec(name=name, method=name))
    names = {system.name for system in kept}
    claims = [c for c in recipe.claims if {c.get("better"), c.get("worse")} <= names]
    return recipe.model_copy(update={"systems": tuple(kept), "claims": tuple(claims)})


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
        if "limit" in getattr(type(getattr(recipe, "data", None)), "model_fields", ()):
            recipe = with_settings(recipe, {"data.limit": limit}, "--limit")
    return recipe.model_copy(update={"suites": tuple(chosen)})


def _expanded(recipe: Recipe) -> Recipe:
    """The recipe with every line that stands for several systems written out."""
    systems: list[SystemSpec] = []
    for spec in recipe.systems:
        method: Method = registry.load("methods", spec.method)
        whole = method.variants is not None and not spec.set
        systems += method.variants(recipe) if whole and method.variants else [spec]
    return recipe.model_copy(update={"systems": tuple(systems)})


def _plan_seed(made: Reproduction, recipe: Recipe) -> None:
    from harness.suites.base import Program, System
    from harness.suites.editions import resolve_settings, scale_of

    stage = made.plan.stage
    for spec in recipe.systems:
        method: Method = registry.load("methods", spec.method)
        own = with_settings(recipe, spec.set, f'system "{spec.name}"') if spec.set else recipe
        planned = checked(method.plan(own, stage), f'method "{spec.method}"', Program)
        made.models[recipe.seed, spec.name] = System.of(spec.name, planned).model
        for suite_spec in recipe.suites:
            suite = registry.load("suites", suite_spec.name)
            settings = resolve_settings(suite, suite_spec.edition, suite_spec.settings)
            scale = made.scale if made.scale == "rehearsal" else scale_of(settings, made.scale)
            system = System.of(spec.name, planned, scale=scale, seed=recipe.seed)
            named = _labelled(stage, f"{spec.name} on {suite.name}")
            cells = checked(suite.plan(system, settings, named), f'suite "{suite.name}"')
            made.runs.append(Run(recipe.seed, spec, suite_spec, cells))


def checked(planned: Any, whose: str, *others: type) -> Any:
    """What a plan returned, if it is a handle or one of `others`.

    Raises:
        UserError: it is something else, as a plugin's may be.
    """
    if not isinstance(planned, (Handle, *others)):
        raise UserError(
            f"the plan of {whose} returned {type(planned).__name__}; expected the handle that "
            "stage(...) gives (harness.testing checks a plugin)"
        )
    return planned


def _labelled(stage: StageMaker, prefix: str) -> StageMaker:
    """The same stage maker, with labels that say whose stage it is."""

    def named(name: str, /, *, label: str = "", **arguments: Any) -> Handle:
        return stage(name, label=f"{prefix}: {label or name}", **arguments)

    return named


def collect(made: Reproduction, store: Store) -> list[Cell]:
    """The cells of all runs, with the checkpoint behind each."""
    cells = []
    for run in made.runs:
        artifact = store.artifact(run.cells.id)
        model = made.models[run.seed, run.system.name]
        for data in artifact.read_json("cells.json"):
            cell = parse(Cell, data, f"artifact {artifact.id}")
            links = {"checkpoint": model.id} if model is not None else {}
            links |= {**cell.artifacts, "cells": artifact.id}
            cells.append(cell.model_copy(update={"artifacts": links}))
    return cells


def board_spec_of(made: Reproduction, command: str) -> Any:
    """The board that belongs to a reproduction: systems, suites and claims of the recipe.

    A board definition of the recipe's name, if one ships, brings labels, references and columns;
    suites that it does not know, or all without one, show their primary metrics.
    """
    from leaderboards.claims import Claim
    from leaderboards.spec import BoardSpec, ColumnSpec, Provenance, board_spec, shipped
    from leaderboards.spec import SystemSpec as Row

    recipe, name = made.recipe, f"{made.method}-{made.scale}"
    known = recipe.method in shipped()
    base = board_spec(recipe.method) if known else BoardSpec(name=name, title=recipe.title or name)
    rows = {row.name: row for row in base.systems}
    systems = tuple(
        rows.get(spec.name, Row(name=spec.name)).model_copy(
            update={"notes": (spec.note,)} if spec.note else {}
        )
        for spec in recipe.systems
    )
    columns = [c for c in base.columns if c.suite in {suite.name for suite in recipe.suites}]
    for suite in recipe.suites:
        if suite.name not in {column.suite for column in base.columns}:
            metrics = registry.load("suites", suite.name).metrics
            columns += [ColumnSpec(suite=suite.name, metric=m.name) for m in metrics if m.primary]
    claims = tuple(parse(Claim, claim, f"{recipe.method} recipe, claim") for claim in recipe.claims)
    used = [("methods", spec.method) for spec in recipe.systems]
    used += [("suites", suite.name) for suite in recipe.suites]
    return base.model_copy(
        update={
            "name": name,
            "scale": made.scale,
            "systems": systems,
            "columns": tuple(columns),
            "claims": claims,
            "provenance": Provenance(
                recipe=f"{recipe.method}/{recipe.profile}",
                recipe_id=recipe.id(),
                command=command,
                libraries=registry.plugin_versions(used),
            ),
        }
    )
