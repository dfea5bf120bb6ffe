"""Checks of distillation on pairs: identities of answers and models, and common tokenizers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.core.errors import BadData
from harness.core.hashing import digest
from harness.distillation.documents import vocabulary_size
from harness.engine.operations import Artifact
from harness.models.references import model_identity
from harness.training.settings import PromptLimit


def answers_digest(rows: Artifact, limits: PromptLimit) -> str:
    """Identity of the answers and of how they are cut."""
    own = limits.model_dump(include=set(PromptLimit.model_fields))
    read = ("id", "messages", "responses", "finish", "response_ids", "tokenizer")
    texts = [[row.get(name) for name in read] for row in rows.rows()]
    return digest([texts, own])


def identity_of(model: Artifact | None) -> str:
    """Identity of a model artifact's weights."""
    return "" if model is None else model_identity(Path(model.path))


def check_tokenizers(tokenizers: dict[str, Any]) -> int:
    """Number of ids that models have in common: all of them must have one id -> string map.

    Raises:
        BadData: the maps differ; names the first difference and the alternatives.
    """
    (name, base), *others = tokenizers.items()
    mine = base.get_vocab()
    for other, tokenizer in others:
        theirs = tokenizer.get_vocab()
        if theirs == mine:
            continue
        apart = sorted(set(mine.items()) ^ set(theirs.items()), key=lambda pair: pair[1])
        word, id = apart[0]
        raise BadData(
            f"{other} and {name} have different tokenizers ({len(theirs)} and {len(mine)} entries; "
            f'id {id}, "{word}", is in one only); distillation of distributions needs the same '
            'one: take teachers of the student\'s family, set align = "spans" (advantages of '
            "common spans of text), or distil the teacher's texts (system seqkd)"
        )
    return vocabulary_size(base)
