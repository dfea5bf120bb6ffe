"""Sweeps as Python calls: a recipe with several values of some of its settings.

    from harness.sweep import sweep

    made = sweep("dpo", {"train.settings.beta": [0.01, 0.1, 1]}, seeds=3)
    made.run()                  # one plan: stages that settings share are computed once
    print(made.render())        # one board: a row per system and setting

A sweep is a reproduction whose systems are repeated with other values in `set`. A system that does
not depend on a setting, or that sets it for itself, keeps one row for all of its values. Claims are
tested at each setting.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.api.recipes import chosen_recipe, recipe_of, usual_limits
from harness.core.errors import UserError, unknown
from harness.core.records import Cell, Record
from harness.engine.grids import (
    Grid,
    Setting,
    Values,
    grid_of,
    is_number,
    label_of,
    named,
    settings_of,
    shown,
)
from harness.engine.overrides import Overrides, overridden
from harness.engine.plan import Handle, Stage
from harness.engine.recipe import Recipe, SystemSpec, with_settings
from harness.reproduce import Reproduction, baselines_of
from leaderboards.board import Board
from leaderboards.growth import board_name
from leaderboards.plots.charts import Chart, chart
from leaderboards.scores import DECIMALS
from leaderboards.spec import ANY, OWN, SETTING, BoardSpec, ColumnSpec, board_spec, shipped


class Varied(Record):
    """A row of a sweep: a system of the recipe at the values of the settings that it depends on.

    Attributes:
        origin: name of the system in the recipe.
        fixed: values of swept keys that the system sets for itself.
    """

    origin: str
    set: Setting = {}
    fixed: Setting = {}


@dataclass
class Sweep(Reproduction):
    """A reproduction of several settings.

    Attributes:
        grid: recipe key -> its values; every combination is a setting.
        rows: name of each system of the sweep's recipe -> the recipe's system and its setting.
    """

    grid: Grid = field(default_factory=dict)
    rows: dict[str, Varied] = field(default_factory=dict)

    @property
    def settings(self) -> list[Setting]:
        return settings_of(self.grid)

    @property
    def cells(self) -> list[Cell]:
        """The scores of all runs; the details `set.KEY` are the values of the settings."""
        found = []
        for cell in super().cells:
            details = {**cell.details, **self._details(cell.system)}
            found.append(cell.model_copy(update={"details": details}))
        return found

    @property
    def used(self) -> list[tuple[Setting, int, list[Stage]]]:
        """Setting, seed and stages of every run; together they are the plan."""
        found = []
        for setting in self.settings:
            for seed in self.seeds:
                own = [run for run in self.runs if run.seed == seed]
                cells = [r.cells for r in own if _within(self.rows[r.system.name].set, setting)]
                found.append((setting, seed, self.plan.needed(cells, [])))
        return found

    def shared(self) -> set[str]:
        """Ids of the stages that several runs use, and of those that no single run does."""
        counts = Counter(stage.id for _, _, stages in self.used for stage in stages)
        every = self.plan.needed(self.targets, [])
        return {stage.id for stage in every if counts[stage.id] != 1}

    def curves(self, board: Board) -> dict[str, Chart]:
        """Key -> the scores over its values, with a line for each system and other setting."""
        values = {
            f"{board.spec.name}/{name}": {
                key: value if is_number(value) else shown(value) for key, value in row.set.items()
            }
            for name, row in self.rows.items()
        }
        return {key: chart("sweep", [board], over=key, settings=values) for key in self.grid}

    def _details(self, system: str) -> dict[str, Any]:
        row = self.rows.get(system)
        if row is None:  # of a precondition
            return {}
        return {f"set.{key}": self._stored(key, row) for key in self.grid}

    def _stored(self, key: str, row: Varied) -> float | int | str:
        """A value as a board stores it: a number if all of the key's are exact there, else text."""
        if key in row.fixed:
            return shown(row.fixed[key]) + OWN
        if key not in row.set:
            return ANY
        value = row.set[key]
        if not all(_is_exact(other) for other in self.grid[key]):
            return shown(value)
        return float(value) if isinstance(value, float) else int(value)

    def _layout(self, command: str, scale: str) -> BoardSpec:
        spec = super()._layout(command, scale)
        known = board_spec(self.recipe.method).systems if self.recipe.method in shipped() else ()
        titles = {row.name: row.title for row in known}
        rows = []
        for system in spec.systems:
            row = self.rows[system.name]
            title = titles.get(row.origin, row.origin)
            label = ", ".join([title, *named(row.set, self.grid)])
            rows.append(system.model_copy(update={"label": label, "group": title}))
        columns = [column for column in spec.columns if not column.detail]
        settings = tuple(
            ColumnSpec(
                suite=columns[0].suite,
                metric=columns[0].metric,
                label=label_of(key, self.grid),
                group=SETTING,
                detail=f"set.{key}",
                digits=max((_decimals(value) for value in values), default=0),
                interval=False,
            )
            for key, values in self.grid.items()
            if columns
        )
        title = f"{spec.title}, over {', '.join(self.grid)}"
        changed = {"title": title, "systems": tuple(rows)}
        return spec.model_copy(update={**changed, "columns": settings + spec.columns})


