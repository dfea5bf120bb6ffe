"""Reproductions and evaluations as Python calls; the command line is a thin layer over them.

    from harness.reproduce import evaluate, reproduce

    made = reproduce("wrpo", limit=24)      # plans; runs nothing
    made.run()                              # executes what the store lacks
    print(made.render())                    # the board as text
    made.cells, made.board, made.plan       # the same as data

A reproduction evaluates every system of a recipe on every suite for every seed, and tests the
claims of the recipe. `evaluate` does the same for one model; see `harness.evaluate`.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.core.calling import make_callable
from harness.core.errors import BadRecord, UserError, unknown
from harness.core.records import Cell, Record, parse
from harness.engine import registry
from harness.engine.calls import CallSettings
from harness.engine.extras import check_extras
from harness.engine.io import disk_errors
from harness.engine.overrides import Overrides
from harness.engine.plan import Handle, Stage, StageMaker
from harness.engine.preconditions import Preconditions, listed
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
from harness.engine.run import Reporter
from harness.engine.store import Store
from harness.evaluate import evaluate
from harness.nano.rehearsal import Rehearsal
from harness.planned import PlannedRun, checked, opened
from harness.suites.base import SYSTEM, Program, System
from harness.suites.editions import NANO, resolve_settings, scale_of
from leaderboards.claims import claims_of, parse_claim
from leaderboards.spec import BoardSpec, ColumnSpec, Provenance, board_spec, shipped
from leaderboards.spec import SystemSpec as Row

__all__ = ["Reproduction", "Run", "evaluate", "recipe_of", "reproduce"]

REHEARSAL = "rehearsal"


@dataclass(frozen=True)
class Run:
    """One system on one suite with one seed; `cells` is the stage that writes its scores."""

    seed: int
    system: SystemSpec
    suite: SuiteSpec
    cells: Handle


@dataclass
class Reproduction(PlannedRun):
    """A resolved recipe with its plan.

    Attributes:
        method: name of the method.
        scale: profile of the recipe, or "rehearsal".
        runs: one per seed, system and suite.
        models: (seed, system) -> model artifact; None for a program without a model.
        preconditions: stages that measure the preconditions of the recipe's methods.
    """

    method: str
    recipe: Recipe
    scale: str
    seeds: list[int]
    runs: list[Run] = field(default_factory=list)
    models: dict[tuple[int, str], Handle | None] = field(default_factory=dict)
    preconditions: list[Handle] = field(default_factory=list)

    @property
    def main_system(self) -> str:
        return next((s.name for s in self.recipe.systems if s.method == self.method), "")

    @property
    def targets(self) -> list[Handle]:
        return [run.cells for run in self.runs] + self.preconditions

    @property
    def cells(self) -> list[Cell]:
        """The scores of all runs, each with the checkpoint and the fidelity of its system."""
        found = []
        for run in self.runs:
            fidelity = _fidelity(run.system)
            more = {"fidelity": fidelity} if fidelity else {}
            model = self.models[run.seed, run.system.name]
            checkpoint = {} if model is None else {"checkpoint": model.id}
            for cell in self._cells_of(run.cells):
                links = {**checkpoint, **cell.artifacts, "cells": run.cells.id}
                details = {**cell.details, **more}
                found.append(cell.model_copy(update={"artifacts": links, "details": details}))
        for handle in self.preconditions:
            made = {"cells": handle.id}
            for cell in self._cells_of(handle):
                found.append(cell.model_copy(update={"artifacts": cell.artifacts | made}))
        return found

    def check(self, todo: Sequence[Stage], calls: CallSettings) -> None:
        """As `PlannedRun.check`; also the extras that the recipe needs, and its board.

        Raises:
            EnvironmentProblem: an extra is not installed.
            BadRecord: the board could not be written.
        """
        if {handle.id for handle in self.targets}.intersection(stage.id for stage in todo):
            check_extras(self.recipe)
            self._layout("", self.scale)
        super().check(todo, calls)

    def export_checkpoint(
        self,
        method: str,
        folder: Path,
        store: Store | Path | str | None = None,
        progress: Reporter | None = None,
    ) -> str:
        """Run the stages of one method's checkpoint and copy it; returns the artifact's id.

        Raises:
            UserError: the folder exists, or the method trains nothing.
        """
        if folder.exists():
            raise UserError(f"{folder} exists already; choose a folder that does not")
        name = next((s.name for s in self.recipe.systems if s.method == method), "")
        handle = self.models.get((self.recipe.seed, name))
        if handle is None or self.plan.stages[handle.id].operation.name == "import_model":
            raise UserError(f'method "{method}" trains no model; there is nothing to copy')
        store = opened(store)
        self._execute([handle], store, progress)
        fresh = folder.with_name(f".{folder.name}.partial")
        with disk_errors(folder.parent):
            shutil.rmtree(fresh, ignore_errors=True)
            shutil.copytree(store.artifact(handle.id).path, fresh)
            fresh.rename(folder)
        return handle.id

    def board_spec(self, command: str = "") -> BoardSpec:
        """Board of the recipe's systems, suites and claims.

        A shipped board definition named like the recipe adds labels, published figures and
        columns; suites that it does not list show their primary metrics.

        Raises:
            BadRecord: the recipe gives a board that cannot be written.
        """
        return self._layout(command, self._scale())

    def _layout(self, command: str, scale: str) -> BoardSpec:
        recipe, name = self.recipe, f"{self.method}-{self.scale}"
        known = recipe.method in shipped()
        named = {"name": name, "title": recipe.title or name}
        where = f"board of the {recipe.method} recipe"
        base = parse(BoardSpec, named, where)
        if known:
            base = board_spec(recipe.method)
        rows = {row.name: row for row in base.systems}
        systems = tuple(
            rows.get(spec.name, Row(name=spec.name)).model_copy(
                update={"notes": notes} if notes else {}
            )
            for spec in recipe.systems
            for notes in [tuple(filter(None, (_fidelity(spec), spec.note)))]
        )
        columns = [c for c in base.columns if c.suite in {suite.name for suite in recipe.suites}]
        for suite in recipe.suites:
            if suite.name not in {column.suite for column in base.columns}:
                metrics = registry.load("suites", suite.name).metrics
                columns += [
                    ColumnSpec(suite=suite.name, metric=m.name) for m in metrics if m.primary
                ]
        about = f"{recipe.method} recipe, claim"
        claims = tuple(parse_claim(claim, about) for claim in recipe.claims)
        used = [("methods", spec.method) for spec in recipe.systems]
        used += [("suites", suite.name) for suite in recipe.suites]
        provenance = Provenance(
            recipe=f"{recipe.method}/{recipe.profile}",
            recipe_id=recipe.id(),
            command=command,
            libraries=registry.plugin_versions(used),
        )
        made = base.model_copy(
            update={
                "name": name,
                "scale": scale,
                "systems": systems,
                "columns": tuple(columns),
                "claims": claims,
                "preconditions": listed((m.preconditions for m in _methods(recipe)), recipe),
                "provenance": provenance,
            }
        )
        return parse(BoardSpec, made.model_dump(), where)

    def _scale(self) -> str:
        """Scale of the board: that of its cells, since a profile of any name may be of the nano
        world; before a run, that of the profile."""
        found = {cell.scale for cell in self.cells} if self.store is not None else set()
        return found.pop() if len(found) == 1 else self.scale


def reproduce(
    name: str | Path,
    scale: str = "nano",
    *,
    overrides: Overrides = (),
    seeds: int = 1,
    seed: int | None = None,
    limit: int | None = None,
    suites: Sequence[str] = (),
    rehearse: bool = False,
) -> Reproduction:
    """Resolve a recipe and plan it; it runs when a score is asked for, or by `run`.

    Args:
        name: a method, or a recipe file (.toml) of one.
        scale: profile of the recipe.
        overrides: {"train.beta": 0.1} or ["train.beta=0.1"].
        seeds: number of replicates, with seeds `recipe.seed`, `recipe.seed + 1`, ...
        seed: first seed (default: that of the recipe).
        limit: largest number of rows of the recipe's data, if it has any, and of each suite.
        suites: only these; one that the recipe does not list runs with its defaults.
        rehearse: replace models, data and sizes by nano ones, see `harness.nano.rehearsal`.

    Raises:
        UnknownName: for a method, profile, suite or system that does not exist.
        BadRecord: for a recipe or override of the wrong shape, or a claim about unknown systems.
    """
    method, path = recipe_of(name)
    recipe = load_recipe(method.recipe, path, scale, overrides, seed)
    if recipe.method != method.name:
        recipe = _only(recipe, method.name)
    recipe = _limited(recipe, limit, suites)
    rehearsal = Rehearsal() if rehearse else None
    if rehearsal is not None:
        recipe = rehearsal.recipe(recipe)
    recipe = _claiming(_expanded(recipe), path)
    made = Reproduction(
        method.name,
        recipe,
        REHEARSAL if rehearse else recipe.profile,
        [recipe.seed + number for number in range(seeds)],
    )
    for replicate in made.seeds:
        _plan_seed(made, recipe.model_copy(update={"seed": replicate}), rehearsal)
    return made


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


def _plan_seed(made: Reproduction, recipe: Recipe, rehearsal: Rehearsal | None) -> None:
    stage = made.plan.stage
    suites = []
    for suite_spec in recipe.suites:
        suite = registry.load("suites", suite_spec.name)
        resolved = resolve_settings(suite, suite_spec.edition, suite_spec.settings)
        suites.append((suite_spec, suite, resolved))
    peers: dict[str, System] = {}
    named = {spec.name: spec for spec in recipe.systems}
    for name in _baselines(settings for _, _, settings in suites):
        if name not in named:
            raise unknown("system of this recipe", name, named)
        made_by = _planned(made, named[name], recipe, rehearsal)
        peers[name] = System.of(name, made_by, seed=recipe.seed)
    returned = {}
    for spec in recipe.systems:
        planned = returned[spec.name] = _planned(made, spec, recipe, rehearsal)
        made.models[recipe.seed, spec.name] = System.of(spec.name, planned).model
        for suite_spec, suite, settings in suites:
            scale = made.scale if made.scale == REHEARSAL else scale_of(settings, made.scale)
            about = {"seed": recipe.seed, "peers": peers}
            system = System.of(spec.name, planned, scale=scale, **about)
            labelled = _labelled(stage, f"{spec.name} on {suite.name}")
            cells = checked(suite.plan(system, settings, labelled), f'suite "{suite.name}"')
            made.runs.append(Run(recipe.seed, spec, suite_spec, cells))
    nano = made.scale != REHEARSAL and NANO in (scale_of(chosen, "") for _, _, chosen in suites)
    labelled, scale = _labelled(stage, "precondition"), NANO if nano else made.scale
    for method in _methods(recipe):
        declared = method.preconditions or Preconditions(())
        found = declared.stages(recipe, labelled, returned, scale, recipe.seed)
        new = [checked(handle, f'method "{method.name}", preconditions') for handle in found]
        made.preconditions += [handle for handle in new if handle not in made.preconditions]


def _methods(recipe: Recipe) -> list[Method]:
    """The methods of a recipe's systems, each once."""
    names = dict.fromkeys(spec.method for spec in recipe.systems)
    return [registry.load("methods", name) for name in names]


