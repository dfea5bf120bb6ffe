"""Hallucination suites: settings, and the stages of one system; README.md has the protocol.

judged   questions -> answers (-> confidence) -> hallucination -> helpfulness (-> refusals)
ROUGE    questions -> answers -> ROUGE against references
short    questions -> answers -> three grades
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

from pydantic import Field

from harness.core.errors import UserError
from harness.core.hashing import digest
from harness.data.question_sets import questions_identity
from harness.engine.plan import Handle, StageMaker
from harness.engine.recipe import Refers
from harness.models.references import model_identity
from harness.suites.base import (
    NANO,
    Decode,
    Metric,
    PromptSuiteSettings,
    Suite,
    System,
    answers_of,
    cell_arguments,
)
from harness.suites.hallucination.judging import MAX_TOKENS, Parser, ask_judge, judge_fingerprint
from harness.suites.hallucination.metrics import By
from harness.suites.hallucination.prompts import Question, prompt_hash
from harness.suites.hallucination.rouge import Rule

UNIT = "%"


class QuestionSettings(PromptSuiteSettings):
    """Settings of all suites on question sets.

    Attributes:
        prompts: the question set, see `harness.data.question_sets`.
        columns: columns of a foreign file: {question = "Frage"}.
        dedup: keep only the first of equal questions.
        decode: decoding settings of the system.
    """

    prompts: Annotated[str, Refers("prompts")] = "nano:facts"
    columns: Annotated[dict[str, str], Refers("layout")] = {}
    dedup: bool = False
    decode: Decode = Decode(max_tokens=1024)


class JudgedSettings(QuestionSettings):
    """Settings of suites with a judge.

    Attributes:
        judge: any model reference: openai:<model>[@<url>], nano:oracle, a checkpoint.
        parser: "robust", or "released" for the reading of replies as published, without a
            second request.
        judge_max_tokens: limit of its replies.
        judge_batch: rows judged together.
    """

    judge: Annotated[str, Refers("judge")] = "nano:oracle"
    parser: Parser = "robust"
    judge_max_tokens: int = Field(default=MAX_TOKENS, ge=1)
    judge_batch: int = Field(default=64, ge=1)


class HallucinationSettings(JudgedSettings):
    """Settings of judged sets.

    Attributes:
        refusals_by: what counts as a refusal: "exact" as released, "normalised", "patterns", or
            "judge", which asks the judge; see `harness.suites.hallucination.refusals`.
        judge_refusals: ask the judge about refusals without counting by it.
        helpfulness: also ask for helpfulness.
        confidence: read each answer once more for its mean token probability, for the curve of
            hallucination against coverage; needs a model with weights.
    """

    refusals_by: By = "patterns"
    judge_refusals: bool = False
    helpfulness: bool = True
    confidence: bool = False


class JudgeSettings(QuestionSettings):
    """Settings of the agreement of a judge with people; the evaluated model is the judge.

    Attributes:
        answer_column, label_column: of the set; "" finds the usual ones, see
            `harness.suites.hallucination.agreement`.
        parser, judge_max_tokens, judge_batch: see `JudgedSettings`.
    """

    prompts: Annotated[str, Refers("prompts")] = "nano:labelled"
    answer_column: Annotated[str, Refers("layout")] = ""
    label_column: Annotated[str, Refers("layout")] = ""
    parser: Parser = "robust"
    judge_max_tokens: int = Field(default=MAX_TOKENS, ge=1)
    judge_batch: int = Field(default=64, ge=1)


class RougeSettings(QuestionSettings):
    """Settings of sets with reference texts.

    Attributes:
        multi_ref: "last" reference as released, "max" or "mean" over all.
        rouge_unicode: also score words of every script, as `rouge1_unicode` and so on.
    """

    prompts: Annotated[str, Refers("prompts")] = "nano:notes"
    multi_ref: Rule = "last"
    rouge_unicode: bool = False


def plan_judged(
    name: str, system: System, settings: HallucinationSettings, stage: StageMaker
) -> Handle:
    """The stages of one system on a judged set.

    Raises:
        UserError: confidence of a system without weights.
    """
    questions, answers = _answered(name, system, settings, stage)
    asked: list[Question] = ["hallucination"]
    asked += ["helpfulness"] if settings.helpfulness else []
    asked += ["refusal"] if settings.judge_refusals or settings.refusals_by == "judge" else []
    rows = _with_confidence(system, answers, stage) if settings.confidence else answers
    return stage(
        "score_hallucination",
        judgments=_judged(settings, rows, asked, stage),
        generations=answers,
        questions=questions,
        **system.links(),
        refusals_by=settings.refusals_by,
        parser=settings.parser,
        **_arguments(name, system, settings, *_judge(settings, asked)),
    )


def plan_short(name: str, system: System, settings: JudgedSettings, stage: StageMaker) -> Handle:
    """The stages of one system on short questions with a reference."""
    questions, answers = _answered(name, system, settings, stage)
    return stage(
        "score_short_facts",
        judgments=_judged(settings, answers, ["grade"], stage),
        generations=answers,
        questions=questions,
        **system.links(),
        **_arguments(name, system, settings, *_judge(settings, ["grade"])),
    )


def plan_judge(name: str, system: System, settings: JudgeSettings, stage: StageMaker) -> Handle:
    """The stages of one judge, which is the evaluated system, on answers labelled by people.

    Raises:
        UserError: the judge is a program or a file of outputs.
    """
    if system.model is None or system.program is not None or system.stored:
        raise UserError(f"{system.name} cannot judge; expected a model such as openai:gpt-4")
    questions = _questions(settings, stage)
    columns = {"answer": settings.answer_column, "label": settings.label_column}
    answers = stage("label_answers", questions=questions, **columns)
    rows = ask_judge(
        system.model,
        answers,
        "hallucination",
        stage,
        parser=settings.parser,
        max_tokens=settings.judge_max_tokens,
        batch_size=settings.judge_batch,
    )
    rules = [prompt_hash("hallucination"), settings.parser]
    return stage(
        "score_judge",
        judgments=rows,
        questions=questions,
        **system.links(),
        parser=settings.parser,
        **_arguments(name, system, settings, "people", digest(rules)[:16]),
    )


def plan_rouge(name: str, system: System, settings: RougeSettings, stage: StageMaker) -> Handle:
    """The stages of one system on a set with reference texts."""
    questions, answers = _answered(name, system, settings, stage)
    how = {"rule": settings.multi_ref, "unicode": settings.rouge_unicode}
    return stage(
        "score_rouge",
        samples=stage("rouge_answers", answers=answers, **how),
        generations=answers,
        questions=questions,
        **system.links(),
        **_arguments(name, system, settings, "", digest(["rouge", 1, settings.multi_ref])[:16]),
    )


def _answered(
    name: str, system: System, settings: QuestionSettings, stage: StageMaker
) -> tuple[Handle, Handle]:
    """Questions and the system's answers."""
    questions = _questions(settings, stage)
    return questions, answers_of(system, questions, settings, settings.decode, stage, name)


