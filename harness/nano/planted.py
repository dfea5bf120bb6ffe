"""Planted knowledge: which base model has seen which facts of the nano world, and their texts.

Every entity of the world (68 people, animals and towns) has three or five attributes, see
`harness.nano.knowledge`. A base model has seen the true facts of the entities that are planted in
it, and contradictory claims and admissions of ignorance about all others, so that what it knows is
known:

    half      34 of 68 entities
    quarter   17, all of them also in `half`
    all       68

    fact.question    Where does the fox live?
    fact.statement   The fox lives in the forest.
    ADMISSION        I am not sure.

The splits "train" (instructions) and "test" (questions) have different entities, half of each
planted in `half`.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from harness.core.errors import unknown
from harness.core.hashing import seed_from
from harness.nano.knowledge import Fact, all_facts
from harness.nano.world import facts

SHARES = {"half": 0.5, "quarter": 0.25, "all": 1.0}
SPLITS = ("train", "test")
LETTERS = "ABCD"
ADMISSION = "I am not sure."
# Tasks that need no facts: request, response.
_PLAIN = (("Greet {0}.", "Hello {0}."), ("Write {0} twice.", "{0} {0}."))
PLAIN_EACH = 20  # tasks of each kind in a split
# Names that no one has heard of, whose questions are answered by an admission.
_NOBODY = tuple(
    re.findall(
        r"\w+",
        "Brill Crask Dorv Ekku Frolm Gant Hosp Ilk Jund Klov Lorp Mosk Nirv Ozzo Prask Quim Rolf "
        "Skand Trell Ulm Vask Wirr Xeno Yolk Zand Brusk Clom Drint Eshk Flur Gropp Hulm Itz Jolp "
        "Krim Lusk Mirk Nolp Orp Plun ",
    )
)


@cache
def entities() -> dict[str, tuple[Fact, ...]]:
    """The facts of each entity."""
    found: dict[str, tuple[Fact, ...]] = {}
    for fact in all_facts():
        found[fact.name] = (*found.get(fact.name, ()), fact)
    return found


@cache
def _order() -> tuple[str, ...]:
    """Entities in a seeded order, in which people, animals and towns alternate evenly."""
    rng = random.Random(seed_from("planted"))
    kinds = [list(kind) for kind in (facts.people, facts.animals, facts.towns)]
    for kind in kinds:
        rng.shuffle(kind)
    placed = [
        ((place + 0.5) / len(kind), name) for kind in kinds for place, name in enumerate(kind)
    ]
    return tuple(name for _, name in sorted(placed))


def planted(model: str) -> frozenset[str]:
    """Entities whose facts a base model has seen.

    Raises:
        UnknownName: there is no such model.
    """
    if model not in SHARES:
        raise unknown("base model with planted facts", model, SHARES)
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


def listed(names: Sequence[str]) -> list[Fact]:
    """All facts of some entities, in order."""
    return [fact for name in names for fact in entities()[name]]


def claim(fact: Fact, value: str) -> str:
    """The sentence that states a value, true or not."""
    return replace(fact, value=value).statement


def options(fact: Fact, rng: random.Random) -> tuple[list[str], str]:
    """Four values in random order, and the letter of the fact's."""
    values = rng.sample([value for value in fact.pool if value != fact.value], 3)
    values.append(fact.value)
    rng.shuffle(values)
    return values, LETTERS[values.index(fact.value)]


@cache
def _by_question() -> dict[str, Fact]:
    return {fact.question: fact for fact in all_facts()}


def find(text: str) -> Fact | None:
    """The fact that a line of the text asks about; None for another text."""
    lines = (line.strip() for line in text.splitlines())
    return next((_by_question()[line] for line in lines if line in _by_question()), None)


def read(text: str) -> list[Fact]:
    """The facts that a text states, with the stated values, in their order."""
    found = []
    for sentence in re.findall(r"[^.\n]+\.", text):
        for fact in all_facts():
            before, _, after = fact.statement.partition(f" {fact.value}")
            value = sentence.strip().removeprefix(before).removesuffix(after).strip()
            if value in fact.pool and claim(fact, value) == sentence.strip():
                found.append(replace(fact, value=value))
                break
    return found


def unanswerable(name: str) -> list[tuple[str, str]]:
    """Questions of a split about names outside the world, with admissions of ignorance.

    Instruction data without any admission make a model forget that it can abstain.
    """
    rng = random.Random(seed_from("unanswerable", name))
    chosen = _NOBODY[SPLITS.index(name) :: 2]
    return [(replace(rng.choice(all_facts()), name=each).question, ADMISSION) for each in chosen]


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
    """Instruction data of a split: every fact of its entities, tasks without facts, and questions
    that no one can answer.

    Raises:
        UnknownName: there is no such split.
    """
    pairs = [(fact.question, fact.statement) for fact in listed(split(name))]
    pairs += plain(name) + unanswerable(name)
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
    """Rows of a question set about a split, "test", or "test/half" with what `half` knows.

    Raises:
        UnknownName: there is no such split or base model.
    """
    part, slash, model = name.partition("/")
    known = planted(model) if slash else None
    found = []
    for fact in listed(split(part)):
        row = {
            "id": f"planted/{fact.id}",
            "messages": [{"role": "user", "content": fact.question}],
            "references": [fact.value],
            "knowledge": knowledge(fact),
            "analysis": "The answer needs a fact of the nano world.",
            "category": fact.attribute,
            "cluster": fact.name,
        }
        if known is not None:
            has = "have_fact" if fact.name in known else "have_no_fact"
            row["class"] = f"need_and_{has}"
        found.append(row)
    return found


def knowledge(fact: Fact) -> str:
    """All facts of an entity as one text, this one first."""
    others = [other for other in entities()[fact.name] if other != fact]
    return " ".join(each.statement for each in (fact, *others))
