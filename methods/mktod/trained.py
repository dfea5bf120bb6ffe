"""Plans of the trained systems.

    distant_supervision   retriever of appendix D; no text
    mktod                 generator and retriever, trained together
    mktod_retriever       the retriever of `mktod`; no text

All learn from the training dialogues of their suite (settings.train), among its records.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.core.errors import BadRecord
from harness.core.hashing import digest
from harness.core.records import identity
from harness.engine.plan import Handle, StageMaker
from harness.engine.preconditions import Precondition, Preconditions
from harness.engine.recipe import Method
from harness.suites.base import Program
from harness.suites.dialogue.programs import TASK, retrieving
from harness.training import from_responses
from methods.mktod.recipe import DialogueRecipe, encoder

RECIPE = Path(__file__).with_name("recipe.toml")


def retriever(recipe: DialogueRecipe, stage: StageMaker) -> Program:
    """The retriever after distant supervision."""

    def answer(dialogues: Handle, stage: StageMaker, **how: Any) -> Handle:
        trained = _retriever(recipe, stage, _train(how, "distant_supervision"), how)
        return retrieving("dense", encoder=trained).answer(dialogues, stage, **how)

    settings = identity(recipe.retriever)
    return Program(TASK, answer, fingerprint=digest(["distant_supervision", settings])[:16])


def joint(writes: bool) -> Callable[[DialogueRecipe, StageMaker], Program]:
    """The jointly trained system.

    Args:
        writes: with replies; else its retriever alone.
    """

    def plan(recipe: DialogueRecipe, stage: StageMaker) -> Program:
        def answer(dialogues: Handle, stage: StageMaker, **how: Any) -> Handle:
            train = _train(how, "mktod")
            valid = {} if how["valid"] is None else {"valid": how["valid"]}
            system = stage(
                "train_mktod",
                dialogues=train,
                generator=_generator(recipe, stage, train),
                retriever=_retriever(recipe, stage, train, how),
                **valid,
                **{**recipe.seeded(recipe.joint), "knowledge": how["knowledge"]},
                label="train generator and retriever",
            )
            return stage(
                "reply_with_records",
                dialogues=dialogues,
                system=system,
                knowledge=how["knowledge"],
                keep=how["keep"],
                batch_size=how["batch_size"],
                writes=writes,
                label="reply" if writes else "retrieve (trained)",
            )

        tables = (recipe.retriever, recipe.joint, recipe.scratch)
        settings = [identity(table) for table in tables]
        return Program(TASK, answer, fingerprint=digest(["mktod", writes, *settings])[:16])

    return plan


def _train(how: dict[str, Any], method: str) -> Handle:
    train: Handle | None = how["train"]
    if train is None:
        raise BadRecord(
            f'the method "{method}" learns from training dialogues; give the suite some: '
            'settings = { train = "FILE" }'
        )
    return train


def _retriever(
    recipe: DialogueRecipe, stage: StageMaker, train: Handle, how: dict[str, Any]
) -> Handle:
    found: Handle = stage(
        "train_retriever",
        dialogues=train,
        encoder=encoder(recipe, "distant_supervision", stage),
        **{**recipe.seeded(recipe.retriever), "knowledge": how["knowledge"]},
        label="pre-train the retriever",
    )
    return found


def _generator(recipe: DialogueRecipe, stage: StageMaker, train: Handle) -> Handle:
    spec = recipe.models.generator
    found: Handle
    if spec is not None:
        found = from_responses.model(spec, stage)
    else:
        found = stage("new_generator", dialogues=train, **recipe.seeded(recipe.scratch))
    return found


DISTANT_SUPERVISION = Method("distant_supervision", DialogueRecipe, retriever)
PRECONDITIONS = Preconditions(
    (
        Precondition(
            text="turns whose values the first record has, before the joint training",
            needs="above chance, below 100 %: a retriever to start from, and something to gain",
            metric="recall_turn:1",
            suite="dialogue",
            systems=("distant_supervision",),
        ),
        Precondition(
            text="turns whose entity is among the first seven records",
            needs="many: the generator can copy what it needs",
            metric="recall_name:7",
            suite="dialogue",
        ),
    )
)
MKTOD = Method("mktod", DialogueRecipe, joint(writes=True), RECIPE, preconditions=PRECONDITIONS)
MKTOD_RETRIEVER = Method("mktod_retriever", DialogueRecipe, joint(writes=False))
