"""Wording of the reviser's two turns: a verdict on the current answer, then the improved answer.

    user       request, current answer, and the question how much revision it needs
    assistant  [Minor Revise]
    user       request for the improved answer
    assistant  the improved answer

The verdict is a turn of its own, so that it can be scored, and the text be generated after it, by
every backend. No scores are shown. Wording and labels are ours (the paper's are not public).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import Field, model_validator

from harness.core.errors import BadData
from harness.core.records import Record
from harness.engine.recipe import Rehearsed
from methods.seft.labels import LABELS, Label

Messages = list[dict[str, str]]

VERDICT = """Here is a request and the current answer to it.

Request:
{prompt}

Current answer:
{answer}

How much does the current answer have to be revised? Reply with one of: {labels}."""
_PLACES = re.compile(r"\{(prompt|answer|labels)\}")
_SHORT = "{prompt}>{answer}"


class Wording(Record):
    """What the reviser reads and says.

    Attributes:
        verdict: question with {prompt}, {answer} and optionally {labels}.
        write: request for the improved answer.
        no_revise, minor_revise, major_revise: replies to the first question; all different.
    """

    verdict: Annotated[str, Rehearsed(lambda _: _SHORT)] = VERDICT
    write: str = "Write the improved answer."
    no_revise: str = Field(default="[No Revise]", min_length=1)
    minor_revise: str = Field(default="[Minor Revise]", min_length=1)
    major_revise: str = Field(default="[Major Revise]", min_length=1)

    @model_validator(mode="after")
    def _usable(self) -> Wording:
        if len(set(self.labels)) < len(LABELS):
            raise ValueError(f"three different labels (found {', '.join(self.labels)})")
        if not {"{prompt}", "{answer}"} <= set(re.findall(r"\{\w+\}", self.verdict)):
            raise ValueError("a verdict question with the places {prompt} and {answer}")
        return self

    @property
    def labels(self) -> list[str]:
        """The replies in the order of `methods.seft.labels.LABELS`."""
        return [self.no_revise, self.minor_revise, self.major_revise]

    def label(self, name: Label) -> str:
        return self.labels[LABELS.index(name)]

    def ask_verdict(self, messages: Sequence[Mapping[str, str]], answer: str) -> Messages:
        """The first turn about an answer to a conversation that ends with the user's message."""
        return shown(self.verdict, messages, answer, ", ".join(self.labels))

    def ask_text(
        self, messages: Sequence[Mapping[str, str]], answer: str, label: Label
    ) -> Messages:
        """Both turns up to the point where the improved answer begins."""
        return [
            *self.ask_verdict(messages, answer),
            {"role": "assistant", "content": self.label(label)},
            {"role": "user", "content": self.write},
        ]


def shown(
    wording: str, messages: Sequence[Mapping[str, str]], answer: str, labels: str = ""
) -> Messages:
    """The conversation whose last user message is replaced by the filled wording.

    Earlier turns stay: only the last answer of a dialogue is revised.

    Raises:
        BadData: the conversation does not end with the user's message.
    """
    if not messages or messages[-1]["role"] != "user":
        raise BadData("a conversation to revise an answer of must end with the user's message")
    values = {"prompt": messages[-1]["content"], "answer": answer, "labels": labels}
    text = _PLACES.sub(lambda place: values[place[1]], wording)
    return [*(dict(message) for message in messages[:-1]), {"role": "user", "content": text}]
