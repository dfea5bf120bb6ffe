"""Questionnaires: items to ask about an author, and the label each answer indicates.

A rating item is a statement rated 1 to 5, with a key (1 or -1). A choice item is a question with
two or three options, each of which indicates a label, followed by "not sure". Shipped
questionnaires are TOML files in the folder `questionnaires`; a user's file has the same format.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from harness.core.errors import BadRecord, UserError
from harness.core.hashing import seed_from
from harness.core.records import Record, parse
from harness.data.traits import Trait
from harness.engine.recipe import read_toml

FOLDER = Path(__file__).with_name("questionnaires")
UNSURE = "Not sure"
POINTS = 5
LETTERS = "ABCD"


class Item(Record):
    """One item of a questionnaire.

    Attributes:
        keyed: 1, or -1 for a reverse-keyed rating item.
        options: options of a choice item, without "not sure".
        labels: label indicated by each option.
    """

    trait: str
    number: int
    text: str
    keyed: Literal[1, -1] = 1
    options: tuple[str, ...] = ()
    labels: tuple[int, ...] = ()

    @property
    def kind(self) -> Literal["rating", "choice"]:
        """Kind of item; a choice item has options."""
        return "choice" if self.options else "rating"

    @property
    def choices(self) -> dict[str, str]:
        """Option by letter; "not sure" is the last."""
        shown = (*self.options, UNSURE)
        return dict(zip(LETTERS, shown))


class Questionnaire(Record):
    """Items of several traits.

    Attributes:
        scheme: name of the traits' scheme.
        scale: meaning of the ratings 1 to 5.
        released_reverse: slots marked as reverse-scored in PsyCoT's released notes, by trait, if
            different from the items' keys.
    """

    name: str
    scheme: str
    items: tuple[Item, ...]
    scale: tuple[str, ...] = ()
    released_reverse: dict[str, tuple[int, ...]] = {}

    def of(self, trait: str, first: int | None = None, seed: int | None = None) -> list[Item]:
        """Items of a trait: all or the first `first`, shuffled if a seed is given."""
        found = [item for item in self.items if item.trait == trait][:first]
        if seed is not None:
            random.Random(seed_from("item order", self.name, trait, seed)).shuffle(found)
        return found

    def reverse_slots(self, trait: str, released: bool = False) -> list[int]:
        """Indexes of a trait's reverse-keyed items; `released` uses the released notes' keys."""
        if released and trait in self.released_reverse:
            return list(self.released_reverse[trait])
        return [slot for slot, item in enumerate(self.of(trait)) if item.keyed < 0]


@lru_cache
def load(name: str) -> Questionnaire:
    """Load a shipped questionnaire by name, or a .toml file.

    Raises:
        UserError: there is no such questionnaire.
        BadRecord: the file is not a valid questionnaire.
    """
    shipped = FOLDER / f"{name}.toml"
    path = shipped if shipped.is_file() else Path(name).expanduser()
    if path.suffix != ".toml" or not path.is_file():
        known = ", ".join(sorted(file.stem for file in FOLDER.glob("*.toml")))
        raise UserError(f'no questionnaire "{name}"; expected one of {known}, or a .toml file')
    data = read_toml(path)
    try:
        subject = data.pop("subject", "The author")
        data["items"] = [
            _item(trait, entry, subject)
            for trait, entries in data["items"].items()
            for entry in entries
        ]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BadRecord(
            f"{path}: not a questionnaire ({error}); expected [items] with lists of "
            '[number, 1 or -1, "statement"] or [number, "question", [["option", 1], ...]]'
        ) from None
    found = parse(Questionnaire, data, str(path))
    for item in found.items:
        if item.options and not 2 <= len(item.options) < len(LETTERS):
            count = len(item.options)
            raise BadRecord(f"{path}: question {item.number} has {count} options; expected 2 or 3")
    if any(item.kind == "rating" for item in found.items) and len(found.scale) != POINTS:
        raise BadRecord(
            f"{path}: `scale` has {len(found.scale)} entries; expected {POINTS}, one per rating"
        )
    return found


def _item(trait: str, entry: list[Any], subject: str) -> dict[str, Any]:
    number, second, third = entry
    if isinstance(third, str):
        text = f"{subject} {third}." if subject else third
        return {"trait": trait, "number": number, "text": text, "keyed": second}
    return {
        "trait": trait,
        "number": number,
        "text": second,
        "options": [option for option, _ in third],
        "labels": [label for _, label in third],
    }


def for_traits(name: str, traits: Sequence[Trait]) -> Questionnaire:
    """Load the questionnaire `name`, or for "auto" the shipped one with items for all traits.

    Raises:
        UserError: the questionnaire has no items for a trait.
    """
    wanted = [trait.name for trait in traits]
    candidates = ("bfi44", "mbti50") if name == "auto" else (name,)
    for candidate in candidates:
        found = load(candidate)
        if all(any(item.trait == trait for item in found.items) for trait in wanted):
            return found
    raise UserError(
        f'questionnaire "{name}" lacks items for a trait of {", ".join(wanted)}; give a .toml file '
        "with items for all (see docs/personality.md)"
    )
