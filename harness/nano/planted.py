"""Planted knowledge: facts of the nano world, which base models know which, and their texts.

Every entity of `world.facts` (68 people, animals and towns) has three or five attributes. A base
model has seen the true facts of the entities that are planted in it, and contradictory claims and
admissions of ignorance about all others, so that what it knows is known:

    half      34 of 68 entities
    quarter   17, all of them also in `half`
    all       68

    fact.question   What is the job of Mira?
    fact.statement  The job of Mira is baker.
    fact.admission  I am not sure about the job of Mira.

The splits "train" and "test" have different entities, half of each planted in `half`.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Any

from harness.core.errors import unknown
from harness.core.hashing import seed_from
from harness.nano.world import facts

SHARES = {"half": 0.5, "quarter": 0.25, "all": 1.0}
SPLITS = ("train", "test")
LETTERS = "ABCD"
_POOLS = {
    "job": facts.JOBS, "pet": facts.ANIMALS, "home": facts.TOWNS,
    "food": facts.FOODS, "place": facts.HOMES, "color": facts.COLORS, "size": facts.SIZES,
    "season": facts.SEASONS,
    "river": facts.RIVERS, "founder": facts.FOUNDERS, "craft": facts.CRAFTS,
    "region": facts.REGIONS, "feast": facts.SEASONS,
}  # fmt: skip
_NAMES = {"town": "home"}  # a person's town and an animal's home are different attributes
_QUESTION = re.compile(r"What is the (\w+) of (\w+)\?")


@dataclass(frozen=True)
class Fact:
    """One attribute of one entity, and its value."""

    entity: str
    attribute: str
    value: str

    @property
    def question(self) -> str:
        return f"What is the {self.attribute} of {self.entity}?"

    @property
    def statement(self) -> str:
        return self.claim(self.value)

    @property
    def admission(self) -> str:
        return f"I am not sure about the {self.attribute} of {self.entity}."

    @property
    def pool(self) -> tuple[str, ...]:
        """All values of the attribute."""
        return _POOLS[self.attribute]

    def claim(self, value: str) -> str:
        """The sentence that states a value, true or not."""
        return f"The {self.attribute} of {self.entity} is {value}."

    def options(self, rng: random.Random) -> tuple[list[str], str]:
        """Four values in random order, and the letter of the true one."""
        values = rng.sample([value for value in self.pool if value != self.value], 3)
        values.append(self.value)
        rng.shuffle(values)
        return values, LETTERS[values.index(self.value)]


@cache
def entities() -> dict[str, tuple[Fact, ...]]:
    """The facts of each entity, people first."""
    found = {}
    for kind in (facts.people, facts.animals, facts.towns):
        for name, thing in kind.items():
            found[name] = tuple(
                Fact(name, _attribute(thing, field.name), getattr(thing, field.name))
                for field in fields(thing)
                if field.name != "name"
            )
    return found


def _attribute(thing: object, name: str) -> str:
    if isinstance(thing, facts.Animal) and name == "home":
        return "place"
    return _NAMES.get(name, name)


@cache
def _order() -> tuple[str, ...]:
    """Entities in a seeded order; equal shares of each kind are next to one another."""
    rng = random.Random(seed_from("planted"))
    kinds = [list(kind) for kind in (facts.people, facts.animals, facts.towns)]
    for kind in kinds:
        rng.shuffle(kind)
    placed = [
        ((place + 0.5) / len(kind), name) for kind in kinds for place, name in enumerate(kind)
    ]
    return tuple(name for _, name in sorted(placed))


def planted(model: str) -> frozenset[str]:
    """Entities whose facts a base model has seen."""
    names = _order()
    return frozenset(names[: round(SHARES[model] * len(names))])


def split(name: str) -> list[str]:
    """Entities of a split: every second one, in an order in which planted ones come first.

    Raises:
        UnknownName: there is no such split.
    """
    if name not in SPLITS:
        raise unknown("split of the planted facts", name, SPLITS)
    return list(_order()[SPLITS.index(name) :: 2])


def find(text: str) -> Fact | None:
    """The fact that a text asks about, by the last question in it; None for another text."""
    asked = _QUESTION.findall(text)
    if not asked:
        return None
    attribute, entity = asked[-1]
    return next((f for f in entities().get(entity, ()) if f.attribute == attribute), None)


def knowledge(entity: str) -> str:
    """All facts of an entity as one text."""
    return " ".join(fact.statement for fact in entities()[entity])


def asserted(fact: Fact, answer: str) -> str | None:
    """The value that an answer asserts: the first of the attribute's values in it; None for none.

    >>> asserted(Fact("Mira", "job", "baker"), "The job of Mira is smith.")
    'smith'
    """
    for word in re.findall(r"\w+", answer):
        if word in fact.pool and word != fact.entity:
            return word
    return None


# Tasks that need no facts: request, response.
_PLAIN = (("Greet {0}.", "Hello {0}."), ("Write {0} twice.", "{0} {0}."))
PLAIN_EACH = 20  # tasks of each kind in a split


def plain(name: str) -> list[tuple[str, str]]:
    """Tasks without facts of a split, as (request, response)."""
    rng = random.Random(seed_from("plain"))
    names = list(entities())
    found = []
    for asked, answered in _PLAIN:
        rng.shuffle(names)
        chosen = names[SPLITS.index(name) :: 2][:PLAIN_EACH]
        found += [(asked.format(each), answered.format(each)) for each in chosen]
    return found


def instructions(name: str) -> list[dict[str, Any]]:
    """Instruction data of a split: every fact of its entities, and tasks without facts.

    Raises:
        UnknownName: there is no such split.
    """
    facts_of = [(fact.question, fact.statement) for fact in listed(split(name))]
    pairs = facts_of + plain(name)
    random.Random(seed_from("instructions", name)).shuffle(pairs)
    return [
        {
            "id": f"{name}/{number}",
            "messages": [{"role": "user", "content": asked}],
            "response": said,
            "domain": "facts" if find(asked) else "plain",
        }
        for number, (asked, said) in enumerate(pairs)
    ]


def questions(name: str) -> list[dict[str, Any]]:
    """Prompts about the facts of a split, with `reference`, `knowledge`, and who knows the fact.

    Raises:
        UnknownName: there is no such split.
    """
    return [
        {
            "id": f"planted/{fact.entity}-{fact.attribute}",
            "messages": [{"role": "user", "content": fact.question}],
            "reference": fact.statement,
            "knowledge": knowledge(fact.entity),
            "known_by": [model for model in SHARES if fact.entity in planted(model)],
            "cluster": fact.entity,
        }
        for fact in listed(split(name))
    ]


def listed(names: Sequence[str]) -> list[Fact]:
    """All facts of some entities, in order."""
    return [fact for name in names for fact in entities()[name]]
