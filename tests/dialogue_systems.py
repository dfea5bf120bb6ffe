"""Systems of dialogues whose answers are known; the suite calls them by their module's name."""

from __future__ import annotations

from functools import lru_cache

from harness.nano.dialogues import dialogues
from harness.suites.dialogue.records import Dialogue, Knowledge, Reply, record_id


@lru_cache
def references() -> dict[str, tuple[str, str]]:
    """Id of a turn -> its reference and the name that it needs."""
    return {
        turn["id"]: (turn["reference"], turn["gold"][0]) for turn in dialogues("dialogues").turns
    }


def right(dialogue: Dialogue, knowledge: Knowledge, skip: int = 0) -> Reply:
    """The reference, and the record that it needs; every `skip`-th turn is not answered."""
    text, name = references()[dialogue.id]
    if skip and list(references()).index(dialogue.id) % skip == 0:
        return Reply(None, error="out of order")
    best = next(record for record in knowledge.records if record["name"] == name)
    return Reply(text, [record_id(best)], [1.0])


def empty(dialogue: Dialogue, knowledge: Knowledge) -> Reply:
    return Reply("")


def strange_record(dialogue: Dialogue, knowledge: Knowledge) -> Reply:
    return Reply("hello", ["0123456789abcdef"], [1.0])


def uneven(dialogue: Dialogue, knowledge: Knowledge) -> Reply:
    return Reply("hello", knowledge.ids[:2], [1.0])
