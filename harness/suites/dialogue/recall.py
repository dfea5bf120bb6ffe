"""Recall@K of retrieval, in three readings.

    turn    share of turns all of whose gold values are values of the top K records (MAKER)
    value   share of gold values that are values of the top K records (the text of MK-TOD)
    name    share of turns whose gold name is the name of one of the top K records

Turns in scope are those that mention a record first: scanning in file order, a turn counts if one
of its gold values is the name of a record of its session and (name, dialogue) differs from the pair
that counted last. Only the last pair is remembered, so that the names A, B, A in one dialogue count
three times, as in the reference code (18907305772/MAKER, evaluation.py). Values are compared in
lower case without blanks and underscores.

`value` is inflated by values such as "cheap", which are in nearly every record; a gold value that
is in no record puts a turn out of reach of `turn`. The suite shows what is in reach as the ceiling.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

from harness.suites.dialogue.text import squeezed

NAME = "name"
READINGS = ("turn", "value", "name")

Record = Mapping[str, Any]


class Mention(NamedTuple):
    """Scope of a turn: whether it counts, and the gold name that made it count."""

    counts: bool
    name: str = ""


class Recalled(NamedTuple):
    """Gold values of a turn, and how many of them are in the records; whether its name is."""

    values: int
    found: int
    named: bool

    @property
    def whole(self) -> bool:
        """Whether every gold value is found; true of a turn without gold values."""
        return self.found == self.values


def first_mentions(
    dialogues: Sequence[Hashable], gold: Sequence[Sequence[str]], names: Sequence[Sequence[str]]
) -> list[Mention]:
    """Scope of each turn, in file order.

    Args:
        names: of the records of each turn's session.

    >>> first_mentions([1, 1], [["north", "anatolia"], ["anatolia"]], [["anatolia"]] * 2)
    [Mention(counts=True, name='anatolia'), Mention(counts=False, name='')]
    """
    last: tuple[str, Hashable] | None = None
    found = []
    for dialogue, values, known in zip(dialogues, gold, names, strict=True):
        session = {squeezed(name) for name in known}
        new = next(
            (value for value in values
             if squeezed(value) in session and (squeezed(value), dialogue) != last),
            None,
        )  # fmt: skip
        if new is None:
            found.append(Mention(False))
        else:
            last = (squeezed(new), dialogue)
            found.append(Mention(True, new))
    return found


def recalled(gold: Sequence[str], records: Sequence[Record], name: str = "") -> Recalled:
    """Gold values of one turn that are values of the records.

    Args:
        name: gold name, see `first_mentions`.
    """
    known = {squeezed(value) for record in records for value in record.values()}
    names = {squeezed(record[NAME]) for record in records if record.get(NAME)}
    found = sum(squeezed(value) in known for value in gold)
    return Recalled(len(gold), found, bool(name) and squeezed(name) in names)
