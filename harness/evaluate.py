"""Evaluations as Python calls: one model on benchmark suites.

from harness import evaluate

made = evaluate("nano:target", "alpaca_eval2", limit=24)
print(made.score, made.interval)
print(made.render())
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from harness.api.judges import JudgeReference
from harness.backends.joins import Join, stored_joins
from harness.core.calling import make_callable
from harness.core.errors import BadRecord, UserError, unknown
from harness.core.records import Cell
from harness.data.stored_answers import StoredAnswers
from harness.engine import registry
from harness.engine.overrides import Overrides, overridden, set_key
from harness.engine.plan import Handle, Plan
from harness.models.references import model_identity, split_engine, split_template
from harness.planned import PlannedRun, checked, labelled_stage
from harness.suites.base import Suite, System
from harness.suites.editions import NANO, OFFICIAL, default_edition, resolve_settings, scales_of
from harness.suites.marks import OWN, PAPER, limit_of, marked, nodes_of_plan
from leaderboards.growth import board_name, evaluation_title
from leaderboards.spec import BoardSpec, ColumnSpec, Provenance, SystemSpec

AUTO = "auto"
EDITIONS = (AUTO, OFFICIAL, NANO)


@dataclass(frozen=True)
class Entrant:
    """A model to evaluate.

    Attributes:
        ref: reference, or a file of stored outputs; "" if each suite has its own in `files`.
        name: in tables; "" takes the writer that a file of outputs names, else the reference.
        files: suite -> what answers it in place of `ref`.
    """

    ref: str = ""
    name: str = ""
    files: Mapping[str, str] = field(default_factory=dict)

    def of(self, suite: str) -> str:
        """The reference for a suite, "" if there is none."""
        return self.files.get(suite, self.ref)

    @cached_property
    def title(self) -> str:
        """Name in tables."""
        if self.name:
            return self.name
        first = self.ref or next(iter(self.files.values()), "")
        if split_engine(first)[0] != "stored":
            return first
        return StoredAnswers(first).writer or Path(first).name.partition(".json")[0]


@dataclass
class Evaluation(PlannedRun):
    """One model on suites, planned.

    Attributes:
        title: name of the model in tables.
        scores: suite -> stage that writes its cells.
        joins: which prompts the files of stored answers answer.
        judge: the judge that was asked for; "" is the suites' own.
    """

    title: str
    scores: dict[str, Handle] = field(default_factory=dict)
    joins: list[Join] = field(default_factory=list)
    judge: str = ""

    @property
    def targets(self) -> list[Handle]:
        return list(self.scores.values())

    @property
    def main_system(self) -> str:
        return self.title

    @property
    def parts(self) -> list[Evaluation]:
        """The evaluations of single models that this consists of."""
        return [self]

    @property
    def limits(self) -> dict[str, str]:
        """Suite -> "first 40 of 805 prompts", for suites of which a part is asked."""
        graph = nodes_of_plan(self.plan)
        marks = {suite: limit_of(graph, handle.id) for suite, handle in self.scores.items()}
        return {suite: mark for suite, mark in marks.items() if mark}

    @property
    def cells(self) -> list[Cell]:
        """The scores, suite by suite, with their marks (`harness.suites.marks`)."""
        return self.cells_of(self.targets)

    def cells_of(self, targets: Container[Handle]) -> list[Cell]:
        """The scores that some of the stages wrote."""
        limits = self.limits
        return [
            marked(cell, limits.get(suite, ""))
            for suite, handle in self.scores.items()
            if handle in targets
            for cell in self._cells_of(handle)
        ]

    def board_spec(self, command: str = "") -> BoardSpec:
        """Board with one row and the primary metrics of each suite."""
        return spec_of(self.title, self.cells, self.scores, command)


def spec_of(
    name: str, cells: Sequence[Cell], suites: Iterable[str], command: str = ""
) -> BoardSpec:
    """Board of evaluated models, with the primary metrics of each suite."""
    scales = {PAPER if cell.scale == OWN else cell.scale for cell in cells}
    systems = dict.fromkeys(cell.system for cell in cells)
    columns = dict.fromkeys((cell.suite, cell.metric) for cell in cells if cell.primary)
    return BoardSpec(
        name=board_name(name, "evaluation"),
        title=evaluation_title(list(systems)),
        scale=scales.pop() if len(scales) == 1 else None,
        systems=tuple(SystemSpec(name=name) for name in systems),
        columns=tuple(ColumnSpec(suite=suite, metric=metric) for suite, metric in columns),
        provenance=Provenance(
            command=command,
            libraries=registry.plugin_versions(("suites", name) for name in suites),
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
        name: name of the model in tables (default: the writer that a file of outputs names in
            `generator`, `model_id` or `model`; else the reference, or the name of the file).
        overrides: settings: {"mt_bench.rounds": 200} or ["mt_bench.rounds=200"].
        seed: seed of the model's sampling.
        limit: number of prompts per suite.

    Raises:
        UnknownName: for a suite, judge, edition or nano model that does not exist.
        BadRecord: for a setting that a suite does not have.
        BadData: a file of stored answers answers none of a suite's prompts, or contradicts itself.
    """
    names = (suite,) if isinstance(suite, str) else tuple(suite)
    options = Options(str(judge), edition, overrides, seed, limit)
    made = plan_entrant(Plan(), Entrant(model, name), names, options)
    made.joins = stored_joins(made.plan, made.scores)
    return made


@dataclass(frozen=True)
class Options:
    """How models are evaluated; see `evaluate`."""

    judge: str = ""
    edition: str = AUTO
    overrides: Overrides = ()
    seed: int = 42
    limit: int | None = None


def plan_entrant(
    plan: Plan,
    entrant: Entrant,
    names: Sequence[str],
    options: Options,
    judged: str | None = None,
) -> Evaluation:
    """Add the stages of one model with one judge to a plan; errors as `evaluate`.

    Args:
        judged: among many: end of the labels of its stages, " by gpt-4o" or "".
    """
    judge, edition = options.judge, options.edition
    if not names:
        raise UserError("no suite given; for example alpaca_eval2,mt_bench (crucible suites)")
    if edition not in EDITIONS:
        raise unknown("data edition", edition, EDITIONS, "crucible eval --help")
    settings = _settings_by_suite(names, judge, options.overrides, options.limit)
    made = Evaluation(entrant.title, judge=judge, plan=plan)
    suites: dict[str, tuple[Suite, Any]] = {}
    for suite_name in filter(entrant.of, names):
        loaded: Suite = registry.load("suites", suite_name)
        chosen = _edition(loaded, edition, judge)
        suites[suite_name] = loaded, resolve_settings(loaded, chosen, settings[suite_name])
    scales = scales_of([resolved for _, resolved in suites.values()], PAPER)
    for (suite_name, (loaded, resolved)), scale in zip(suites.items(), scales, strict=True):
        model = entrant.of(suite_name)
        engine, rest = split_engine(model)
        identity = model_identity(model)
        handle = plan.stage("import_model", ref=model, digest=identity, label=f"model {model}")
        system = System(
            name=made.title,
            model=handle,
            scale=NANO if scale == PAPER and model.startswith("nano:") else scale,
            seed=options.seed,
            stored=engine == "stored",
            template=split_template(rest)[1] if engine in ("hf", "vllm") else "",
        )
        stage = plan.stage
        if judged is not None:
            stage = labelled_stage(stage, f"{made.title} on {suite_name}{judged}")
        cells = loaded.plan(system, resolved, stage)
        made.scores[suite_name] = checked(cells, f'suite "{suite_name}"')
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
