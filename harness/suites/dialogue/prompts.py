"""The prompt of a chat model: records, facts of the session, the dialogue, and the task.

Registered as the prompt builders `dialogue_reply` and `dialogue_reply_short`, the latter for models
that read a few hundred tokens. The wording is Crucible's; papers ask chat models in other words.
"""

from __future__ import annotations

from harness.data.dialogue_files import transcript
from harness.engine.operations import Row
from harness.suites.dialogue.text import surface

TASK = (
    "Write the system's next reply in one or two short sentences. Copy names, numbers and "
    "addresses exactly from the records."
)
NOTHING = "none"
FACTS = {"ref": "booking reference", "choice": "number of matches"}


def dialogue_reply(row: Row, *, k: int) -> list[dict[str, str]]:
    """One user message with the first k retrieved records and the dialogue.

    >>> row = {"records": [{"name": "curry_garden"}], "facts": {}, "context": ["indian food ?"]}
    >>> print(dialogue_reply(row, k=1)[0]["content"].rpartition("\\n\\n")[0])
    Records:
    1. name: curry garden
    <BLANKLINE>
    user: indian food ?
    """
    shown = [
        ", ".join(f"{name}: {surface(value)}" for name, value in record.items())
        for record in row["records"][:k]
    ]
    lines = [f"{number}. {text}" for number, text in enumerate(shown, 1)] or [NOTHING]
    parts = ["\n".join(["Records:", *lines])]
    facts = [f"{FACTS.get(name, name)}: {surface(v)}" for name, v in row["facts"].items()]
    if facts:
        parts.append(f"This session: {', '.join(facts)}")
    parts += [transcript(row["context"]), TASK]
    return [{"role": "user", "content": "\n\n".join(parts)}]


LAST = 3  # utterances of the short form


def dialogue_reply_short(row: Row, *, k: int) -> list[dict[str, str]]:
    """The values of the first k records and the last utterances, without a task."""
    lines = [surface(", ".join(record.values())) for record in row["records"][:k]]
    text = "\n".join([*lines, transcript(row["context"][-LAST:])])
    return [{"role": "user", "content": text}]
