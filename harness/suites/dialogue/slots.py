"""A lexical retriever that follows how a user narrows a search; its combination with an encoder.

The utterances are scanned for the values of the base, longest value first, after light stemming
("moderately", "guesthouses") and joining ("guest house"). A record then gets, per attribute,

    an attribute with few values (area, price)    1 if its value is the one mentioned last,
                                                  `earlier` if it was mentioned before another one
    an attribute that tells records apart (name)  weight * decay^(turns since the last mention)

plus `frequency` times the number of occurrences of its values. The constants were chosen on the
training and validation sets of CamRest676 and the validation set of MultiWOZ.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.suites.dialogue.records import NAME, Dialogue, Knowledge
from harness.suites.dialogue.retrievers import Encode, Rank, dense, value_frequency
from harness.suites.dialogue.text import Run, surface

Floats = NDArray[np.float64]
ENDINGS = ("ly", "ern", "er", "s")
OTHER_WORDS = {"center": "centre", "theater": "theatre", "inexpensive": "cheap"}
APART = 1 / 3  # values per record above which an attribute tells records apart, like the name
FEW = 10  # an attribute with at most so many values does not
_WORD = re.compile(r"[^\W_]+(?:'\w+)?")


def stemmed_tokens(text: str) -> list[str]:
    """Tokens without punctuation and common endings.

    >>> stemmed_tokens("two moderately priced guesthouses in the center")
    ['two', 'moderate', 'priced', 'guesthouse', 'in', 'the', 'centre']
    """
    return [_stem(OTHER_WORDS.get(token, token)) for token in _WORD.findall(surface(text).lower())]


def _stem(token: str) -> str:
    for ending in ENDINGS:
        if token.endswith(ending) and len(token) > len(ending) + 3:
            return token.removesuffix(ending)
    return token


@dataclass(frozen=True)
class SlotTable:
    """Values of a base.

    Attributes:
        records: attribute -> stemmed tokens of the value, per record.
        attributes: attributes that have a value.
        joined: tokens of a value without blanks -> the value.
        apart: attributes that tell records apart.
    """

    records: tuple[dict[str, Run], ...]
    attributes: dict[Run, set[str]]
    joined: dict[str, Run]
    apart: frozenset[str]

    @classmethod
    def of(cls, knowledge: Knowledge) -> SlotTable:
        rows: list[dict[str, Run]] = []
        attributes: dict[Run, set[str]] = {}
        values: dict[str, set[Run]] = {}
        for record in knowledge.records:
            runs = {name: tuple(stemmed_tokens(str(value))) for name, value in record.items()}
            rows.append({name: run for name, run in runs.items() if run})
            for name, run in rows[-1].items():
                attributes.setdefault(run, set()).add(name)
                values.setdefault(name, set()).add(run)
        least = max(FEW, APART * len(rows))
        apart = {NAME, *(name for name, runs in values.items() if len(runs) > least)}
        joined = {"".join(run): run for run in attributes}
        return cls(tuple(rows), attributes, joined, frozenset(apart))

    def mentioned(self, said: str) -> list[Run]:
        """Values in an utterance from left to right, longest first at each place."""
        tokens, longest = stemmed_tokens(said), max(map(len, self.attributes), default=0)
        found, place = [], 0
        while place < len(tokens):
            # A value of one token may be said as two: "guest house".
            for size in range(min(longest + 1, len(tokens) - place), 0, -1):
                run = self.joined.get("".join(tokens[place : place + size]))
                if run is not None:
                    found.append(run)
                    place += size
                    break
            else:
                place += 1
        return found

    def last_mentions(self, context: Sequence[str]) -> dict[str, dict[Run, int]]:
        """Attribute -> value -> number of the utterance that mentioned it last."""
        found: dict[str, dict[Run, int]] = {}
        for number, said in enumerate(context):
            for run in self.mentioned(said):
                for name in self.attributes[run]:
                    found.setdefault(name, {})[run] = number
        return found


def slot_matching(
    knowledge: Knowledge,
    encode: Encode | None = None,
    *,
    earlier: float = 0.5,
    name: float = 1.5,
    decay: float = 0.7,
    frequency: float = 0.05,
) -> Rank:
    """The rule of this module's description.

    Args:
        name: weight of the attribute "name"; other attributes that tell records apart have 1.
    """
    table = SlotTable.of(knowledge)
    counting = value_frequency(knowledge, occurrences=True)

    def score(record: dict[str, Run], last: dict[str, dict[Run, int]], end: int) -> float:
        total = 0.0
        for attribute, seen in last.items():
            mine = seen.get(record.get(attribute, ()))
            if mine is None:
                continue
            if attribute in table.apart:
                weight = name if attribute == NAME else 1.0
                total += weight * decay ** ((end - mine) / 2)
            else:
                total += 1.0 if mine == max(seen.values()) else earlier
        return total

    def rank(dialogues: Sequence[Dialogue]) -> Floats:
        found = frequency * counting(dialogues)
        for row, dialogue in enumerate(dialogues):
            last = table.last_mentions(dialogue.context)
            end = len(dialogue.context) - 1
            found[row] += [score(record, last, end) for record in table.records]
        return found

    return rank


def hybrid(
    knowledge: Knowledge,
    encode: Encode | None = None,
    *,
    weight: float = 0.1,
    ties: bool = False,
    earlier: float = 0.5,
    name: float = 1.5,
    decay: float = 0.7,
    frequency: float = 0.05,
) -> Rank:
    """Slot matching, and the encoder's cosine where no record has a matching value.

    Args:
        weight: of the cosine in units of its standard deviation over the records of a turn.
        ties: add it to every turn, which decides between records with the same matches. An
            untrained encoder does that worse than the order of the base: databases list matches by
            name, and systems offer the first. A trained encoder may do it better.

    Raises:
        UserError: no encoder.
    """
    lexical = slot_matching(knowledge, earlier=earlier, name=name, decay=decay, frequency=frequency)
    semantic = dense(knowledge, encode)

    def rank(dialogues: Sequence[Dialogue]) -> Floats:
        found = lexical(dialogues)
        wanted = [row for row in range(len(found)) if ties or not found[row].any()]
        if wanted and found.shape[1]:
            cosines = semantic([dialogues[row] for row in wanted])
            spread = cosines.std(axis=1, keepdims=True)
            found[wanted] += (
                weight
                * (cosines - cosines.mean(axis=1, keepdims=True))
                / (np.where(spread > 0, spread, 1.0))
            )
        return found

    return rank