def _planned(
    made: Reproduction, spec: SystemSpec, recipe: Recipe, rehearsal: Rehearsal | None
) -> Any:
    """What the plan of a system's method returns; planned twice, it is the same stages."""
    method: Method = registry.load("methods", spec.method)
    own = with_settings(recipe, spec.set, f'system "{spec.name}"') if spec.set else recipe
    if rehearsal is not None and spec.set:
        own = rehearsal.recipe(own)
    return checked(method.plan(own, made.plan.stage), f'method "{spec.method}"', Program)


def _baselines(settings: Iterable[Record]) -> list[str]:
    """Names of the systems that suites take as baselines."""
    found = []
    for record in settings:
        data = record.model_dump()
        values = [data.get("baseline"), *(data.get("baselines") or {}).values()]
        found += [v.removeprefix(SYSTEM) for v in values if str(v).startswith(SYSTEM)]
    return list(dict.fromkeys(found))


def _fidelity(system: SystemSpec) -> str:
    method: Method = registry.load("methods", system.method)
    return method.fidelity


def _labelled(stage: StageMaker, prefix: str) -> StageMaker:
    """The same stage maker, with a prefix on every label."""

    def named(name: str, /, *, label: str = "", **arguments: Any) -> Handle:
        return stage(name, label=f"{prefix}: {label or name}", **arguments)

    return named


make_callable(__name__, reproduce)
