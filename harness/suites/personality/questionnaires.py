"""Questionnaires: what is asked about an author, one item a turn, and what an answer speaks for.

A rating item is a statement rated 1 to 5 with a key; a choice item is a question with two or three
options, each of which speaks for a label, and "not sure" as the last one. The shipped ones are TOML
files beside this module; a user's own have the same form.
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
    """One item; `labels` are those its options speak for, without "not sure" (choice items)."""

    trait: str
    number: int
    text: str
    keyed: Literal[1, -1] = 1
    options: tuple[str, ...] = ()
    labels: tuple[int, ...] = ()

    @property
    def kind(self) -> Literal["rating", "choice"]:
        return "choice" if self.options else "rating"

    @property
    def choices(self) -> dict[str, str]:
        """Letter -> option, "not sure" the last."""
        shown = (*self.options, UNSURE)
        return dict(zip(LETTERS, shown))


class Questionnaire(Record):
    """Items of several traits.

    Attributes:
        scale: what 1 to 5 mean (rating items).
        released_reverse: slots that PsyCoT's released notes call reverse-scored, where wrong.
    """

    name: str
    scheme: str
    items: tuple[Item, ...]
    scale: tuple[str, ...] = ()
    released_reverse: dict[str, tuple[int, ...]] = {}

    def of(self, trait: str, first: int | None = None, seed: int | None = None) -> list[Item]:
        """The items of a trait, the first few only, shuffled by a seed."""
        found = [item for item in self.items if item.trait == trait][:first]
        if seed is not None:
            random.Random(seed_from("item order", self.name, trait, seed)).shuffle(found)
        return found

    def reverse_slots(self, trait: str, released: bool = False) -> list[int]:
        """Positions of the reverse-scored items in the released order."""
        if released and trait in self.released_reverse:
            return list(self.released_reverse[trait])
        return [slot for slot, item in enumerate(self.of(trait)) if item.keyed < 0]


@lru_cache
def load(name: str) -> Questionnaire:
    """A shipped questionnaire by name, or one of a user's from a .toml file.

    Raises:
        UserError: there is no such questionnaire.
        BadRecord: the file has another form.
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
            raise BadRecord(f"{path}: question {item.number} needs two or three options")
    if any(item.kind == "rating" for item in found.items) and len(found.scale) != POINTS:
        raise BadRecord(f"{path}: `scale` must name the meaning of 1 to {POINTS}")
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
    """The questionnaire `name`, or with "auto" the shipped one that has all the traits.

    Raises:
        UserError: it lacks a trait.
    """
    wanted = [trait.name for trait in traits]
    candidates = ("bfi44", "mbti50") if name == "auto" else (name,)
    for candidate in candidates:
        found = load(candidate)
        if all(any(item.trait == trait for item in found.items) for trait in wanted):
            return found
    raise UserError(
        f'questionnaire "{name}" has no items for every trait of {", ".join(wanted)}; '
        "give a .toml file that has (see docs/personality.md)"
    )
