"""Task-oriented dialogue with a knowledge base: MultiWOZ 2.1, CamRest676, SMD, and the nano world.

Given the dialogue so far and the records of a knowledge base, a system writes the next turn; no
belief states, no acts. Protocol:

1. a system gets the context, the facts of its session (booking reference, number of matches), and
   the records: those of the session (condensed) or the shared base of all dialogues (large-scale);
2. it answers with a text, with the records that it retrieved, or with both;
3. score: corpus BLEU, Entity F1, and Recall@K over turns that mention a place first.

A chat model is asked once per turn with the first k records of a retriever. A program answers the
task `reply`; see `harness.suites.dialogue.programs`.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal

from pydantic import Field

from harness.core.errors import BadRecord
from harness.core.hashing import digest, seed_from
from harness.core.records import Record
from harness.data.dialogues import ChosenRules, dialogues_identity
from harness.engine.plan import Handle, StageMaker
from harness.engine.recipe import Refers
from harness.suites.base import NANO, Decode, Metric, Program, Suite, System
from harness.suites.dialogue.answering import Base
from harness.suites.dialogue.programs import TASK, asking, retrieving

UNIT = "%"
SCORING = 1  # version of normaliser, extraction and metrics


class DialogueSettings(Record):
    """Settings of every suite of dialogues.

    Attributes:
        dialogues: turns to answer, see `harness.data.dialogues`.
        train, valid: training and validation dialogues for systems that learn; "" takes the splits
            of a nano set, none of another.
        base, entities, rules, columns: see `harness.data.dialogues.ImportDialoguesParams`.
        limit: number of dialogues, from the first.
        knowledge: "session" (condensed) or "shared" (large-scale).
        retriever, retriever_settings: that of chat models, see
            `harness.suites.dialogue.retrievers`.
        encoder: model of a dense retriever; "" for none.
        k: number of records in the prompt of a chat model.
        prompt: its prompt builder, a function of (row, k), see `harness.suites.dialogue.prompts`.
        recall_at: values of K.
        decode: decoding settings of chat models.
        batch_size: turns that a model answers together.
        released: data and metrics as in the released code of the papers; see the README.
        rounds: resamples of the dialogues per interval.
    """

    dialogues: Annotated[str, Refers("dialogues")] = "nano:dialogues"
    train: Annotated[str, Refers("dialogues")] = ""
    valid: Annotated[str, Refers("dialogues")] = Field(default="", exclude_if=lambda v: not v)
    base: Annotated[str, Refers("dialogues")] = ""
    entities: Annotated[str, Refers("dialogues")] = ""
    rules: Annotated[ChosenRules, Refers("layout")] = ""
    columns: Annotated[dict[str, str], Refers("layout")] = {}
    limit: int | None = Field(default=None, ge=1)
    knowledge: Base = "shared"
    retriever: str = "value_frequency"
    retriever_settings: dict[str, Any] = {}
    encoder: Annotated[str, Refers("encoder")] = ""
    k: int = Field(default=5, ge=1)
    prompt: str = "dialogue_reply"
    recall_at: tuple[int, ...] = Field(default=(1, 5, 7), min_length=1)
    decode: Decode = Decode(max_tokens=64)
    batch_size: int = Field(default=16, ge=1)
    released: bool = False
    rounds: int = Field(default=1000, ge=1)

    @property
    def keep(self) -> int:
        """Number of records that a retriever keeps per turn."""
        return max(self.k, *self.recall_at)


def plan(name: str, system: System, settings: DialogueSettings, stage: StageMaker) -> Handle:
    """Stages of one system.

    Raises:
        UserError: the system does not reply to dialogues, or the data cannot be found.
    """
    if min(settings.recall_at) < 1:
        raise BadRecord(f"recall_at is {settings.recall_at}; expected values of K of at least 1")
    program = system.program_for(TASK, name)
    identity = dialogues_identity(settings.dialogues, settings.base, settings.entities)
    dialogues = imported(settings, settings.dialogues, stage, digest=identity, limit=settings.limit)
    fingerprint = system.decode_fingerprint(settings.decode)
    if system.stored:
        replies = _stored(system, dialogues, stage)
    else:
        if program is None:
            program = _asking(system, settings)
            fingerprint = digest([fingerprint, program.fingerprint])[:16]
        replies = program.answer(
            dialogues,
            stage,
            knowledge=settings.knowledge,
            keep=settings.keep,
            decode=system.decode or settings.decode,
            seed=seed_from(system.seed, name) % 2**31,
            batch_size=settings.batch_size,
            train=_split(settings, "train", dialogues, stage),
            valid=_split(settings, "valid", dialogues, stage),
        )
    return stage(
        "score_dialogue",
        dialogues=dialogues,
        replies=replies,
        **system.links(),
        knowledge=settings.knowledge,
        recall_at=settings.recall_at,
        released=settings.released,
        suite=name,
        system=system.name,
        scale=system.scale,
        seed=system.seed,
        judge_fingerprint=digest(["dialogue", SCORING, settings.knowledge, settings.released])[:16],
        decode_fingerprint=fingerprint,
        rounds=settings.rounds,
        data="" if settings.dialogues.startswith(NANO) else identity,
        **({"stored": True} if system.stored else {}),
    )


def imported(settings: DialogueSettings, ref: str, stage: StageMaker, **more: Any) -> Handle:
    """The stage that imports dialogues, with the suite's way of reading them."""
    how = settings.model_dump(include={"base", "entities", "rules", "columns", "released"})
    return stage("import_dialogues", ref=ref, **how, **more)


