"""Operations of the KCA chain: questions, outcomes and training rows.

    instances {"id", "messages", "response", "requirement", "knowledge", "exam"}
        --kca_questions-->  one row per question and shift, for `score_texts`
        --kca_outcomes-->   instances with the outcome of the base model's exam
        --kca_rows-->       training rows of a strategy at a threshold

Outcomes contain the number of questions and of right answers, so that another threshold repeats
`kca_rows` alone. Reports say what became of every instance.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

from pydantic import Field

from harness.core.errors import BadData, unknown
from harness.core.records import Record
from harness.engine.io import write_json, write_rows
from harness.engine.operations import Artifact, Context, Estimate, Row, operation
from harness.engine.registry import load_target
from methods.kca.decisions import PARTS, Outcome, Part, decide
from methods.kca.examination import Form, letter_prior, outcomes, question_rows
from methods.kca.strategies import STRATEGIES, Instance, Strategy, training_rows

TAUS = (0.3, 0.6, 0.9)  # thresholds of the released files


class QuestionsParams(Record):
    """See `methods.kca.examination.ExamSettings`."""

    form: Form = "letters"
    shifts: int = Field(default=1, ge=1, le=4)
    max_questions: int = Field(default=3, ge=1)


def _as_many(of: str, factor: float = 1.0) -> Callable[..., Estimate]:
    def expected(params: Record, **inputs: Estimate) -> Estimate:
        rows = inputs[of].rows
        return Estimate(rows=None if rows is None else round(factor * rows))

    return expected


# The share of instances with an exam is about 0.4 in the paper; an exam has three questions.
@operation("kca_questions", version=1, params=QuestionsParams, estimate=_as_many("instances", 1.2))
def kca_questions(context: Context, params: QuestionsParams, *, instances: Artifact) -> None:
    """Write one row per question and shift, see `question_rows`."""
    rows = question_rows(instances.rows(), params.form, params.shifts, params.max_questions)
    write_rows(context.directory / "rows.jsonl", rows)
    context.progress(len(rows), len(rows))


class OutcomesParams(Record):
    """form: as in the stage that made the questions."""

    form: Form = "letters"


@operation("kca_outcomes", version=1, params=OutcomesParams, estimate=_as_many("instances"))
def kca_outcomes(
    context: Context, params: OutcomesParams, *, instances: Artifact, scored: Artifact
) -> None:
    """Write instances with the field `outcome`, and report.json, see `report`."""
    asked = scored.rows()
    found = outcomes(asked, params.form)
    rows = [
        {**row, "outcome": found.get(row["id"], Outcome(n=0, right=0)).model_dump(mode="json")}
        for row in instances.rows()
    ]
    prior = letter_prior(asked) if params.form == "letters" else None
    write_json(context.directory / "report.json", {**report(rows), "letter_prior": prior})
    write_rows(context.directory / "rows.jsonl", rows)
    context.progress(len(rows), len(rows))


def part_of(
    row: Row,
    tau: float = 0.6,
    min_questions: int = 1,
    rule: Literal["accuracy", "posterior"] = "accuracy",
) -> Part:
    """The part of the data that an instance belongs to; the five parts add up to all."""
    requirement = row["requirement"]["value"]
    if requirement is None:
        return "unparsed"
    if not requirement["need"]:
        return "no_need"
    return decide(Outcome.model_validate(row["outcome"]), tau, min_questions, rule)


def report(rows: Sequence[Row]) -> dict[str, Any]:
    """What became of the instances: parts by threshold, accuracy by number of questions, failures.

    A stage fails for an instance that it was asked about; one that was not asked is counted in its
    part.
    `chance` is the probability that a random guesser is consistent, by number of questions, at the
    paper's threshold.
    """
    examined = [Outcome.model_validate(row["outcome"]) for row in rows if row["outcome"]["n"]]
    by_n: dict[int, list[Outcome]] = {}
    for outcome in examined:
        by_n.setdefault(outcome.n, []).append(outcome)
    return {
        "instances": len(rows),
        "parts": {str(tau): _counted(part_of(row, tau) for row in rows) for tau in TAUS},
        "by_questions": {
            str(n): {
                "instances": len(some),
                "accuracy": sum(one.right for one in some) / (n * len(some)),
                "consistent": sum(decide(one) == "consistent" for one in some) / len(some),
                "chance": chance(n, 0.6),
            }
            for n, some in sorted(by_n.items())
        },
        "failures": {
            stage: _reasons(row[stage]["failure"] for row in rows if row[stage]["attempts"])
            for stage in ("requirement", "knowledge", "exam")
        },
        "rejected_questions": _reasons(
            reject["reason"]
            for row in rows
            if row["exam"]["value"]
            for reject in row["exam"]["value"]["rejects"]
        ),
    }


def chance(n: int, tau: float) -> float:
    """Probability that a guesser among four options is consistent with n questions.

    >>> chance(3, 0.6), chance(2, 0.6), chance(1, 0.6)
    (0.15625, 0.0625, 0.25)
    """
    from math import comb

    return sum(comb(n, r) * 0.25**r * 0.75 ** (n - r) for r in range(n + 1) if r / n > tau)


def _counted(parts: Iterable[Part]) -> dict[str, int]:
    found = Counter(parts)
    return {part: found[part] for part in PARTS}


def _reasons(failures: Iterable[str | None]) -> dict[str, int]:
    return dict(sorted(Counter(failure for failure in failures if failure).items()))


class RowsParams(Record):
    """Which rows to train on.

    Attributes:
        strategy: a name of `STRATEGIES`, or "package.module:function" from an `Instance` to a row.
        rows: "decided" takes only instances with a decision, as the paper does; "all" takes every
            instance.
        tau, min_questions, rule: see `methods.kca.decisions.decide`.
    """

    strategy: str
    rows: Literal["decided", "all"] = "decided"
    tau: float = 0.6
    min_questions: int = Field(default=1, ge=1)
    rule: Literal["accuracy", "posterior"] = "accuracy"


@operation("kca_rows", version=1, params=RowsParams, estimate=_as_many("examined"))
def kca_rows(context: Context, params: RowsParams, *, examined: Artifact) -> None:
    """Write the training rows of a strategy, and parts.json with the size of the five parts.

    Raises:
        UnknownName: there is no such strategy.
        BadData: no row is left to train on.
    """
    strategy = strategy_of(params.strategy)
    found = [
        instance_of(row, part_of(row, params.tau, params.min_questions, params.rule))
        for row in examined.rows()
    ]
    rows = training_rows(found, strategy, params.rows)
    counts = _counted(one.part for one in found)
    if not rows:
        raise BadData(f'strategy "{params.strategy}" leaves no row to train on; found {counts}')
    write_json(context.directory / "parts.json", {"parts": counts, "rows": len(rows)})
    write_rows(context.directory / "rows.jsonl", rows)
    context.progress(len(rows), len(rows))


def strategy_of(name: str) -> Strategy:
    """A strategy of the table, or a function that is named by its module."""
    if name in STRATEGIES:
        return STRATEGIES[name]
    if ":" not in name:
        raise unknown("strategy", name, STRATEGIES)
    found: Strategy = load_target(name)
    return found


def instance_of(row: Row, part: Part) -> Instance:
    """The record of an instance row."""
    requirement = row["requirement"]["value"] or {}
    return Instance(
        id=row["id"],
        messages=tuple(row["messages"]),
        response=row["response"],
        part=part,
        analysis=requirement.get("analysis", ""),
        queries=requirement.get("queries", ""),
        knowledge=row["knowledge"]["value"] or "",
    )
