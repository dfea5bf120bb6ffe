"""KCA: knowledge consistent alignment (arXiv 2401.10768).

Supervised fine-tuning on facts that a base model does not know teaches it to invent facts. KCA
finds, for each base model, the instructions that need such facts, and changes what it is taught:

    instruction ──> needs facts? ──> reference knowledge ──> three questions   (helper model)
    exam ──> base model ──> share of right answers > tau: consistent, else inconsistent
    inconsistent rows ──> open-book: knowledge before the instruction
                          discard:   left out
                          refusal:   answered by a refusal
    all rows ──> SFT

`prompts` and `parsing` contain the three stages of the helper, `examination` the exam, `decisions`
the threshold, `strategies` the training rows; `*_released` the released code's behaviour.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from harness.core.records import Record
from harness.distillation.corpus import DOCUMENTS
from harness.engine.operations import Estimate
from harness.engine.plan import Handle, StageMaker
from harness.engine.preconditions import Preconditions
from harness.engine.recipe import Method, ModelSpec, Recipe, Refers, Rehearsed
from harness.training.from_responses import model
from harness.training.sft import SftParams
from methods.kca.decisions import Decision
from methods.kca.examination import ExamSettings
from methods.kca.preconditions import LISTED, exam_checked
from methods.kca.prompts import ParserMode
from methods.kca.replies_released import replies_identity

RECIPE = Path(__file__).with_name("recipe.toml")
HELPER = "nano:helper"


class Models(Record):
    """The base model that is examined and tuned; the helper: a model or any judge reference."""

    base: ModelSpec
    helper: Annotated[ModelSpec, Rehearsed(lambda spec: ModelSpec(ref=HELPER))]


class Replay(Record):
    """Stored replies of the released code (data/generation_results), instead of a helper.

    Attributes:
        classified: file of stage 1, .json or .jsonl; "" asks the helper.
        examined: file of stage 3, with the knowledge of stage 2 inside.
    """

    classified: str = ""
    examined: str = ""


class Data(Record):
    """Instruction data, see `methods.kca.instructions`.

    Attributes:
        expected_rows: size of the whole set, for the estimates of a plan.
        replay: stored replies; they contain the instructions as well.
    """

    instructions: Annotated[str, Refers("documents")]
    split: Annotated[str, Refers("layout")] = "train"
    revision: Annotated[str | None, Refers("layout")] = None
    limit: int | None = Field(default=None, ge=1)
    expected_rows: int | None = None
    replay: Annotated[Replay, Rehearsed(lambda replay: Replay())] = Replay()


class HelperSettings(Record):
    """How the helper is asked, and its replies are read.

    Attributes:
        parser: "released" reads replies as the released code does and never asks again.
        retries: how often an unreadable reply is asked for again.
        max_questions: questions per exam.
    """

    parser: ParserMode = "robust"
    temperature: float = Field(default=0.0, ge=0)
    max_tokens: int = Field(default=1024, ge=1)
    retries: int = Field(default=1, ge=0)
    max_questions: int = Field(default=3, ge=1)
    batch_size: int = Field(default=64, ge=1)


class KCARecipe(Recipe):
    """Settings of KCA and its baselines.

    Attributes:
        strategy: what becomes of inconsistent rows: open_book, discard, refusal, standard, or
            "package.module:function" (`methods.kca.strategies.Strategy`).
        rows: "decided" trains on instances with a decision; "all" on unread and unexamined ones
            too, as plain standard tuning does.
    """

    models: Models
    data: Data
    helper: HelperSettings = HelperSettings()
    exam: ExamSettings = ExamSettings()
    decision: Decision = Decision()
    strategy: str = "refusal"
    rows: Literal["decided", "all"] = "decided"
    sft: SftParams


def instances(recipe: KCARecipe, stage: StageMaker) -> Handle:
    """Instructions with requirement, knowledge and exam; shared by all base models."""
    data, helper = recipe.data, recipe.helper
    if data.replay != Replay():
        return stage(
            "import_kca_replies",
            **data.replay.model_dump(),
            files=replies_identity(data.replay.classified, data.replay.examined),
            parser=helper.parser,
            max_questions=helper.max_questions,
            limit=data.limit,
            label="stored replies",
        )
    rows = stage(
        "import_instructions",
        ref=data.instructions,
        split=data.split,
        revision=data.revision,
        limit=data.limit,
        digest=DOCUMENTS.identity(data.instructions, data.revision),
        label="instructions",
        hint=Estimate(rows=data.limit or data.expected_rows),
    )
    helped = model(recipe.models.helper, stage)
    return asked(rows, helped, helper, stage, recipe.seed)


def asked(
    rows: Handle, helper: Handle, settings: HelperSettings, stage: StageMaker, seed: int = 0
) -> Handle:
    """Rows with the helper's three replies: requirement, knowledge and exam."""
    parser = {"parser": settings.parser}
    reads: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("requirement", "kca_requirement", parser),
        ("knowledge", "text", {}),
        ("exam", "kca_exam", {**parser, "max_questions": settings.max_questions}),
    )
    for name, reader, how in reads:
        rows = stage(
            "ask",
            rows=rows,
            model=helper,
            prompt=f"kca_{name}",
            reader=reader,
            reader_settings=how,
            into=name,
            retries=0 if settings.parser == "released" else settings.retries,
            temperature=settings.temperature,
            max_tokens=settings.max_tokens,
            batch_size=settings.batch_size,
            seed=seed if settings.temperature else 0,
            label=f"helper: {name}",
        )
    return rows


