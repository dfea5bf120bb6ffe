"""Prompts that tell a chat model about the retrieval of each record (section 3.6).

Registered as `mktod_reply` and `mktod_reply_prefix`. The wording is Crucible's: the paper's prompts
are in figures that were not read.
"""

from __future__ import annotations

from harness.engine.operations import Row
from harness.suites.dialogue.prompts import dialogue_reply
from methods.mktod.meta_knowledge import of_row

SENTENCES = (
    "Each record is followed by what is known about its retrieval: its rank, how confident the "
    "search is, and whether the dialogue has mentioned it."
)
TAGS = (
    "Each record begins with three tags: whether the dialogue has mentioned it (old) or not (new), "
    "how confident the search is, and its rank."
)


def mktod_reply(row: Row, *, k: int) -> list[dict[str, str]]:
    """The prompt of `dialogue_reply` with a sentence per record."""
    found = of_row(row["records"], row["scores"], row["context"])
    records = [
        {**record, "retrieval": entry.sentence}
        for record, entry in zip(row["records"], found, strict=True)
    ]
    return _explained(row, records, k, SENTENCES)


def mktod_reply_prefix(row: Row, *, k: int) -> list[dict[str, str]]:
    """The prompt of `dialogue_reply` with the paper's tags before each record."""
    found = of_row(row["records"], row["scores"], row["context"])
    records = [
        {"tags": entry.prefix(), **record}
        for record, entry in zip(row["records"], found, strict=True)
    ]
    return _explained(row, records, k, TAGS)


def _explained(row: Row, records: list[Row], k: int, said: str) -> list[dict[str, str]]:
    (message,) = dialogue_reply({**row, "records": records}, k=k)
    return [{"role": "user", "content": f"{said}\n\n{message['content']}"}]
