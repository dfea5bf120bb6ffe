"""What becomes of an instance whose knowledge the base model lacks, as pure functions.

With K the reference knowledge, I the instruction, R the response and S a refusal:

    part              standard   open-book          discard   refusal
    no_need           (I, R)     (I, R)             (I, R)    (I, R)
    consistent        (I, R)     (I, R)             (I, R)    (I, R)
    inconsistent      (I, R)     (K + "\\n" + I, R)  -         (I, S)

Unexamined and unparsed instances are no training data, except for standard tuning on all rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

from pydantic import Field

from harness.core.records import Record
from methods.kca.decisions import Part

Row = dict[str, Any]
REFUSAL = "Sorry, I don't know the factual information required to answer this question."
CLASSES = {
    "no_need": "no_need_fact",
    "consistent": "need_and_have_fact",
    "inconsistent": "need_and_have_no_fact",
}


class Instance(Record):
    """One instruction with its response and what was found out about it.

    Attributes:
        messages: conversation up to the response, as {"role", "content"}.
        knowledge: reference knowledge, "" where none was written.
        queries: search queries of the helper.
    """

    id: str
    messages: tuple[dict[str, str], ...]
    response: str
    part: Part
    analysis: str = ""
    queries: str = ""
    knowledge: str = Field(default="")


Strategy = Callable[[Instance], Row | None]


def training_row(instance: Instance) -> Row:
    """The instance unchanged, in the form that `train_sft` reads."""
    return {
        "id": instance.id,
        "messages": [dict(message) for message in instance.messages],
        "response": instance.response,
        "class": CLASSES.get(instance.part, instance.part),
        "analysis": instance.analysis,
        "knowledge": instance.knowledge,
    }


def standard(instance: Instance) -> Row | None:
    """Every instance as it is."""
    return training_row(instance)


def open_book(instance: Instance) -> Row | None:
    """Inconsistent instances with the knowledge before the last message."""
    row = training_row(instance)
    if instance.part == "inconsistent":
        last = row["messages"][-1]
        row["messages"][-1] = {**last, "content": f"{instance.knowledge}\n{last['content']}"}
    return row


def discard(instance: Instance) -> Row | None:
    """Inconsistent instances left out."""
    return None if instance.part == "inconsistent" else training_row(instance)


def refusal(instance: Instance) -> Row | None:
    """Inconsistent instances with the refusal as their response."""
    row = training_row(instance)
    return {**row, "response": REFUSAL} if instance.part == "inconsistent" else row


STRATEGIES: dict[str, Strategy] = {
    "standard": standard,
    "open_book": open_book,
    "discard": discard,
    "refusal": refusal,
}


def training_rows(
    instances: Iterable[Instance],
    strategy: Strategy,
    rows: Literal["decided", "all"] = "decided",
) -> list[Row]:
    """Training rows in the order of the instances.

    Args:
        rows: "decided" takes the parts of the data that have a class; "all" all five parts.
    """
    chosen = (one for one in instances if rows == "all" or one.part in CLASSES)
    return [row for one in chosen if (row := strategy(one)) is not None]
