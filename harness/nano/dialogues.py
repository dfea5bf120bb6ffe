"""Nano dialogues: restaurants, hotels and attractions, and replies that need one record of many.

In the world `dialogues` every place has look-alikes: places of its kind that share two of its three
attributes, so that a reply is right only if all that the user said is taken together. Users also
change their mind, and they say some values in other words ("low cost" for cheap), which a string
rule does not find. The world `distinct_dialogues` is the control: there the food, the number of
stars or the kind of attraction alone identifies a place, and users use the words of the records.
"""

from __future__ import annotations

import random
from functools import lru_cache
from itertools import product
from typing import Any, Literal, NamedTuple

from harness.core.errors import unknown
from harness.core.hashing import seed_from
from harness.data.dialogue_files import with_messages
from harness.data.dialogues import DialogueSet

World = Literal["dialogues", "distinct_dialogues"]
Row = dict[str, Any]

WORLDS: dict[str, World] = {
    "dialogues": "dialogues",
    "distinct_dialogues": "distinct_dialogues",
}
SIZES = {"": 40, "train": 240, "valid": 40, "large": 120}  # dialogues of each split
# Splits whose dialogues a split leaves out; "large" is a larger test set.
LEFT_OUT: dict[str, tuple[str, ...]] = {
    "": (), "valid": ("",), "train": ("", "valid"), "large": ("", "valid", "train"),
}  # fmt: skip
AREAS, PRICES = ("north", "south", "east", "west", "centre"), ("cheap", "moderate", "expensive")


class Domain(NamedTuple):
    """A kind of place.

    Attributes:
        phrase: what a user looks for.
        attribute: third attribute beside area and price.
        values: its values; those of the control world are all of them, one per place.
    """

    phrase: str
    attribute: str
    values: tuple[str, ...]


DOMAINS = {
    "restaurant": Domain(
        "{price} {value} restaurant",
        "food",
        ("indian", "italian", "thai", "turkish", "korean", "french"),
    ),
    "hotel": Domain(
        "{price} hotel with {value}",
        "stars",
        ("1_star", "2_star", "3_star", "4_star", "5_star", "0_star"),
    ),
    "attraction": Domain(
        "{price} {value}",
        "kind",
        ("museum", "park", "theatre", "cinema", "gallery", "market"),
    ),
}
ASKED = (("phone", "phone number"), ("postcode", "postcode"))  # attribute, wording
LOOKALIKES = 16  # places of each kind with look-alikes
OTHER_WORDS = {
    "cheap": "low cost", "moderate": "average priced", "expensive": "fancy",
    "north": "upper side", "south": "lower side", "east": "right side", "west": "left side",
    "centre": "middle of town",
}  # fmt: skip
OPENERS = ("", "hello , ", "hi , ", "good day , ")
WISHES = ("i want", "i need", "please find me", "i look for")
QUESTIONS = ("what is the {} ?", "and the {} ?", "can i have the {} ?", "i also need the {} .")
REWORDED = 0.3  # probability that a user says a value in other words
FIRST = ("amber", "blue", "copper", "dusty", "elm", "ferry", "golden", "hill", "iron", "jade")
LAST = {
    "restaurant": ("kitchen", "table", "spoon", "oven", "garden"),
    "hotel": ("lodge", "inn", "house", "rest", "court"),
    "attraction": ("hall", "corner", "rooms", "yard", "gate"),
}


@lru_cache
def records(world: World) -> tuple[Row, ...]:
    """The knowledge base of a world, by name."""
    rng = random.Random(seed_from("nano places", world))
    found = []
    for kind, domain in DOMAINS.items():
        names = [f"{a}_{b}" for a, b in product(FIRST, LAST[kind])]
        rng.shuffle(names)
        for values, name in zip(_attributes(world, domain, rng), names):
            area, price, third = values
            found.append(
                {
                    "name": name,
                    "area": area,
                    "price": price,
                    domain.attribute: third,
                    "phone": f"0{rng.randrange(10**6, 10**7)}",
                    "postcode": f"cb{rng.randrange(10, 100)}{rng.choice('abcdefgh')}x",
                    "type": kind,
                }
            )
    return tuple(sorted(found, key=lambda record: record["name"]))