def _questions(settings: QuestionSettings, stage: StageMaker) -> Handle:
    return stage(
        "import_question_set",
        ref=settings.prompts,
        limit=settings.limit,
        digest=questions_identity(settings.prompts),
        columns=settings.columns,
        dedup=settings.dedup,
    )


def _judged(
    settings: JudgedSettings, rows: Handle, asked: list[Question], stage: StageMaker
) -> Handle:
    """The rows with the judge's outcomes, one stage per question."""
    judge = stage(
        "import_model",
        ref=settings.judge,
        digest=model_identity(settings.judge),
        label=f"judge {settings.judge}",
    )
    for question in asked:
        rows = ask_judge(
            judge,
            rows,
            question,
            stage,
            parser=settings.parser,
            max_tokens=settings.judge_max_tokens,
            batch_size=settings.judge_batch,
        )
    return rows


def _judge(settings: JudgedSettings, asked: list[Question]) -> tuple[str, str]:
    """Reference of the judge, and its fingerprint."""
    found = judge_fingerprint(settings.judge, asked, settings.parser, settings.judge_max_tokens)
    return settings.judge, found


def _with_confidence(system: System, answers: Handle, stage: StageMaker) -> Handle:
    if system.model is None or system.program is not None or system.stored:
        raise UserError(
            f"{system.name} has no weights of its own to read its answers with; set "
            "confidence = false, or name a checkpoint"
        )
    return stage(
        "score_texts",
        rows=answers,
        model=system.model,
        texts="responses",
        into="confidence_scores",
    )


def _arguments(
    name: str, system: System, settings: QuestionSettings, judge: str, fingerprint: str
) -> dict[str, Any]:
    identity = questions_identity(settings.prompts)
    data = "" if settings.prompts.startswith(NANO) else identity
    judging = {"judge": judge or None, "fingerprint": fingerprint}
    return cell_arguments(name, system, settings, judging, settings.decode, data)


