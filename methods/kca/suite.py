"""Suite `knowledge_exam`: how many questions a model has the knowledge for.

Protocol: a helper writes knowledge and an exam for each question that needs facts; the model takes
the exam as plain text, without a chat template; a question is consistent if the share of right
answers exceeds tau. The paper draws this share for each base model beside the hallucination rate of
its standard tuning (`methods.kca.figure`).

    inconsistent, consistent   % of all questions
    exam_accuracy              % of exam questions answered correctly
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from harness.core.hashing import digest
from harness.data.question_sets import questions_identity
from harness.engine.operations import Artifact, Context, operation
from harness.engine.plan import Handle, StageMaker
from harness.engine.recipe import Refers
from harness.models.references import model_identity
from harness.suites.base import NANO, Metric, PromptSuiteSettings, Suite, System
from harness.suites.scoring import CellParams, cell_maker, write_cells
from methods.kca.decisions import Decision, Outcome
from methods.kca.examination import ExamSettings
from methods.kca.method import HELPER, HelperSettings, asked, exam_of
from methods.kca.operations import part_of, report


class KnowledgeExamSettings(PromptSuiteSettings):
    """Settings of the suite.

    Attributes:
        prompts: question set, see `harness.data.question_sets`.
        helper: model reference of the helper; any judge.
        asking, exam, decision: as in a recipe of KCA.
    """

    prompts: Annotated[str, Refers("prompts")] = "nano:planted/test"
    helper: Annotated[str, Refers("judge")] = HELPER
    asking: HelperSettings = HelperSettings()
    exam: ExamSettings = Field(default_factory=ExamSettings)
    decision: Decision = Decision()


def plan(system: System, settings: KnowledgeExamSettings, stage: StageMaker) -> Handle:
    """The stages of one model."""
    system.program_for("log_likelihoods", "knowledge_exam")  # refuses programs
    identity = questions_identity(settings.prompts)
    questions = stage(
        "import_question_set", ref=settings.prompts, limit=settings.limit, digest=identity
    )
    helper = stage("import_model", ref=settings.helper, digest=model_identity(settings.helper))
    rows = asked(questions, helper, settings.asking, stage)
    assert system.model is not None  # a system is a program or has a model
    outcomes = exam_of(system.model, rows, settings.exam, settings.asking.max_questions, stage)
    rules = [settings.asking.model_dump(mode="json"), settings.exam.model_dump(mode="json")]
    return stage(
        "score_knowledge_exam",
        outcomes=outcomes,
        **system.links(),
        suite="knowledge_exam",
        system=system.name,
        scale=system.scale,
        seed=system.seed,
        judge=settings.helper,
        judge_fingerprint=digest([model_identity(settings.helper), rules])[:16],
        decode_fingerprint=digest(["knowledge exam", 1])[:16],
        rounds=settings.rounds,
        data="" if settings.prompts.startswith(NANO) else identity,
        **settings.decision.model_dump(),
    )


class ScoreExamParams(CellParams, Decision):
    """Parameters of `score_knowledge_exam`."""


@operation("score_knowledge_exam", version=1, params=ScoreExamParams)
def score_knowledge_exam(
    context: Context,
    params: ScoreExamParams,
    *,
    outcomes: Artifact,
    model: Artifact | None = None,
) -> None:
    """Write the cells of one model, with the sizes of the five parts as details."""
    rows = sorted(outcomes.rows(), key=lambda row: str(row["id"]))  # as other question suites do
    texts = {row["id"]: [message["content"] for message in row["messages"]] for row in rows}
    maker = cell_maker(params, texts, checkpoint=model, outcomes=outcomes)
    parts = [part_of(row, params.tau, params.min_questions, params.rule) for row in rows]
    clusters = list(texts)
    found = report(rows)
    prior = outcomes.read_json("report.json")["letter_prior"] or {}
    details = {f"n_{part}": parts.count(part) for part in dict.fromkeys(parts)}
    details |= {
        f"exams of {n} questions": one["instances"] for n, one in found["by_questions"].items()
    }
    details |= {f"prior of {letter}": share for letter, share in prior.items()}
    cells = [
        maker.mean_cell(
            part,
            [float(one == part) for one in parts],
            clusters,
            factor=100,
            unit="%",
            higher_is_better=part == "consistent",
            primary=part == "inconsistent",
            details=details,
        )
        for part in ("inconsistent", "consistent")
    ]
    accuracy = [Outcome.model_validate(row["outcome"]).accuracy for row in rows]
    examined = [one is not None for one in accuracy]
    cells.append(
        maker.mean_cell(
            "exam_accuracy", accuracy, clusters, examined, factor=100, unit="%", primary=False
        )
    )
    write_cells(context, cells)


SUITE = Suite(
    name="knowledge_exam",
    version=1,
    summary="questions whose facts a model does or does not know, by an exam of plain text",
    metrics=(
        Metric("inconsistent", "%", "questions whose facts the model does not know"),
        Metric("consistent", "%", "questions whose facts it knows", primary=False),
        Metric("exam_accuracy", "%", "right answers in the exams", primary=False),
    ),
    settings=KnowledgeExamSettings,
    plan=plan,
    paper="arXiv 2401.10768",
    needs=("train",),
    editions={"nano": {}},
)
