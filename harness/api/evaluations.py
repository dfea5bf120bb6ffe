"""Evaluations of many models with one or several judges, as one plan.

    made = evaluate_all([Entrant("a.json"), Entrant("nano:target")], ["mt_bench"], judges=[...])
    made.run(); print(made.render())

A board file (TOML) says the same:

    suites = ["alpaca_eval2", "mt_bench"]
    judges = ["openai:gpt-4o", "openai:my-judge@http://127.0.0.1:8000/v1"]
    limit = 100                         # also: data, seed, name, title, set
    [[models]]
    ref = "org/model"
    [[models]]
    name = "theirs"
    [models.files]                      # a file of stored outputs per suite
    alpaca_eval2 = "theirs/alpaca.json"
    mt_bench = "theirs/mt_bench.jsonl"
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import Field

from harness.backends.joins import Join, stored_joins
from harness.core.errors import BadData, BadRecord, UserError
from harness.core.records import Cell, Record, parse
from harness.engine.plan import Handle, Plan
from harness.engine.recipe import read_toml
from harness.evaluate import AUTO, Entrant, Evaluation, Options, plan_entrant, spec_of
from harness.models.references import split_engine
from harness.planned import PlannedRun
from leaderboards.by_judge import by_judge, short_name
from leaderboards.growth import board_name
from leaderboards.spec import BoardSpec


@dataclass
class Evaluations(PlannedRun):
    """Several models, or several judges, planned together.

    Attributes:
        name: of the board.
        parts: one evaluation per model and judge; all have the same plan.
        joins: which prompts the files of stored answers answer.
    """

    name: str
    parts: list[Evaluation] = field(default_factory=list)
    joins: list[Join] = field(default_factory=list)
    heading: str = ""

    @property
    def title(self) -> str:
        """ "12 models" or "12 models, 2 judges"."""
        models, judges = (len({*found}) for found in zip(*self._pairs, strict=True))
        said = f"{models} model{'s' * (models > 1)}"
        return f"{said}, {judges} judges" if judges > 1 else said

    @property
    def _pairs(self) -> list[tuple[str, str]]:
        return [(part.title, part.judge) for part in self.parts]

    @property
    def scores(self) -> dict[str, list[Handle]]:
        """Suite -> the stages that write its cells."""
        found: dict[str, list[Handle]] = {}
        for part in self.parts:
            for suite, handle in part.scores.items():
                found.setdefault(suite, []).append(handle)
        return found

    @property
    def limits(self) -> dict[str, str]:
        """See `Evaluation.limits`."""
        return {suite: mark for part in self.parts for suite, mark in part.limits.items()}

    @property
    def targets(self) -> list[Handle]:
        return list(dict.fromkeys(handle for part in self.parts for handle in part.targets))

    @property
    def main_system(self) -> str:
        return self.parts[0].title

    @property
    def cells(self) -> list[Cell]:
        """All scores; with several judges the suite of a judged score names its judge."""
        found: list[Cell] = []
        seen: set[Handle] = set()  # judges share the stages of a suite without a judge
        for part in self.parts:
            part.store = self._done()
            found += part.cells_of(set(part.targets) - seen)
            seen.update(part.targets)
        if len({part.judge for part in self.parts}) > 1:
            return list(by_judge(spec_of(self.name, found, self.scores), found)[1])
        return found

    def board_spec(self, command: str = "") -> BoardSpec:
        """Board with a row per model and the primary metrics of each suite, for each judge."""
        cells = self.cells
        spec = spec_of(self.name, cells, self.scores, command)
        update: dict[str, Any] = {"title": self.heading or spec.title}
        if len({part.judge for part in self.parts}) > 1:
            update["by_judge"] = True
        return spec.model_copy(update=update)


_FORM = """a board file has suites = ["mt_bench"] and [[models]] with ref = "org/model\""""


class ModelEntry(Record):
    """A model of a board file; see `harness.evaluate.Entrant`."""

    ref: str = ""
    name: str = ""
    files: dict[str, str] = {}


