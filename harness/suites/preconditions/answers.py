"""True grades of sampled answers and of preference pairs, beside what the reward model said.

    answers of the sources, own answers --compare_answers--> who is truly better, by prompt
    preference pairs                    --grade_pairs------> whether the rewards order them rightly

The truth is that of a world that knows it (`harness.data.truths`); without one, `grade_pairs` has
the reward margins alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import Field

from harness.core.errors import UserError
from harness.core.records import Cell
from harness.data.truths import Grader, Verity, truth_about, truth_identity
from harness.engine.io import write_rows
from harness.engine.operations import Artifact, Context, Row, operation
from harness.suites.scoring import CellMaker, CellParams, cell_maker, write_cells

BEST = "best source"
PAIRS = "training pairs"
GRADE = "grade"  # true, in [0, 1]
DECIMALS = 2  # of stored grades and margins; comparisons are made before rounding
Comparison = tuple[str, str]  # names of two responses, the preferred one first


class TruthParams(CellParams):
    """Parameters of figures that need a truth.

    Attributes:
        truth: reference of the prompts or pairs, see `harness.data.truths`; "" if there is none.
        truth_digest: its identity when the plan was made.
    """

    truth: str = ""
    truth_digest: str = ""

    def grader(self) -> Grader | None:
        return truth_about(self.truth, self.truth_digest) if self.truth else None


def truth_arguments(ref: str) -> dict[str, str]:
    """Parameters that name the truth about a reference; {} if nothing is known."""
    found = truth_identity(ref)
    return {"truth": ref, "truth_digest": found, "judge_fingerprint": found} if found else {}


@dataclass(frozen=True)
class _Answers:
    """Grades of a model's answers by prompt; None for a prompt without a grade."""

    name: str
    grades: Mapping[str, Sequence[float] | None]

    def best(self, id: str) -> float | None:
        found = self.grades.get(id)
        return max(found) if found else None

    def mean(self, id: str) -> float | None:
        found = self.grades.get(id)
        return sum(found) / len(found) if found else None


@operation("compare_answers", version=1, params=TruthParams)
def compare_answers(
    context: Context,
    params: TruthParams,
    *,
    own: tuple[Artifact, ...],
    answered: tuple[Artifact, ...],
) -> None:
    """Write for each source, and for the best of several, how often its answers are truly better.

    above        % of prompts on which its best answer is truly better than the best own one
    below        % on which it is worse
    best_grade   true grade of its best answer, and of the best own one
    mean_grade   true grade of all its answers, and of all own ones, if there are several

    Prompts are those of `own`; rows.jsonl has the grades of each. `params.system` names the own
    model.

    Raises:
        UserError: nothing is known about the truth.
    """
    grader = params.grader()
    if grader is None:
        raise UserError(f'no truth about "{params.truth}"; expected a reference such as nano:train')
    asked = [row for artifact in own for row in artifact.rows()]
    prompts = {row["id"]: row for row in asked}
    ours = graded(params.system, asked, grader)
    by_system: dict[str, list[Row]] = {}
    for artifact in answered:
        for row in artifact.rows():
            by_system.setdefault(str(row["system"]), []).append(row)
    others = [graded(name, rows, grader) for name, rows in by_system.items()]
    everyone: dict[str, Sequence[float] | None] = {}
    for id in prompts:
        known = [found for each in others if (found := each.grades.get(id))]
        everyone[id] = [grade for grades in known for grade in grades] or None
    best = _Answers(BEST, everyone)
    texts = {id: _asked(row) for id, row in prompts.items()}
    maker = cell_maker(params, texts, own=own[0])
    rivals = [*others, best] if len(others) > 1 else others
    cells = [cell for each in rivals for cell in _against(maker, ours, each, prompts)]
    cells += _grades(maker, ours, prompts)
    for each in others:
        cells += _grades(maker, each, prompts)
    if len(others) > 1:
        grades = [best.best(id) for id in prompts]
        cells.append(_grade_cell(maker, BEST, "best_grade", grades, prompts))
    write_cells(context, cells)
    rows = [
        {
            "id": id,
            "messages": row["messages"],
            "best_grades": {each.name: each.best(id) for each in (ours, *others)},
        }
        for id, row in prompts.items()
    ]
    write_rows(context.directory / "rows.jsonl", rows)


