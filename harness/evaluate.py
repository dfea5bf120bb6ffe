"""Evaluations as Python calls: one model on benchmark suites.

from harness import evaluate

made = evaluate("nano:target", "alpaca_eval2", limit=24)
print(made.score, made.interval)
print(made.render())
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.api.judges import JudgeReference
from harness.backends.joins import Join, stored_joins
from harness.core.calling import make_callable
from harness.core.errors import BadRecord, UserError, unknown
from harness.core.records import Cell
from harness.engine import registry
from harness.engine.overrides import Overrides, overridden, set_key
from harness.engine.plan import Handle
from harness.models.references import model_identity, split_engine, split_template
from harness.planned import PlannedRun, checked
from harness.suites.base import Suite, System
from harness.suites.editions import NANO, OFFICIAL, default_edition, resolve_settings, scale_of
from leaderboards.spec import BoardSpec, ColumnSpec, Provenance, SystemSpec

AUTO = "auto"
EDITIONS = (AUTO, OFFICIAL, NANO)
FULL = "paper"  # scale of published question sets and judges


@dataclass
class Evaluation(PlannedRun):
    """One model on suites, planned.

    Attributes:
        title: name of the model in tables.
        scores: suite -> stage that writes its cells.
        joins: which prompts the files of stored answers answer.
    """

    title: str
    scores: dict[str, Handle] = field(default_factory=dict)
    joins: list[Join] = field(default_factory=list)

    @property
    def targets(self) -> list[Handle]:
        return list(self.scores.values())

    @property
    def main_system(self) -> str:
        return self.title

    @property
    def cells(self) -> list[Cell]:
        """The scores, suite by suite."""
        return [cell for handle in self.targets for cell in self._cells_of(handle)]

    def board_spec(self, command: str = "") -> BoardSpec:
        """Board with one row and the primary metrics of each suite."""
        cells = self.cells
        return BoardSpec(
            name=re.sub(r"[^A-Za-z0-9]+", "-", self.title).strip("-") or "evaluation",
            title=f"Evaluation of {self.title}",
            scale=cells[0].scale if len({cell.scale for cell in cells}) == 1 else None,
            systems=(SystemSpec(name=cells[0].system),),
            columns=tuple(
                ColumnSpec(suite=cell.suite, metric=cell.metric) for cell in cells if cell.primary
            ),
            provenance=Provenance(
                command=command,
                libraries=registry.plugin_versions(("suites", name) for name in self.scores),
            ),
        )


def evaluate(
    model: str,
    suite: str | Sequence[str],
    *,
    judge: str | JudgeReference = "",
    edition: str = AUTO,
    name: str = "",
    overrides: Overrides = (),
    seed: int = 42,
    limit: int | None = None,
) -> Evaluation:
    """Plan the evaluation of one model; it runs when a score is asked for, or by `run`.

    Args:
        model: nano:<name>, a checkpoint folder, a hub id, vllm:<model>, openai:<model>[@<url>], or
            a file of stored outputs.
        suite: one name or several.
        judge: nano:oracle or openai:<model>[@<url>], or what `judge` made of it; "" takes the
            suite's own.
        edition: question set: "official", "nano", or "auto": official unless the judge is nano.
        name: name of the model in tables (default: the reference, or the name of the file).
        overrides: settings: {"mt_bench.rounds": 200} or ["mt_bench.rounds=200"].
        seed: seed of the model's sampling.
        limit: number of prompts per suite.

    Raises:
        UnknownName: for a suite, judge, edition or nano model that does not exist.
        BadRecord: for a setting that a suite does not have.
        BadData: a file of stored answers answers none of a suite's prompts, or contradicts itself.
    """
    names = (suite,) if isinstance(suite, str) else tuple(suite)
    judge = str(judge)
    if not names:
        raise UserError("no suite given; for example alpaca_eval2,mt_bench (crucible suites)")
    if edition not in EDITIONS:
        raise unknown("data edition", edition, EDITIONS, "crucible eval --help")
    settings = _settings_by_suite(names, judge, overrides, limit)
    engine, rest = split_engine(model)
    stored = engine == "stored"
    template = split_template(rest)[1] if engine in ("hf", "vllm") else ""
    own = Path(model).name.partition(".json")[0] if stored else model
    made = Evaluation(name or own)
    stage = made.plan.stage
    identity = model_identity(model)
    handle = stage("import_model", ref=model, digest=identity, label=f"model {model}")
    scale = NANO if model.startswith("nano:") else FULL
    for suite_name in names:
        loaded: Suite = registry.load("suites", suite_name)
        resolved = resolve_settings(loaded, _edition(loaded, edition, judge), settings[suite_name])
        system = System(
            name=made.title,
            model=handle,
            scale=scale_of(resolved, scale),
            seed=seed,
            stored=stored,
            template=template,
        )
        cells = loaded.plan(system, resolved, stage)
        made.scores[suite_name] = checked(cells, f'suite "{suite_name}"')
    made.joins = stored_joins(made.plan, made.scores)
    return made


def _edition(suite: Suite, asked: str, judge: str) -> str:
    """The edition asked for, else the official one unless the judge knows nano prompts only."""
    if asked != AUTO:
        return asked
    real = judge and not judge.startswith("nano:")
    return OFFICIAL if real and OFFICIAL in suite.editions else default_edition(suite)


def _settings_by_suite(
    names: Sequence[str], judge: str, overrides: Overrides, limit: int | None
) -> dict[str, dict[str, Any]]:
    """Settings given by the caller, for each suite."""
    found: dict[str, dict[str, Any]] = {name: {} for name in names}
    for name, values in found.items():
        fields = registry.load("suites", name).settings.model_fields
        if judge and "judge" in fields:
            values["judge"] = judge
        if limit:
            values["limit"] = limit
    if judge and not any("judge" in values for values in found.values()):
        raise UserError(f"none of these suites uses a judge: {', '.join(found)}; omit --judge")
    # Tables before what is inside them, whatever the order of the options.
    for key, value, text in sorted(overridden(overrides), key=lambda given: given[0].count(".")):
        suite = next((name for name in found if key.startswith(name + ".")), None)
        if suite is None:
            raise BadRecord(
                f"--set {text}: expected SUITE.KEY=VALUE with a suite of {', '.join(found)}"
            )
        found[suite] = set_key(found[suite], key.removeprefix(suite + "."), value)
    return found


make_callable(__name__, evaluate)
