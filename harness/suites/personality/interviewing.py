"""Interviews as a `Program`, which methods that ask a chat model about authors return."""

from __future__ import annotations

from typing import Any

from harness.core.hashing import digest
from harness.engine.plan import Handle, StageMaker
from harness.suites.base import Program
from harness.suites.personality.dialogues import WITH_ITEMS, InterviewSettings
from harness.suites.personality.orders import Orders


def interviewing(model: Handle, settings: InterviewSettings, by_items: bool = False) -> Program:
    """Program that labels authors by interviews of `model`.

    Args:
        by_items: decide by the answered items instead of the model's final choice; both use the
            same interview stage.
    """

    def answer(authors: Handle, stage: StageMaker, *, train: Handle | None, **how: Any) -> Handle:
        interviews = stage(
            "interview_authors",
            authors=authors,
            model=model,
            label=f"interview ({settings.form})",
            **settings.model_dump(),
            **how,
        )
        return stage("decide_by_items", interviews=interviews) if by_items else interviews

    orders = set(Orders.model_fields)
    if settings.form not in WITH_ITEMS:
        orders.discard("item_seed")
    if settings.released:
        orders.discard("post_seed")  # posts are always shuffled
    return Program(
        task="label_authors",
        answer=answer,
        model=model,
        fingerprint=digest([settings.model_dump(), by_items])[:16],
        sensitive_to=frozenset(orders),
    )
