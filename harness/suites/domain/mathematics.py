"""The mathematics domain: settings and stages, and the accuracy of final answers as cells.

    accuracy             problems whose final answer is right; one without an answer is wrong
    accuracy:level_<n>   by level of the MATH data set
    accuracy:<subject>   by subject
    unanswered_rate      responses without a final answer

A problem to which the system gave no response is failed: it counts in the bounds.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from harness.core.errors import BadData
from harness.core.hashing import digest
from harness.core.records import Cell, Record
from harness.data.prompts import prompts_identity
from harness.engine import costs
from harness.engine.operations import Artifact, Context, Row, operation
from harness.engine.plan import Handle, StageMaker
from harness.engine.recipe import Refers
from harness.suites.base import (
    Decode,
    PromptSuiteSettings,
    System,
    answers_of,
    cell_arguments,
    contents,
)
from harness.suites.domain.answers import Cleaning, cleaned_row
from harness.suites.scoring import CellMaker, CellParams, cell_maker, write_cells
from harness.verification.answer_forms import plain_form
from harness.verification.final_answers import last_boxed

NAME = "domain_math"
VERSION = 1  # of the rule that reads and compares final answers
_SOLUTIONS = ("std_answer", "solution")  # columns whose last box is the gold answer
_LEVEL = re.compile(r"\D*(\d+)\D*")


class MathSettings(PromptSuiteSettings):
    """Settings of the mathematics domain beside those of `PromptSuiteSettings`.

    Attributes:
        prompts: problems with `answer`, or with a `solution` whose last box is the answer; `level`
            and `subject` (or `type`) are optional.
        categories: categories of problems to use; () for all.
        decode: decoding settings of the system; greedy. (Published: 10 beams, which no
            backend offers.)
        compare: "values" compares what answers mean, "compat" their texts as released.
        cleaning: see `DomainSettings`.
        timeout_s: limit of a comparison by computer algebra; beyond it an answer is wrong.
    """

    prompts: Annotated[str, Refers("prompts")] = "nano:alpaca_eval2"
    categories: Annotated[tuple[str, ...], Refers("layout")] = ()
    decode: Decode = Decode(max_tokens=512)
    compare: Literal["values", "compat"] = "values"
    cleaning: Cleaning = "header"
    timeout_s: float = Field(default=5.0, gt=0)


class MathProblemsParams(Record):
    """cleaning: see `harness.suites.domain.answers.cleaned`."""

    cleaning: Cleaning = "header"


class ScoreMathParams(CellParams):
    """Parameters of `score_domain_math`; all are those of its cells."""


def plan_math(system: System, settings: MathSettings, stage: StageMaker) -> Handle:
    """The stages of one system on problems of mathematics."""
    prompts = _problems(settings, stage)
    answers = answers_of(system, prompts, settings, settings.decode, stage, NAME)
    problems = stage("math_problems", responses=answers, cleaning=settings.cleaning)
    checks = stage(
        "verify_final_answers",
        responses=problems,
        rule=settings.compare,
        timeout_s=settings.timeout_s,
    )
    judging = {"judge": None, "fingerprint": digest([NAME, VERSION, settings.compare])[:16]}
    return stage(
        "score_domain_math",
        checks=checks,
        generations=answers,
        **system.links(),
        **cell_arguments(NAME, system, settings, judging, settings.decode, contents(settings)),
    )


def _problems(settings: MathSettings, stage: StageMaker) -> Handle:
    """The problems; those of the nano world carry the answer line that they ask for."""
    nano = settings.prompts.startswith("nano:")
    categories = settings.categories or (("math",) if nano else ())
    return stage(
        "import_prompts",
        ref=settings.prompts,
        limit=settings.limit,
        digest=prompts_identity(settings.prompts),
        **({"categories": categories} if categories else {}),
        **({"carry": {"answer": "answer_line"}} if nano else {}),
    )


@operation(
    "math_problems",
    version=1,
    params=MathProblemsParams,
    rows="responses",
    batch_size=lambda _: 256,
    estimate=costs.rows_of("responses"),
)
def math_problems(
    context: Context,
    params: MathProblemsParams,
    batches: Iterable[list[Row]],
    *,
    responses: Artifact,
) -> Iterator[list[Row]]:
    """Response rows with a gold `answer`, an integer `level` and a `subject`, and clean responses.

    Raises:
        BadData: a row without a gold answer.
    """
    for batch in batches:
        yield [{**cleaned_row(row, params.cleaning), **problem_fields(row)} for row in batch]


def problem_fields(row: Row) -> Row:
    """Gold answer of a row, and its level and subject (None where it has none).

    Raises:
        BadData: no gold answer, or one of which nothing can be read.
    """
    answer = row.get("answer")
    if answer in (None, ""):
        boxes = (last_boxed(str(row[name])) for name in _SOLUTIONS if row.get(name))
        answer = next((box for box in boxes if box), None)
    if answer is None or not plain_form(str(answer)):
        raise BadData(
            f'problem "{row["id"]}" has no gold answer; expected `answer`, or a box at the end of '
            f"{' or '.join(_SOLUTIONS)}; it has {', '.join(sorted(row))}"
        )
    level = _LEVEL.fullmatch(str(row.get("level", "")))
    return {
        "answer": str(answer),
        "level": int(level[1]) if level else None,
        "subject": row.get("subject") or row.get("type"),
    }


@operation("score_domain_math", version=1, params=ScoreMathParams)
def score_domain_math(
    context: Context,
    params: ScoreMathParams,
    *,
    checks: Artifact,
    generations: Artifact | None = None,
    model: Artifact | None = None,
) -> None:
    """Write the cells of one system."""
    rows = sorted(checks.rows(), key=lambda row: str(row["id"]))
    turns = {row["id"]: [message["content"] for message in row["messages"]] for row in rows}
    maker = cell_maker(params, turns, checkpoint=model, samples=checks, generations=generations)
    write_cells(context, math_cells(maker, rows))


def math_cells(maker: CellMaker, rows: Sequence[Row]) -> list[Cell]:
    """The cells of checked rows."""
    ids = [row["id"] for row in rows]
    right = [float(bool(row["checks"][0]["correct"])) if row["checks"] else None for row in rows]
    reasons = Counter(
        row["checks"][0]["reason"] if row["checks"][0]["correct"] is None else ""
        for row in rows
        if row["checks"]
    )
    unsure = {f"not compared: {reason[:60]}": n for reason, n in reasons.items() if reason}
    failed = Counter(
        f"failed: {row.get('error') or 'no answer'}"[:68] for row in rows if not row["checks"]
    )
    more: dict[str, Any] = {"factor": 100.0}
    details = {**unsure, **failed}
    cells = [maker.mean_cell("accuracy", right, ids, details=details, **more)]
    lacking = [None if not row["found"] else float(_unanswered(row["found"][0])) for row in rows]
    more["primary"] = False
    cells.append(maker.mean_cell("unanswered_rate", lacking, ids, higher_is_better=False, **more))
    groups: dict[str, list[bool]] = {}
    for level in sorted({row["level"] for row in rows} - {None}):
        groups[f"level_{level}"] = [row["level"] == level for row in rows]
    for subject in sorted({row["subject"] for row in rows} - {None}):
        groups[subject] = [row["subject"] == subject for row in rows]
    for name, among in groups.items():
        cells.append(maker.mean_cell(f"accuracy:{name}", right, ids, among, **more))
    return cells


def _unanswered(found: str | None) -> bool:
    return found is None or not plain_form(found)