def sweep(
    name: str | Path,
    values: Values,
    scale: str = "nano",
    *,
    systems: Sequence[str] = (),
    overrides: Overrides = (),
    seeds: int = 1,
    seed: int | None = None,
    limit: int | None = None,
    suites: Sequence[str] = (),
) -> Sweep:
    """Plan a recipe at every combination of the given values; `run` runs it.

    Args:
        values: {"train.settings.beta": [0.01, 0.1]} or ["train.settings.beta=0.01,0.1"].
        systems: names of systems of the recipe, or ("all",); default: the method's own. The first
            system of the recipe is on the board in any case, for comparison.
        overrides: settings that are the same in all runs.

    Other arguments are those of `harness.reproduce.reproduce`.

    Raises:
        UserError: a key without several values, given twice, or that is no setting of a system;
            no system depends on it.
        UnknownName, BadRecord: as `reproduce`; a value that the recipe refuses.
    """
    grid = grid_of(values, {key for key, _, _ in overridden(overrides)})
    method, path = recipe_of(name)
    base = chosen_recipe(method, path, scale, overrides, seed=seed, limit=limit, suites=suites)
    for setting in settings_of(grid):
        given = " ".join(f"{key}={shown(value)}" for key, value in setting.items())
        with_settings(base, setting, f"sweep {given}")
    varied = _varied(base, method.name, _chosen(base, method.name, systems), grid)
    recipe = base.model_copy(
        update={
            "systems": tuple(spec for spec, _ in varied),
            "claims": tuple(_claims(base, varied, grid)),
        }
    )
    keys = "-".join(label_of(key, grid) for key in grid)
    made = Sweep(
        method.name,
        recipe,
        recipe.profile,
        [recipe.seed + number for number in range(seeds)],
        board_name(f"{method.name}-{recipe.profile}-sweep-{keys}-{recipe.id()[:6]}"),
        usual_limits(method, scale),
        grid=grid,
        rows={spec.name: row for spec, row in varied},
    )
    made.plan_seeds()
    return made


# Systems and claims


def _chosen(recipe: Recipe, method: str, names: Sequence[str]) -> list[SystemSpec]:
    """The systems of a sweep: those named, the first one, and baselines of suites.

    By default the named one is that with the name of the method, else the method's first.
    """
    systems = {spec.name: spec for spec in recipe.systems}
    for name in names:
        if name not in {*systems, "all"}:
            raise unknown("system of this recipe", name, {*systems, "all"})
    wanted = set(systems if "all" in names else names)
    if not names:
        own = [spec.name for spec in systems.values() if spec.method == method]
        if not own:
            raise UserError(
                f"the recipe has no system of method {method}; expected --systems with some "
                f"of {', '.join(systems)}"
            )
        wanted = {method if method in own else own[0]}
    wanted |= {*list(systems)[:1], *baselines_of(recipe)}
    return [spec for spec in systems.values() if spec.name in wanted]


