"""What MAKER's released metrics do differently (18907305772/MAKER, evaluation.py).

* Only predictions are normalised, references just lose their markers: the references scored as
  predictions do not reach 100.
* Equally long entities are tried in the order of a Python set. The order here is that of hash seed
  0, as far as it can be observed.
* Recall: the booking reference and the number of matches of a turn's session are written into
  every retrieved record, whatever its name.
* BLEU is rounded to two decimals, and all later arithmetic uses the rounded number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.suites.dialogue.entities import EntityList
from harness.suites.dialogue.text import without_markers

SESSION_FACTS = ("ref", "choice")


def reference_text(text: str) -> str:
    """A reference as it is scored: its markers are removed, nothing else."""
    return without_markers(text)


def released_order(entities: EntityList) -> EntityList:
    """The list with equally long values in descending order ("park" before "free")."""
    by_text = sorted(entities.entities, key=lambda entity: entity.value, reverse=True)
    ordered = sorted(by_text, key=lambda entity: -entity.length)  # stable
    return EntityList(tuple(ordered), entities.rules)


def with_session_facts(
    records: Sequence[Mapping[str, Any]], session: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The records, each with the last `ref` and `choice` of the session's records."""
    facts = {key: record[key] for record in session for key in SESSION_FACTS if key in record}
    return [{**record, **facts} for record in records]


def rounded(bleu: float) -> float:
    """BLEU as the script prints it."""
    return round(bleu, 2)
