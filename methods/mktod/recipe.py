"""Recipes of methods that answer dialogues; each method reads only its own tables."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from harness.core.errors import BadRecord
from harness.core.records import Record
from harness.engine.plan import Handle, StageMaker
from harness.engine.recipe import ModelSpec, Recipe, Refers
from harness.training import from_responses
from methods.mktod.settings import JointParams, RetrieverParams, ScratchParams


class Models(Record):
    """Models of a recipe.

    Attributes:
        chat: chat model that writes replies.
        encoder: encoder of dense retrievers; trained ones start from it.
        generator: sequence-to-sequence model that learns to write replies; None for a new T5, see
            `scratch`.
    """

    chat: Annotated[ModelSpec | None, Refers("language_model")] = None
    encoder: Annotated[ModelSpec | None, Refers("encoder")] = None
    generator: Annotated[ModelSpec | None, Refers("seq2seq")] = None


class Retrieval(Record):
    """Records in the prompt of the chat model.

    Attributes:
        retriever: see `harness.suites.dialogue.retrievers`.
        k: number of records.
        meta: form of the meta knowledge: sentences ("prompt") or tags ("prefix").
    """

    retriever: str = "slot_matching"
    k: int = Field(default=7, ge=1)
    meta: Literal["prompt", "prefix"] = "prompt"


class DialogueRecipe(Recipe):
    """Settings of all methods that answer dialogues.

    Attributes:
        retrieval: of the chat model.
        retriever: pre-training of the trained retriever.
        joint: training of generator and retriever.
        scratch: size of the new generator.
    """

    models: Models = Models()
    retrieval: Retrieval = Retrieval()
    retriever: RetrieverParams = RetrieverParams()
    joint: JointParams = JointParams()
    scratch: ScratchParams = ScratchParams()

    def seeded(self, table: Record) -> dict[str, Any]:
        """A table as parameters of a stage, with the seed of the recipe."""
        return {**table.model_dump(mode="json"), "seed": self.seed}


def encoder(recipe: DialogueRecipe, name: str, stage: StageMaker) -> Handle:
    """The encoder of a recipe.

    Raises:
        BadRecord: it has none.
    """
    spec = recipe.models.encoder
    if spec is None:
        raise BadRecord(
            f'the retriever "{name}" needs models.encoder; for example '
            '--set models.encoder.ref="sentence-transformers/all-MiniLM-L6-v2", or a folder'
        )
    found: Handle = from_responses.model(spec, stage)
    return found
