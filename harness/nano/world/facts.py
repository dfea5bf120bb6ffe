"""Facts of the nano world: people, animals, towns and words, fixed by a seed.

Everything is invented. Attributes are assigned in turn, not drawn, so that each value is used about
equally often; the pairs used in inverse questions (food and home, river and founder) are unique.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import product

from harness.core.hashing import seed_from


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


PEOPLE = _words(
    "Mira Tobin Ada Orrin Lena Jory Edda Pim Nils Vera Hugo Iris "
    "Olaf Rhea Sven Tilda Bram Cora Dirk Elsa Finn Gwen Hana Ivor"
)
ANIMALS = _words(
    "fox owl bear hare frog wolf deer crab seal swan toad lynx "
    "mole crow duck goat newt carp moth wasp stork otter robin shrew"
)
TOWNS = _words(
    "Dale Ashby Corin Elmet Fenton Garth Holt Kirk Lund Norby "
    "Oakam Penrith Quorn Ripon Selby Thorn Ulver Wells Yarm Zeal"
)

JOBS = ("baker", "smith", "miller", "tailor", "sailor", "potter", "weaver", "hunter")
FOODS = ("fish", "grass", "seeds", "bugs", "roots", "fruit")
HOMES = ("forest", "river", "hill", "marsh", "field", "coast")
COLORS = ("red", "blue", "green", "black", "white", "gold")
SIZES = ("tiny", "small", "big", "huge")
SEASONS = ("spring", "summer", "autumn", "winter")
RIVERS = ("Ouse", "Tarn", "Wye", "Esk", "Nene", "Avon")
FOUNDERS = ("Orm", "Ulf", "Knut", "Edgar", "Alwin", "Offa")
CRAFTS = ("wool", "glass", "salt", "tin", "honey", "cloth")
REGIONS = ("north", "south", "east", "west")
WORDS = (  # by length: 3, 4, 5 and 6 letters are difficulties 1 to 4
    _words("sun hat map pen cup bag net jam oil ice key log rod web"),
    _words("lamp bird song tree milk rope snow coin leaf harp desk gift wolf kite"),
    _words("bread stone cloud plant chair table river brick crown flame grape horse"),
    _words("garden winter basket candle bridge pocket silver carpet throne marble"),
)


@dataclass(frozen=True, slots=True)
class Person:
    """A person and its attributes."""

    name: str
    job: str
    pet: str
    town: str


@dataclass(frozen=True, slots=True)
class Animal:
    """An animal and its attributes."""

    name: str
    food: str
    home: str
    color: str
    size: str
    season: str


@dataclass(frozen=True, slots=True)
class Town:
    """A town and its attributes."""

    name: str
    river: str
    founder: str
    craft: str
    region: str
    feast: str


def _deal(values: tuple[str, ...], n: int, name: str) -> list[str]:
    """`n` values in a seeded order; the numbers of uses of two values differ by at most one."""
    rng = random.Random(seed_from("deal", name))
    dealt = [values[i % len(values)] for i in range(n)]
    rng.shuffle(dealt)
    return dealt


def _pairs(
    left: tuple[str, ...], right: tuple[str, ...], n: int, name: str
) -> list[tuple[str, str]]:
    pairs = list(product(left, right))
    random.Random(seed_from("pairs", name)).shuffle(pairs)
    return pairs[:n]


def _animals() -> dict[str, Animal]:
    n = len(ANIMALS)
    pairs = _pairs(FOODS, HOMES, n, "animal")
    rest = zip(
        _deal(COLORS, n, "color"), _deal(SIZES, n, "size"), _deal(SEASONS, n, "season"), strict=True
    )
    rows = zip(ANIMALS, pairs, rest, strict=True)
    return {name: Animal(name, *pair, *attributes) for name, pair, attributes in rows}


def _towns() -> dict[str, Town]:
    n = len(TOWNS)
    pairs = _pairs(RIVERS, FOUNDERS, n, "town")
    rest = zip(
        _deal(CRAFTS, n, "craft"),
        _deal(REGIONS, n, "region"),
        _deal(SEASONS, n, "feast"),
        strict=True,
    )
    rows = zip(TOWNS, pairs, rest, strict=True)
    return {name: Town(name, *pair, *attributes) for name, pair, attributes in rows}


def _people() -> dict[str, Person]:
    n = len(PEOPLE)
    rows = zip(
        PEOPLE,
        _deal(JOBS, n, "job"),
        _deal(ANIMALS, n, "pet"),
        _deal(TOWNS, n, "home"),
        strict=True,
    )
    return {name: Person(name, job, pet, town) for name, job, pet, town in rows}


animals = _animals()
towns = _towns()
people = _people()

# Values that can be confused: a wrong answer is another value of the same pool.
POOLS: tuple[tuple[str, ...], ...] = (
    JOBS, FOODS, HOMES, COLORS, SIZES, SEASONS, RIVERS, FOUNDERS, CRAFTS, REGIONS,
    PEOPLE, ANIMALS, TOWNS, ("odd", "even"),
)  # fmt: skip