class BoardFile(Record):
    """A board file.

    Attributes:
        judges: () takes the suites' own.
        data: question set, as --data.
        set: settings of suites: {"mt_bench.rounds" = 200}.
    """

    name: str = ""
    title: str = ""
    suites: tuple[str, ...] = Field(min_length=1)
    judges: tuple[str, ...] = ()
    models: tuple[ModelEntry, ...] = Field(min_length=1)
    data: str = AUTO
    limit: int | None = Field(default=None, ge=1)
    seed: int = 42
    set: dict[str, Any] = {}


def read_board_file(path: Path) -> BoardFile:
    """A board file; its files of outputs are found beside it.

    Raises:
        BadRecord: a key is unknown, missing or of the wrong type, or a model has no answers.
    """
    try:
        found = parse(BoardFile, read_toml(path), str(path))
    except BadRecord as error:
        raise BadRecord(f"{error}; {_FORM}") from None
    if found.name and found.name != board_name(found.name):
        raise BadRecord(
            f'{path}: "{found.name}" cannot name a board; expected letters, digits and ._+=,- as '
            f'in "{board_name(found.name)}"'
        )
    models = []
    for number, model in enumerate(found.models, 1):
        where = f"{path}: model {number}{f' ({model.name})' if model.name else ''}"
        if not model.ref and not model.files:
            raise BadRecord(
                f'{where} has no answers; expected ref = "org/model", or [models.files] with a '
                "file per suite"
            )
        if others := sorted(model.files.keys() - set(found.suites)):
            raise BadRecord(
                f"{where} has a file for {others[0]}, which is none of the suites of the board "
                f"({', '.join(found.suites)})"
            )
        files = {suite: _beside(path, ref) for suite, ref in model.files.items()}
        ref = _beside(path, model.ref)
        models.append(model.model_copy(update={"ref": ref, "files": files}))
    return found.model_copy(update={"models": tuple(models)})


def _beside(path: Path, ref: str) -> str:
    """A reference to a file or folder, relative to the board file."""
    if not ref:
        return ref
    found = path.parent / Path(ref).expanduser()
    is_file = split_engine(ref)[0] == "stored"
    return str(found) if found.exists() or (is_file and ":" not in ref) else ref


def evaluate_all(
    entrants: Sequence[Entrant],
    suites: Sequence[str],
    *,
    judges: Sequence[str] = (),
    options: Options | None = None,
    name: str = "evaluation",
    title: str = "",
) -> Evaluations:
    """Plan the evaluation of models on suites with each of the judges.

    Every file of stored outputs is joined to the prompts before anything runs.

    Raises:
        As `harness.evaluate.evaluate`; problems of several files are one error.
        UserError: two models have the same name.
    """
    options = options or Options()
    made = Evaluations(name, heading=title, plan=Plan())
    judges = tuple(judges) or ("",)
    problems: dict[str, str] = {}
    _check_names(entrants)
    for judge in judges:
        by = f" by {short_name(judge, judges)}" if len(judges) > 1 else ""
        label = by if len(judges) * len(entrants) > 1 else None
        for entrant in entrants:
            if entrant.title in problems:
                continue
            try:
                own = replace(options, judge=judge)
                part = plan_entrant(made.plan, entrant, suites, own, label)
                if judge == judges[0]:  # all judges have the same prompts
                    part.joins = stored_joins(made.plan, part.scores)
            except BadData as error:
                problems[entrant.title] = str(error)
                continue
            made.joins += part.joins
            made.parts.append(part)
    if problems:
        texts = list(problems.values())
        counted = f"{len(texts)} of {len(entrants)} models cannot be evaluated: "
        raise BadData((counted if len(texts) > 1 else "") + " | ".join(texts))
    return made


def _check_names(entrants: Sequence[Entrant]) -> None:
    titles = Counter(entrant.title for entrant in entrants)
    for title, count in titles.items():
        if count > 1:
            refs = [e.ref or ", ".join(e.files.values()) for e in entrants if e.title == title]
            raise UserError(
                f'{" and ".join(refs)} are all named "{title}"; give each a name of its own '
                "(name = in its [[models]] of a board file, crucible eval -f board.toml), or put "
                "the files of one model into one [[models]]"
            )
