"""Programs that answer dialogues, for methods and plugins: the task `reply`.

A program's `answer(dialogues, stage, *, knowledge, keep, decode, seed, batch_size, train, valid)`
returns turn rows with `responses` (one text) or `reply` (an outcome of `ask`), without either if it
only retrieves, and `retrieved`, `scores` and `base` if it retrieves, see
`harness.suites.dialogue.answering`. `train` and `valid` are the training and validation dialogues,
or None.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.core.hashing import digest
from harness.engine.plan import Handle, StageMaker
from harness.models.references import model_identity
from harness.suites.base import Decode, Program
from harness.suites.dialogue.answering import Base

TASK = "reply"
NONE: Mapping[str, Any] = {}


def retrieving(
    retriever: str, settings: Mapping[str, Any] = NONE, encoder: str | Handle = ""
) -> Program:
    """Program that retrieves records and writes no text.

    Args:
        retriever: see `harness.suites.dialogue.retrievers`.
        encoder: model of a dense retriever, a reference or an artifact; "" for none.
    """

    def answer(
        dialogues: Handle, stage: StageMaker, *, knowledge: Base, keep: int, **how: Any
    ) -> Handle:
        model = encoder
        if isinstance(model, str) and model:
            model = stage("import_model", ref=model, digest=model_identity(model))
        return stage(
            "retrieve_records",
            dialogues=dialogues,
            retriever=retriever,
            retriever_settings=dict(settings),
            knowledge=knowledge,
            keep=keep,
            label=f"retrieve ({retriever})",
            **({"encoder": model} if model else {}),
        )

    by = encoder if isinstance(encoder, str) else encoder.id
    return Program(TASK, answer, fingerprint=digest([retriever, dict(settings), by])[:16])


def asking(
    model: Handle,
    retriever: Program,
    k: int,
    prompt: str = "dialogue_reply",
    settings: Mapping[str, Any] = NONE,
) -> Program:
    """Program that asks a chat model once per turn, with the first k records of a retriever.

    Args:
        prompt, settings: prompt builder of (row, k, **settings), see
            `harness.suites.dialogue.prompts`.
    """
    shown = {"k": k, **settings}

    def answer(
        dialogues: Handle,
        stage: StageMaker,
        *,
        keep: int,
        decode: Decode,
        seed: int,
        batch_size: int,
        **how: Any,
    ) -> Handle:
        return stage(
            "ask",
            rows=retriever.answer(dialogues, stage, keep=max(k, keep), **how),
            model=model,
            prompt=prompt,
            prompt_settings=shown,
            into="reply",
            retries=0,
            seed=seed,
            batch_size=batch_size,
            **decode.model_dump(exclude={"thoughts"}),
        )

    fingerprint = digest([retriever.fingerprint, prompt, shown])[:16]
    return Program(TASK, answer, model=model, fingerprint=fingerprint)


def replying_by(respond: str, settings: Mapping[str, Any] = NONE) -> Program:
    """Program that answers by a Python function.

    Args:
        respond: "package.module:function" of (dialogue, knowledge, **settings) -> Reply, see
            `harness.suites.dialogue.records`.
    """

    def answer(dialogues: Handle, stage: StageMaker, *, knowledge: Base, **how: Any) -> Handle:
        return stage(
            "respond_by",
            dialogues=dialogues,
            respond=respond,
            respond_settings=dict(settings),
            knowledge=knowledge,
        )

    return Program(TASK, answer, fingerprint=digest([respond, dict(settings)])[:16])