def _split(
    settings: DialogueSettings, name: Literal["train", "valid"], test: Handle, stage: StageMaker
) -> Handle | None:
    ref = settings.train if name == "train" else settings.valid
    if not ref and settings.dialogues.startswith(NANO):
        ref = f"{settings.dialogues}/{name}"
    if not ref:
        return None
    identity = dialogues_identity(ref, settings.base, settings.entities)
    return imported(settings, ref, stage, digest=identity, apart=test)


def _stored(system: System, dialogues: Handle, stage: StageMaker) -> Handle:
    """Stored outputs, found by the id of the turn: "<dialogue>/<turn>"."""
    assert system.model is not None
    return stage(
        "sample",
        prompts=dialogues,
        model=system.model,
        system=system.name,
        on_error="record",
        **Decode().model_dump(),
    )


def _asking(system: System, settings: DialogueSettings) -> Program:
    assert system.model is not None  # a system has a model or a program
    how = settings.retriever_settings
    retriever = retrieving(settings.retriever, how, settings.encoder)
    return asking(system.model, retriever, settings.k, settings.prompt)


_METRICS = (
    Metric("bleu", UNIT, "corpus BLEU, equal to Moses multi-bleu"),
    Metric("entity_f1_surface_micro", UNIT, "values in the text of both sides"),
    Metric("recall_turn:1", UNIT, "turns with all gold values in the best record"),
    Metric("recall_turn:7", UNIT, "turns with all gold values in the best 7 records"),
    Metric("recall_turn:*", UNIT, "the same for other K", primary=False),
    Metric("entity_f1_surface_micro:*", UNIT, "one domain", primary=False),
    Metric("entity_f1_strict", UNIT, "with values in replies that need none", primary=False),
    Metric("entity_f1_gold_micro", UNIT, "annotated values", primary=False),
    Metric("entity_f1_gold_macro", UNIT, "mean over turns with annotated values", primary=False),
    Metric("recall_value:*", UNIT, "gold values in the top K records", primary=False),
    Metric("recall_name:*", UNIT, "gold names among the top K records", primary=False),
    Metric("sacrebleu", UNIT, "sacreBLEU; signature in the details", primary=False),
    Metric("*_ceiling", UNIT, "score of the references or of the whole base", primary=False),
)


class CamrestSettings(DialogueSettings):
    """Settings of the suite `dialogue_camrest`."""


class MultiwozSettings(DialogueSettings):
    """Settings of the suite `dialogue_multiwoz`."""


class SmdSettings(DialogueSettings):
    """Settings of the suite `dialogue_smd`; its records differ between dialogues."""

    knowledge: Base = "session"


def _suite(
    name: str, settings: type[DialogueSettings], summary: str, official: dict[str, Any]
) -> Suite:
    # Nano models read 256 tokens.
    nano = {"k": 2, "prompt": "dialogue_reply_short"}
    return Suite(
        name=name,
        version=SCORING,
        summary=summary,
        metrics=_METRICS,
        settings=settings,
        plan=partial(plan, name),
        paper="arXiv:2310.08877",
        editions={"nano": nano, "official": official} if official else {"nano": nano},
    )


SUITE = _suite("dialogue", DialogueSettings, "replies that need one record among look-alikes", {})
CAMREST_SUITE = _suite(
    "dialogue_camrest",
    CamrestSettings,
    "CamRest676: restaurants; BLEU, Entity F1, Recall@K",
    {
        "dialogues": "official:camrest_test",
        "train": "official:camrest_train",
        "valid": "official:camrest_val",
    },
)
MULTIWOZ_SUITE = _suite(
    "dialogue_multiwoz",
    MultiwozSettings,
    "MultiWOZ 2.1, single domains; BLEU, Entity F1, Recall@K",
    {"dialogues": "official:mwoz_test", "valid": "official:mwoz_val"},
)
SMD_SUITE = _suite(
    "dialogue_smd",
    SmdSettings,
    "SMD (KVRET): an in-car assistant; BLEU, Entity F1",
    {
        "dialogues": "official:smd_test",
        "train": "official:smd_train",
        "valid": "official:smd_val",
    },
)