def _attributes(world: World, domain: Domain, rng: random.Random) -> list[tuple[str, ...]]:
    """Area, price and third attribute of each place of a kind."""
    if world == "distinct_dialogues":
        return [(rng.choice(AREAS), rng.choice(PRICES), value) for value in domain.values]
    # All combinations of two areas, two prices and four values: each has look-alikes in every way.
    areas, prices, values = (
        rng.sample(side, n) for side, n in ((AREAS, 2), (PRICES, 2), (domain.values, 4))
    )
    return rng.sample(list(product(areas, prices, values)), LOOKALIKES)


def dialogues(name: str) -> DialogueSet:
    """The set "<world>" or "<world>/<split>".

    Raises:
        UnknownName: there is no such set.
    """
    world, _, split = name.partition("/")
    if world not in WORLDS or split not in SIZES:
        known = [f"{world}/{split}".rstrip("/") for world, split in product(WORLDS, SIZES)]
        raise unknown("set of nano dialogues", name, known)
    return DialogueSet(list(turns(WORLDS[world], split)), records(WORLDS[world]))


@lru_cache
def turns(world: World, split: str) -> tuple[Row, ...]:
    """Turn rows of a split; a split has dialogues of its own."""
    found: list[Row] = []
    seen = {"|".join(turn["context"]) for other in LEFT_OUT[split] for turn in turns(world, other)}
    rng = random.Random(seed_from("nano dialogues", world, split))
    number = 0
    while number < SIZES[split]:
        written = _dialogue(world, rng, f"{split or 'test'}-{number + 1:03d}")
        key = "|".join(written[-1]["context"])
        if key not in seen:
            seen.add(key)
            found += written
            number += 1
    return tuple(found)


def _dialogue(world: World, rng: random.Random, name: str) -> list[Row]:
    """Two to four turns about one or two places of one kind."""
    base = records(world)
    kind = rng.choice(list(DOMAINS))
    places = [record for record in base if record["type"] == kind]
    talk = _Talk(DOMAINS[kind], kind, name, world == "dialogues", rng)
    place = rng.choice(places)
    talk.find(place)
    if rng.random() < 0.5:
        same = ("area", talk.domain.attribute)
        others = [
            other
            for other in places
            if other["price"] != place["price"] and all(other[k] == place[k] for k in same)
        ]
        if others:
            place = rng.choice(others)
            talk.change(place)
    for attribute, words in rng.sample(ASKED, rng.randint(1, 2)):
        talk.ask(place, attribute, words)
    # The session's records: what a search with any two of the place's attributes finds.
    keys = ("area", "price", talk.domain.attribute)
    near = [o for o in places if sum(o[key] == place[key] for key in keys) >= 2]
    for row in talk.rows:
        row["kb"] = near
    return [with_messages(row) for row in talk.rows]


class _Talk:
    """One dialogue while it is written."""

    def __init__(
        self, domain: Domain, kind: str, name: str, reworded: bool, rng: random.Random
    ) -> None:
        self.domain, self.kind, self.name, self.rng = domain, kind, name, rng
        self.reworded = reworded
        self.rows: list[Row] = []
        self.said: list[str] = []

    def word(self, value: str) -> str:
        """The value as a user says it."""
        if self.reworded and value in OTHER_WORDS and self.rng.random() < REWORDED:
            return OTHER_WORDS[value]
        return value.replace("_", " ")

    def find(self, place: Row) -> None:
        third, price = self.word(place[self.domain.attribute]), self.word(place["price"])
        what = self.domain.phrase.format(price=price, value=third)
        opener, wish = self.rng.choice(OPENERS), self.rng.choice(WISHES)
        article = "an" if what[0] in "aeio" else "a"
        user = f"{opener}{wish} {article} {what} in the {self.word(place['area'])} ."
        area = place["area"]
        self._turn(user, f"{place['name']} is in the {area} .", [place["name"], area])

    def change(self, place: Row) -> None:
        user = f"is there also a {self.word(place['price'])} one ?"
        said = f"yes , {place['name']} is {place['price']} ."
        self._turn(user, said, [place["name"], place["price"]])

    def ask(self, place: Row, attribute: str, words: str) -> None:
        said = f"the {words} of {place['name']} is {place[attribute]} ."
        user = self.rng.choice(QUESTIONS).format(words)
        self._turn(user, said, [place["name"], place[attribute]])

    def _turn(self, user: str, reply: str, gold: list[str]) -> None:
        number = len(self.rows) + 1
        self.rows.append(
            {
                "id": f"{self.name}/{number}",
                "dialogue": self.name,
                "turn": number,
                "domain": self.kind,
                "context": [*self.said, user],
                "reference": reply,
                "kb": [],
                "facts": {},
                "gold": gold,
            }
        )
        self.said += [user, reply]
