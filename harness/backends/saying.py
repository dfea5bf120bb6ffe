"""The answer in a completion: what was said, apart from what was thought.

Thought and answer are told apart once, here, when an answer is stored; `harness.models.thoughts`
has the markers. A thought that never ends is no answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from harness.backends.base import Completion
from harness.models.thoughts import opens_thought, split_thought

Thoughts = Literal["split", "keep"]

PROMPT_END = 32  # tokens in which a prompt may open a thought
UNENDED = "the thought never ends"


@dataclass(frozen=True)
class Said:
    """A completion in parts.

    Attributes:
        text: the answer; "" where there is none.
        thought: "" where there is none.
        raw: the whole text of the completion.
        lack: why there is no answer, else "".
    """

    text: str
    thought: str = ""
    raw: str = ""
    lack: str = ""


def said_in(completion: Completion, rule: Thoughts = "split", *, opened: bool = False) -> Said:
    """The answer of a completion.

    Args:
        rule: "keep" leaves thoughts in the answer.
        opened: the prompt ends inside a thought.
    """
    raw, given = completion.text, completion.thought or ""
    if rule == "keep":
        return Said(raw, raw=raw)
    if given and not raw.strip() and completion.finish == "length":
        return Said("", given, raw, UNENDED)
    found = split_thought(raw, opened=opened and not given)
    thought = "\n".join(part for part in (given, found.thought) if part)
    if found.answer is None:
        return Said("", thought, raw, UNENDED)
    # Without a thought in it, the text is the answer to the byte.
    return Said(found.answer.strip() if found.thought or found.answer != raw else raw, thought, raw)


def begun_in_prompt(tokenizer: Any, prompt_ids: Sequence[int] | None) -> bool:
    """Whether a prompt ends inside a thought; False without a tokenizer."""
    if tokenizer is None or prompt_ids is None:
        return False
    return opens_thought(tokenizer.decode(list(prompt_ids[-PROMPT_END:])))


def thought_fields(said: Sequence[Said]) -> dict[str, Any]:
    """Fields of a row beside its responses; none where nothing was thought."""
    found: dict[str, Any] = {}
    if any(part.thought or part.raw != part.text for part in said):
        found["thoughts"] = [part.thought for part in said]
        found["raw"] = [part.raw for part in said]
    if any(part.lack for part in said):
        found["no_answer"] = [part.lack for part in said]
    return found
