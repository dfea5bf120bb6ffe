"""Counts of each turn: what its reply and its retrieved records contribute to every metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.core.errors import BadData
from harness.engine.operations import Row
from harness.suites.dialogue import metrics_released as compat
from harness.suites.dialogue.bleu import bleu_counts
from harness.suites.dialogue.entities import EntityList, extract
from harness.suites.dialogue.entity_f1 import Counts, gold_counts, surface_counts
from harness.suites.dialogue.recall import NAME, Mention, first_mentions, recalled
from harness.suites.dialogue.records import Record
from harness.suites.dialogue.text import (
    Run,
    normalised,
    surface,
    value_runs,
    with_joined_values,
)


@dataclass(frozen=True)
class Answer:
    """What a system answered to one turn.

    Attributes:
        text: None if it gave none; see `failed`.
        records: retrieved, best first; None if the system retrieves nothing.
        failed: why the turn could not be answered.
        finish: how the reply of a model that was asked ended.
    """

    text: str | None
    records: tuple[Record, ...] | None
    failed: str = ""
    finish: str | None = None

    @property
    def silent(self) -> bool:
        """Whether the system only retrieves."""
        return self.text is None and not self.failed


def read_answer(row: Row, bases: Mapping[str, Record]) -> Answer:
    """The answer in a row: its `reply`, the outcome of `ask`, or the first of its `responses`.

    Args:
        bases: id -> record, of all records that the turn may use.

    Raises:
        BadData: an id of no such record: the index was made of another knowledge base.
    """
    failed, text, finish = str(row.get("error") or ""), None, None
    if "reply" in row:
        asked = row["reply"]
        text, failed, finish = asked["value"], str(asked["failure"] or ""), asked["finish"]
        if finish is not None and not asked["reply"].strip():
            text, failed = "", ""  # the model answered with nothing, which scores as empty text
    elif "responses" in row:
        text = next(iter(row["responses"]), None)
    retrieved = row.get("retrieved")
    if retrieved is None or (failed and not retrieved):
        return Answer(text, None, failed, finish)
    strange = next((id for id in retrieved if id not in bases), None)
    if strange is not None:
        raise BadData(
            f'turn "{row["id"]}": retrieved record {strange} is not in the knowledge base of '
            f"{len(bases)} records; the retriever or its index is of other records"
        )
    return Answer(text, tuple(bases[id] for id in retrieved), failed, finish)


@dataclass(frozen=True)
class Scorer:
    """Scoring of single turns.

    Attributes:
        released: only predictions are normalised; see `metrics_released` for the rest.
    """

    entities: EntityList
    released: bool = False

    @classmethod
    def of(cls, entities: EntityList, released: bool) -> Scorer:
        return cls(compat.released_order(entities) if released else entities, released)

    def prediction(self, text: str) -> str:
        """A reply as it is scored."""
        return normalised(surface(text))

    def reference(self, text: str) -> str:
        """A reference as it is scored."""
        shown = surface(text)
        return compat.reference_text(shown) if self.released else normalised(shown)


@dataclass(frozen=True)
class TextCounts:
    """Counts of one reply; the tables of `harness.suites.dialogue.cells` stack them."""

    bleu: list[int]
    surface: Counts
    strict: Counts
    gold: Counts


@dataclass(frozen=True)
class Wanted:
    """The reference of a turn, prepared for scoring replies.

    Attributes:
        text: as it is scored; entities: extracted from it.
        gold: annotated values as tokens; runs: all values that become tokens of a reply.
        known: values that can be false positives of the annotated variants.
    """

    text: str
    entities: list[str]
    gold: list[str]
    runs: Mapping[Run, str]
    known: frozenset[str]

    @classmethod
    def of(cls, scorer: Scorer, turn: Row, runs: Mapping[Run, str]) -> Wanted:
        """Args: runs: values of the entity list, see `value_runs`."""
        text = scorer.reference(turn["reference"])
        session = value_runs(str(v) for record in turn["kb"] for v in record.values())
        return cls(
            text,
            extract(text, scorer.entities),
            ["_".join(surface(value).lower().split()) for value in turn["gold"]],
            {**runs, **session, **value_runs(turn["gold"])},
            frozenset(runs.values()) | frozenset(session.values()),
        )


def text_counts(scorer: Scorer, wanted: Wanted, text: str) -> TextCounts:
    """Counts of a reply to a turn."""
    said = scorer.prediction(text)
    found = extract(said, scorer.entities)
    return TextCounts(
        bleu_counts(said, wanted.text),
        surface_counts(found, wanted.entities),
        surface_counts(found, wanted.entities, strict=True),
        gold_counts(with_joined_values(text, wanted.runs), wanted.gold, wanted.known),
    )


def mentions(turns: Sequence[Row]) -> list[Mention]:
    """Scope of recall of each turn, in file order."""
    return first_mentions(
        [turn["dialogue"] for turn in turns],
        [turn["gold"] for turn in turns],
        [[record[NAME] for record in turn["kb"] if NAME in record] for turn in turns],
    )


def recall_counts(
    turn: Row, mention: Mention, records: Sequence[Any], released: bool
) -> tuple[tuple[float, float], ...]:
    """Numerator and denominator of the readings turn, value and name, see `recall`."""
    if released:
        records = compat.with_session_facts(records, turn["kb"])
    found = recalled(turn["gold"], records, mention.name)
    return (
        (float(found.whole), 1.0),
        (float(found.found), float(found.values)),
        (float(found.named), 1.0),
    )
