"""Records of a knowledge base: identity, text, values as runs of tokens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from harness.core.hashing import digest
from harness.suites.dialogue.text import plain_tokens, surface

Record = Mapping[str, str]
NAME = "name"


def record_id(record: Record) -> str:
    """Digest of a record's content, so that ids of another base are not confused with its own."""
    return digest(dict(record))[:16]


def record_text(record: Record) -> str:
    """A record as text: attribute, value, comma.

    >>> record_text({"name": "curry_garden", "area": "centre"})
    'name curry garden, area centre'
    """
    return surface(", ".join(f"{name} {value}" for name, value in record.items()))


def values_in(record: Record) -> list[tuple[str, tuple[str, ...]]]:
    """Attribute and tokens of each value; empty values are left out."""
    runs = ((name, tuple(plain_tokens(str(value)))) for name, value in record.items())
    return [(name, run) for name, run in runs if run]


@dataclass(frozen=True)
class Knowledge:
    """Records that a system may use for a turn."""

    records: tuple[Record, ...]

    @classmethod
    def of(cls, records: Iterable[Record]) -> Knowledge:
        return cls(tuple(records))

    @cached_property
    def ids(self) -> tuple[str, ...]:
        return tuple(record_id(record) for record in self.records)

    @cached_property
    def digest(self) -> str:
        """Identity of the records in their order."""
        return digest(list(self.ids))


@dataclass(frozen=True)
class Dialogue:
    """What a system knows of a dialogue when it is its turn.

    Attributes:
        id: of the turn.
        context: utterances, the user's first and last.
        facts: of the session: booking reference `ref` and number of matches `choice`, if any.
    """

    id: str
    domain: str
    context: tuple[str, ...]
    facts: Mapping[str, str]


@dataclass(frozen=True)
class Reply:
    """What a system answers.

    Attributes:
        text: None if it only retrieves.
        retrieved: ids of records, best first; scores: one per id.
        error: why the turn could not be answered; the turn counts as failed.
    """

    text: str | None
    retrieved: Sequence[str] = ()
    scores: Sequence[float] = ()
    error: str = ""