def examined(recipe: KCARecipe, stage: StageMaker) -> Handle:
    """Instances with the outcome of the base model's exam."""
    rows, subject = instances(recipe, stage), model(recipe.models.base, stage)
    name = recipe.models.base.display_name()
    return exam_of(subject, rows, recipe.exam, recipe.helper.max_questions, stage, name)


def exam_of(
    subject: Handle,
    rows: Handle,
    exam: ExamSettings,
    max_questions: int,
    stage: StageMaker,
    name: str = "model",
) -> Handle:
    """Instances with the outcome of a model's exam."""
    questions = stage(
        "kca_questions",
        instances=rows,
        form=exam.form,
        shifts=exam.shifts,
        max_questions=max_questions,
        label="exam questions",
    )
    scored = stage(
        "score_texts",
        rows=questions,
        model=subject,
        prompt="kca_question",
        prompt_settings=exam.prompt_settings(),
        form="text",
        batch_size=exam.batch_size,
        label=f"exam of {name}",
    )
    return stage(
        "kca_outcomes", instances=rows, scored=scored, form=exam.form, label="exam outcomes"
    )


def tuned(recipe: KCARecipe, stage: StageMaker) -> Handle:
    """The base model after SFT on the rows of the recipe's strategy."""
    rows = stage(
        "kca_rows",
        examined=examined(recipe, stage),
        strategy=recipe.strategy,
        rows=recipe.rows,
        **recipe.decision.model_dump(),
        label=f"rows: {recipe.strategy}",
    )
    return stage(
        "train_sft",
        rows=rows,
        model=model(recipe.models.base, stage),
        label=f"SFT: {recipe.strategy}",
        **{**recipe.sft.model_dump(), "seed": recipe.seed},
    )


def with_strategy(**fixed: str) -> Callable[[KCARecipe, StageMaker], Handle]:
    """The plan of one strategy, whatever the recipe's."""

    def plan(recipe: KCARecipe, stage: StageMaker) -> Handle:
        return tuned(recipe.model_copy(update=fixed), stage)

    return plan


def base(recipe: KCARecipe, stage: StageMaker) -> Handle:
    """The base model before any tuning."""
    return model(recipe.models.base, stage)


def measured(
    recipe: KCARecipe, stage: StageMaker, planned: Any, **about: Any
) -> tuple[Handle, ...]:
    """What the base model has seen, and whether the exam says so."""
    return exam_checked(recipe, stage, lambda: examined(recipe, stage), about)


PRECONDITIONS = Preconditions(LISTED, measured)
KCA = Method("kca", KCARecipe, tuned, RECIPE, preconditions=PRECONDITIONS)
OPEN_BOOK = Method(
    "kca_open_book",
    KCARecipe,
    with_strategy(strategy="open_book", rows="decided"),
    preconditions=PRECONDITIONS,
)
DISCARD = Method(
    "kca_discard",
    KCARecipe,
    with_strategy(strategy="discard", rows="decided"),
    preconditions=PRECONDITIONS,
)
REFUSAL = Method(
    "kca_refusal",
    KCARecipe,
    with_strategy(strategy="refusal", rows="decided"),
    preconditions=PRECONDITIONS,
)
STANDARD = Method("kca_standard", KCARecipe, with_strategy(strategy="standard", rows="all"))
SAME_IDS = Method("kca_same_ids", KCARecipe, with_strategy(strategy="standard", rows="decided"))
BASE = Method("kca_base", KCARecipe, base)