def graded(name: str, rows: Sequence[Row], grader: Grader) -> _Answers:
    """The true grades of a model's responses; a prompt that occurs twice has the grades of both."""
    found: dict[str, list[float]] = {}
    for row in rows:
        verities = [grader(row, text) for text in row["responses"]]
        known = found.setdefault(row["id"], [])
        known += [verity.grade for verity in verities if verity is not None]
    return _Answers(name, {id: grades or None for id, grades in found.items()})


def _asked(row: Row) -> list[str]:
    return [str(message["content"]) for message in row["messages"] if message["role"] == "user"]


def of_system(maker: CellMaker, name: str) -> CellMaker:
    """The same maker for the cells of another system."""
    return replace(maker, params=maker.params.model_copy(update={"system": name}))


def _against(
    maker: CellMaker, ours: _Answers, theirs: _Answers, prompts: Mapping[str, Row]
) -> list[Cell]:
    pairs = [(theirs.best(id), ours.best(id)) for id in prompts]
    known = [pair if None not in pair else None for pair in pairs]
    return [
        of_system(maker, theirs.name).mean_cell(
            name,
            [None if pair is None else float(_sign(pair) == sign) for pair in known],
            list(prompts),
            factor=100,
            primary=False,
            higher_is_better=sign > 0,
        )
        for name, sign in (("above", 1), ("below", -1))
    ]


def _sign(pair: tuple[float | None, float | None]) -> int:
    a, b = pair
    assert a is not None
    assert b is not None
    return (a > b) - (a < b)


def _grades(maker: CellMaker, whose: _Answers, prompts: Mapping[str, Row]) -> list[Cell]:
    """The cells of the best grade of one model, and of the mean where it has several answers."""
    found = {"best_grade": whose.best}
    if any(len(grades) > 1 for grades in whose.grades.values() if grades):
        found["mean_grade"] = whose.mean
    return [
        _grade_cell(maker, whose.name, name, [grade(id) for id in prompts], prompts)
        for name, grade in found.items()
    ]


def _grade_cell(
    maker: CellMaker,
    system: str,
    name: str,
    grades: Sequence[float | None],
    clusters: Mapping[str, Row],
) -> Cell:
    rounded = [None if grade is None else round(grade, DECIMALS) for grade in grades]
    return of_system(maker, system).mean_cell(
        name, rounded, list(clusters), unit=GRADE, primary=False
    )


class GradePairsParams(TruthParams):
    """Parameters of `grade_pairs`.

    Attributes:
        comparisons: pairs of responses that training compares, by name, the preferred one first.
        most: number of rows that are read, from the first; resamples of more need much memory and
            tell little more.
    """

    comparisons: tuple[Comparison, ...]
    most: int = Field(default=2000, ge=1)


@operation("grade_pairs", version=1, params=GradePairsParams)
def grade_pairs(context: Context, params: GradePairsParams, *, pairs: Artifact) -> None:
    """Write what the pairs of a training are worth.

    Of the reward model, which `params.system` names:

    reward_margin            reward of the preferred response less that of the other
    reward_accuracy          % of pairs of different true grade that the rewards order rightly
                             (equal rewards count half)
    reward_accuracy_formed   the same among pairs of which both have the form asked for

    Of the "training pairs":

    pairs_differ             % of pairs whose responses differ in true grade
    grade:<response>         true grade by name of the response
    source_above             % of rows whose response of a source is truly better than the own best
    source_rewarded          % in which it has the higher reward

    A pair without rewards is ordered as its data order it. All but the margin and the last need a
    truth. rows.jsonl has the grades of each row.
    """
    rows = [row for row in pairs.rows() if row["responses"]][: params.most]
    grader = params.grader()
    names = list(dict.fromkeys(name for row in rows for name in row["responses"]))
    found = [_verities(grader, row) for row in rows]
    maker = cell_maker(params, {row["id"]: _asked(row) for row in rows}, pairs=pairs)
    units = [
        _Unit.of(row, verities, better, worse)
        for row, verities in zip(rows, found, strict=True)
        for better, worse in params.comparisons
        if better in row["responses"] and worse in row["responses"]
    ]
    cells = _of_units(maker, units, grader is not None)
    by_row: list[tuple[str, Sequence[float | None], dict[str, Any]]] = []
    if grader is not None:
        for name in names:
            grades = [_rounded(verities.get(name)) for verities in found]
            by_row.append((f"grade:{name}", grades, {"unit": GRADE}))
    if {"source", "target"} <= set(names):
        ahead = [_ahead(_grades_of(verities)) for verities in found]
        if grader is not None:
            by_row.append(("source_above", ahead, {"factor": 100}))
        rewarded = [_ahead(row.get("rewards") or {}) for row in rows]
        by_row.append(("source_rewarded", rewarded, {"factor": 100}))
    ids = [row["id"] for row in rows]
    of_rows = of_system(maker, PAIRS)
    cells += [of_rows.mean_cell(name, v, ids, primary=False, **how) for name, v, how in by_row]
    write_cells(context, cells)
    told = [
        {
            "id": row["id"],
            "messages": row["messages"],
            "rewards": row.get("rewards"),
            "true_grades": _grades_of(verities),
        }
        for row, verities in zip(rows, found, strict=True)
    ]
    write_rows(context.directory / "rows.jsonl", told)