_JUDGED_METRICS = (
    Metric("hallucination_rate", UNIT, "over all answers; refused and empty ones contain none"),
    Metric("hallucination_rate:answered", UNIT, "among the answered"),
    Metric("helpfulness", "1 to 10", "the judge's rating, refusals included"),
    Metric("refusal_rate", UNIT, "answers that decline as a whole"),
    Metric("hallucination_rate:*", UNIT, "by knowledge, class or confidence", primary=False),
    Metric("refusal_rate:*", UNIT, "by level of detection", primary=False),
    Metric("partial_refusals", UNIT, "refusals that go on with content", primary=False),
    Metric("coverage", UNIT, "questions that were answered", primary=False),
    Metric("refusal_precision", UNIT, "refused whose fact is unknown", primary=False),
    Metric("refusal_recall", UNIT, "unknown facts that were refused", primary=False),
    Metric("risk_coverage_area", UNIT, "mean rate over shares of confidence", primary=False),
)
_ROUGE_METRICS = (
    Metric("rouge1", "F1 x100", "single words"),
    Metric("rouge2", "F1 x100", "pairs of words"),
    Metric("rougeL", "F1 x100", "longest common subsequence of the text as one sentence"),
    Metric("rougeLsum", "F1 x100", "the same by lines"),
    Metric("rouge*_unicode", "F1 x100", "words of every script", primary=False),
)
_SHORT_METRICS = (
    Metric("correct", UNIT, "questions answered correctly"),
    Metric("correct_given_attempted", UNIT, "correct among the attempted"),
    Metric("f_score", UNIT, "harmonic mean of the two"),
    Metric("incorrect", UNIT, "wrong answers", primary=False),
    Metric("not_attempted", UNIT, "answers that neither hit nor miss", primary=False),
)
_JUDGE_METRICS = (
    Metric("judge_precision", UNIT, "of the judge's positives, those of the people"),
    Metric("judge_recall", UNIT, "of the people's positives, those of the judge"),
    Metric("judge_f1", UNIT, "harmonic mean of the two"),
    Metric("judge_kappa", "-1 to 1", "Cohen's kappa"),
    Metric("judge_agreement", UNIT, "equal verdicts"),
)
_KCA = "arXiv:2401.10768"
_GPT4 = {"judge": "openai:gpt-4"}


def _suite(
    name: str,
    summary: str,
    metrics: tuple[Metric, ...],
    settings: type[QuestionSettings],
    plan: Callable[..., Handle],
    official: dict[str, str] | None,
    **more: Any,
) -> Suite:
    editions = {"nano": {}} if official is None else {"nano": {}, "official": official}
    return Suite(
        name, 1, summary, metrics, settings, partial(plan, name), editions=editions, **more
    )


def _judged_suite(name: str, summary: str, official: str = "") -> Suite:
    edition = {"prompts": f"official:{official}", **_GPT4} if official else None
    return _suite(
        name, summary, _JUDGED_METRICS, HallucinationSettings, plan_judged, edition, paper=_KCA
    )


def _rouge_suite(name: str, summary: str, official: str) -> Suite:
    edition = {"prompts": f"official:{official}"}
    more = {"paper": _KCA, "needs": ("rouge",)}
    return _suite(name, summary, _ROUGE_METRICS, RougeSettings, plan_rouge, edition, **more)


SUITE = _judged_suite("hallucination", "invented facts in answers, judged; any question set")
LIMA = _judged_suite("hallucination_lima", "invented facts, LIMA's test prompts", "lima_eval")
VICUNA = _judged_suite("hallucination_vicuna", "invented facts, VicunaBench", "vicuna_eval")
WIZARDLM = _judged_suite(
    "hallucination_wizardlm", "invented facts, the WizardLM test set", "wizardlm_eval"
)
TRUTHFULQA = _judged_suite("hallucination_truthfulqa", "invented facts, TruthfulQA", "truthfulqa")
MS_MARCO = _rouge_suite("rouge_ms_marco", "answers from passages, ROUGE", "ms_marco")
ACI_BENCH = _rouge_suite("rouge_aci_bench", "clinical notes of dialogues, ROUGE", "aci_bench")
SIMPLE_QA = _suite(
    "simple_qa",
    "short facts: correct, incorrect or not attempted",
    _SHORT_METRICS,
    JudgedSettings,
    plan_short,
    {"prompts": "official:simple_qa", **_GPT4},
    paper="arXiv:2411.04368",
)
HALLUCINATION_JUDGE = _suite(
    "hallucination_judge",
    "the model as a judge of hallucination, against labels made by people",
    _JUDGE_METRICS,
    JudgeSettings,
    plan_judge,
    {"prompts": "official:halueval_general"},
    paper="arXiv:2305.11747",
)