def _varied(
    recipe: Recipe, method: str, specs: Sequence[SystemSpec], grid: Grid
) -> list[tuple[SystemSpec, Varied]]:
    """The rows: each system once for every combination of the settings that it depends on.

    Raises:
        UserError: no system depends on a key, or the baseline of a suite does.
    """
    settings = settings_of(grid)
    planned = [_cells_at(recipe, method, specs, setting) for setting in settings]
    found: list[tuple[SystemSpec, Varied]] = []
    for spec in specs:
        made = [cells[spec.name] for cells in planned]
        keys = [key for key in grid if _depends(key, settings, made)]
        if keys and spec.name in baselines_of(recipe):
            raise UserError(
                f'a suite compares with system "{spec.name}", which depends on {keys[0]}; expected '
                "a baseline that is the same at all settings"
            )
        fixed = {key: spec.set[key] for key in grid if key in spec.set}
        for own in settings_of({key: grid[key] for key in keys}):
            name = "+".join([spec.name, *named(own, grid)])
            changed = spec.model_copy(update={"name": name, "set": {**own, **spec.set}})
            row = Varied(origin=spec.name, set=own, fixed=fixed)
            found.append((changed if own else spec, row))
    for key in grid:
        if not any(key in row.set for _, row in found):
            fixed_by = [spec.name for spec in specs if key in spec.set]
            why = f" ({', '.join(fixed_by)} has a value of its own)" if fixed_by else ""
            raise UserError(
                f"no swept system depends on {key}{why}; expected a setting of "
                f"{', '.join(spec.name for spec in specs)} (--systems chooses others)"
            )
    return found


def _cells_at(
    recipe: Recipe, method: str, specs: Sequence[SystemSpec], setting: Setting
) -> dict[str, list[Handle]]:
    """System -> the stages of its scores at a setting; nothing runs."""
    systems = tuple(spec.model_copy(update={"set": {**setting, **spec.set}}) for spec in specs)
    recipe = recipe.model_copy(update={"systems": systems, "claims": ()})
    made = Reproduction(method, recipe, recipe.profile, [recipe.seed])
    made.plan_seeds()
    found: dict[str, list[Handle]] = {spec.name: [] for spec in specs}
    for run in made.runs:
        found[run.system.name].append(run.cells)
    return found


def _depends(key: str, settings: Sequence[Setting], made: Sequence[object]) -> bool:
    """Whether two settings that differ in `key` alone are planned differently."""
    first: list[tuple[Setting, object]] = []
    for setting, planned in zip(settings, made, strict=True):
        others = {name: value for name, value in setting.items() if name != key}
        seen = next((before for rest, before in first if rest == others), None)
        if seen is None:
            first.append((others, planned))
        elif seen != planned:
            return True
    return False


def _within(own: Setting, setting: Setting) -> bool:
    return all(setting[key] == value for key, value in own.items())


def _claims(
    recipe: Recipe, varied: Sequence[tuple[SystemSpec, Varied]], grid: Grid
) -> Iterator[dict[str, Any]]:
    """The recipe's claims about the rows, once for each setting that their systems depend on."""
    for claim in recipe.claims:
        seen: list[list[str]] = []
        for setting in settings_of(grid):
            at = [(spec, row) for spec, row in varied if _within(row.set, setting)]
            names = {row.origin: spec.name for spec, row in at}
            about = [*claim.get("doses", ()), claim.get("better"), claim.get("worse")]
            systems = [str(name) for name in about if name is not None]
            if not systems or not set(systems) <= set(names):
                continue
            rows = [names[name] for name in systems]
            if rows in seen:
                continue
            seen.append(rows)
            keys = {key for spec, row in at if row.origin in systems for key in row.set}
            yield _claim_at(claim, names, {k: v for k, v in setting.items() if k in keys}, grid)


def _claim_at(
    claim: dict[str, Any], names: Mapping[str, str], setting: Setting, grid: Grid
) -> dict[str, Any]:
    changed = dict(claim)
    for side in ("better", "worse"):
        if side in claim:
            changed[side] = names[claim[side]]
    if "doses" in claim:
        changed["doses"] = {names[name]: dose for name, dose in claim["doses"].items()}
    if setting:
        changed["id"] = "+".join([str(claim.get("id")), *named(setting, grid)])
    return changed


# Values on boards


def _is_exact(value: Any) -> bool:
    return is_number(value) and bool(round(value, DECIMALS) == value)


def _decimals(value: Any) -> int:
    """Decimals that show a number exactly, at most those that boards store."""
    if not _is_exact(value):
        return 0
    return next(n for n in range(DECIMALS + 1) if round(value, n) == value)
