"""Entities in the surface text of a reply: entity lists, and extraction by their values.

A value counts where it occurs as a substring, without word boundaries, as in the reference code
(18907305772/MAKER, evaluation.py). Longer values are tried first, equally long ones in the order of
the text; the reference takes equally long ones out of a Python set, so that its MultiWOZ figures
depend on the hash seed. Rules:

    plain      take a value that occurs and is not part of a value taken before
    smd        the same, after joining "10 am" to "10am" and "20-40f" to "20f-40f"
    multiwoz   take a value and delete it everywhere before the next is tried; numbers of matches
               (slot `choice`), "centre" and "free" count in certain phrases only
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, get_args

from harness.core.errors import BadData, unknown
from harness.data.dialogues import Rules
from harness.engine.io import read_json
from harness.suites.dialogue.text import surface

CHOICE = "choice"
# Values that KVRET's entity file lacks; " hr " replaces a bare "hr", which is in "three".
SMD_EXTRA = (
    "yoga", "tennis", "swimming", "football", " lab ", "doctor", "optometrist", "dentist",
    *(f"{n}{'st' if n == 1 else 'nd' if n == 2 else 'rd' if n == 3 else 'th'}"
      for n in range(1, 21)),
    "jill", "jack", " hr ",
)  # fmt: skip
SMD_WITHOUT = "hr"

_HOUR = re.compile(r"\b(1[0-2]|[0-9]) (am|pm)\b")
_DEGREES = re.compile(r"\b(100|[1-9]0)-((?:100|[1-9]0)f)\b")
_NOT_MANY = re.compile(r"many (?:other types|food types|cuisines)|how many")
_ALL = re.compile(r"all (?:of the|expensive|moderate|cheap)")
_COUNTED = r"(?:there are|there is|found|have about|have)(?: only|) "
_NOT_CENTRE = "cambridge towninfo centre"
_FREE = re.compile(r"free (?:parking|internet|wifi)")


@dataclass(frozen=True)
class Entity:
    """A value of an entity list; `counts_matches` for values of MultiWOZ's slot `choice`."""

    value: str
    counts_matches: bool = False

    @property
    def length(self) -> int:
        """Length by which the list is sorted; the reference sorts "choice-<value>"."""
        return len(self.value) + (len(CHOICE) + 1) * self.counts_matches


@dataclass(frozen=True)
class EntityList:
    """Values in the order in which they are tried, and the rules of their data set."""

    entities: tuple[Entity, ...]
    rules: Rules

    @property
    def values(self) -> frozenset[str]:
        return frozenset(entity.value for entity in self.entities)


def read_entities(path: Path, rules: Rules) -> EntityList:
    """The entity list of a file, slot -> values.

    Raises:
        BadData: the file is not such a table.
    """
    slots = read_json(path)
    if not isinstance(slots, dict) or not slots:
        raise BadData(f"{path}: expected an object, slot -> list of values")
    return entity_list(slots, rules, str(path))


def entity_list(slots: Mapping[str, Any], rules: Rules, where: str = "entities") -> EntityList:
    """The list of a table slot -> values; case, underscores and repetitions do not matter.

    KVRET's table is read in both circulating forms: distances "5" or "5_miles", temperatures "20"
    or "20f", places as objects with address, poi and type.

    Raises:
        BadData: a slot is no list of texts, numbers or places.
        UnknownName: there are no such rules.

    >>> [entity.value for entity in entity_list({"area": ["North", "east_side"]}, "plain").entities]
    ['east side', 'north']
    """
    if rules not in get_args(Rules):
        raise unknown("rules of entity extraction", rules, get_args(Rules))
    found: set[Entity] = set()
    for slot, values in slots.items():
        if not isinstance(values, list):
            raise BadData(f'{where}: slot "{slot}" is {values!r:.40}; expected a list of values')
        for value in values:
            for text in _texts(slot, value, rules, where):
                found.add(Entity(text, rules == "multiwoz" and slot == CHOICE))
    if rules == "smd":
        found = {entity for entity in found if entity.value != SMD_WITHOUT}
        found |= {Entity(value) for value in SMD_EXTRA}
    return EntityList(tuple(sorted(found, key=lambda e: (-e.length, e.value))), rules)


def _texts(slot: str, value: Any, rules: Rules, where: str) -> Iterable[str]:
    if isinstance(value, dict):
        parts = [value.get(key) for key in ("address", "poi", "type")]
    elif isinstance(value, str | int | float) and not isinstance(value, bool):
        parts = [value]
    else:
        raise BadData(f'{where}: slot "{slot}" contains {value!r:.40}; expected a text or a place')
    for part in parts:
        text = " ".join(surface(str("" if part is None else part)).lower().split())
        if rules == "smd" and slot == "distance":
            text = f"{text.removesuffix('miles').strip()} miles"
        if rules == "smd" and slot == "temperature":
            text = f"{text.removesuffix('f').strip()}f"
        if text:
            yield text


def extract(text: str, entities: EntityList) -> list[str]:
    """Values of the list in a reply, in the order in which they were found.

    >>> known = entity_list({"name": ["curry garden", "garden"]}, "plain")
    >>> extract("Curry Garden is nice", known)
    ['curry garden']
    """
    padded = f" {text} ".lower()
    if entities.rules == "multiwoz":
        return _multiwoz(padded, entities)
    if entities.rules == "smd":
        padded = _DEGREES.sub(r"\1f-\2", _HOUR.sub(r"\1\2", padded))
    found: list[str] = []
    for entity in entities.entities:
        value = entity.value
        if value in padded and not any(value in taken for taken in found):
            found.append(value)
    return found


def _multiwoz(text: str, entities: EntityList) -> list[str]:
    found = []
    for entity in entities.entities:
        value = entity.value
        # Every rule needs the value in the text; nearly all values fail this one fast test.
        if value in text and counts_as_entity(entity, text):
            found.append(value)
            text = text.replace(value, " ")
    return found


def counts_as_entity(entity: Entity, text: str) -> bool:
    """Whether a value that is in the text is meant as an entity of MultiWOZ."""
    match entity.counts_matches, entity.value:
        case True, "many":
            return "many" in _NOT_MANY.sub(" ", text)
        case True, "all":
            return _ALL.search(text) is not None
        case True, "to":
            return False
        case True, value:
            return _counted(value).search(text) is not None
        case False, "centre":
            return "centre" in text.replace(_NOT_CENTRE, " ")
        case False, "free":
            return _FREE.search(text) is not None
    return True


@lru_cache(maxsize=4096)
def _counted(value: str) -> re.Pattern[str]:
    return re.compile(_COUNTED + re.escape(value))
