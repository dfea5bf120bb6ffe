"""MK-TOD (arXiv 2310.08877) without training: retrievers, and a chat model told about them.

    value_frequency   number of a record's values in the dialogue (table 9: "Frequency")
    bm25              BM25 (table 9)
    dense_zero_shot   cosine of an encoder that was not trained for the task
    slot_matching     ours: last mention of each attribute
    slot_hybrid       ours: slot matching, the encoder where nothing matches
    records_chat      a chat model with the records of a retriever (table 1: "ChatGPT")
    mktod_chat        the same, told rank, confidence and co-occurrence of each record

Retrievers have Recall@K and no text. The paper's chat model gets the records of a trained
retriever; here `retrieval` names any retriever.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.core.errors import BadRecord
from harness.engine.plan import Handle, StageMaker
from harness.engine.recipe import Method
from harness.suites.base import Program
from harness.suites.dialogue.programs import asking, retrieving
from harness.training import from_responses
from methods.mktod.recipe import DialogueRecipe, encoder

RECIPE = Path(__file__).with_name("recipe_chat.toml")


def retriever(name: str, dense: bool = False) -> Callable[[DialogueRecipe, StageMaker], Program]:
    """The plan of a retriever as a system of its own.

    Args:
        dense: it needs models.encoder.
    """

    def plan(recipe: DialogueRecipe, stage: StageMaker) -> Program:
        return retrieving(name, encoder=encoder(recipe, name, stage) if dense else "")

    return plan


def chat(meta: bool) -> Callable[[DialogueRecipe, StageMaker], Program]:
    """The plan of a chat model with the records of recipe.retrieval.

    Args:
        meta: tell it about the retrieval.
    """

    def plan(recipe: DialogueRecipe, stage: StageMaker) -> Program:
        chosen = recipe.retrieval
        dense = recipe.models.encoder is not None
        if recipe.models.chat is None:
            raise BadRecord(
                "a chat model that answers needs models.chat; for example "
                '--set models.chat.ref="Qwen/Qwen2.5-7B-Instruct"'
            )
        model: Handle = from_responses.model(recipe.models.chat, stage)
        own: Any = encoder(recipe, chosen.retriever, stage) if dense else ""
        prompt = "dialogue_reply"
        if meta:
            prompt = {"prompt": "mktod_reply", "prefix": "mktod_reply_prefix"}[chosen.meta]
        return asking(model, retrieving(chosen.retriever, encoder=own), chosen.k, prompt)

    return plan


def _method(name: str, plan: Callable[..., Program], recipe: Path | None = None) -> Method:
    return Method(name, DialogueRecipe, plan, recipe)


MKTOD_CHAT = _method("mktod_chat", chat(meta=True), RECIPE)
RECORDS_CHAT = _method("records_chat", chat(meta=False))
VALUE_FREQUENCY = _method("value_frequency", retriever("value_frequency"))
BM25 = _method("bm25", retriever("bm25"))
DENSE_ZERO_SHOT = _method("dense_zero_shot", retriever("dense", dense=True))
SLOT_MATCHING = _method("slot_matching", retriever("slot_matching"))
SLOT_HYBRID = _method("slot_hybrid", retriever("hybrid", dense=True))