def _verities(grader: Grader | None, row: Row) -> dict[str, Verity]:
    if grader is None:
        return {}
    found = {name: grader(row, text) for name, text in row["responses"].items()}
    return {name: verity for name, verity in found.items() if verity is not None}


def _grades_of(verities: Mapping[str, Verity]) -> dict[str, float]:
    return {name: verity.grade for name, verity in verities.items()}


def _rounded(verity: Verity | None) -> float | None:
    return None if verity is None else round(verity.grade, DECIMALS)


def _ahead(values: Mapping[str, float]) -> float | None:
    """Whether the source's value is above the target's; None if one is missing."""
    if "source" not in values or "target" not in values:
        return None
    return float(values["source"] > values["target"])


@dataclass(frozen=True)
class _Unit:
    """One pair: rewards and truth of the preferred response less those of the other.

    Attributes:
        margin: None without rewards.
        gap: None without a truth.
        formed: both have the form asked for.
    """

    prompt: str
    margin: float | None
    gap: float | None
    formed: bool

    @classmethod
    def of(cls, row: Row, verities: Mapping[str, Verity], better: str, worse: str) -> _Unit:
        rewards = row.get("rewards") or {}
        margin = gap = None
        if rewards.get(better) is not None and rewards.get(worse) is not None:
            margin = rewards[better] - rewards[worse]
        if better in verities and worse in verities:
            gap = verities[better].grade - verities[worse].grade
        formed = all(name in verities and verities[name].formed for name in (better, worse))
        return cls(row["id"], margin, gap, formed)

    @property
    def right(self) -> float | None:
        """Whether the order is right; 0.5 for equal rewards, None where the truth has no order."""
        if not self.gap:
            return None
        order = 1.0 if self.margin is None else self.margin
        return 0.5 if order == 0 else float(order * self.gap > 0)


def _of_units(maker: CellMaker, units: Sequence[_Unit], known: bool) -> list[Cell]:
    prompts = [unit.prompt for unit in units]
    ranked = [unit.margin is not None for unit in units]
    margins = [None if unit.margin is None else round(unit.margin, DECIMALS) for unit in units]
    cells = []
    if any(ranked):
        cells.append(
            maker.mean_cell(
                "reward_margin", margins, prompts, ranked, span=None, unit="reward", primary=False
            )
        )
    if not known:
        return cells
    differ = [None if unit.gap is None else float(unit.gap != 0) for unit in units]
    right = [unit.right for unit in units]
    decided = [value is not None for value in right]
    formed = [value and unit.formed for value, unit in zip(decided, units, strict=True)]
    of_pairs = of_system(maker, PAIRS)
    cells.append(of_pairs.mean_cell("pairs_differ", differ, prompts, factor=100, primary=False))
    for name, among in (("reward_accuracy", decided), ("reward_accuracy_formed", formed)):
        cells.append(maker.mean_cell(name, right, prompts, among, factor=100, primary=False))
    return cells
