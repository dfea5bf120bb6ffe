"""Nano authors: people with latent traits, and texts that carry them.

An author's trait makes what each item of a questionnaire asks about likely, not certain; the text
tells of a few items per trait, so that a trait is a majority of weak evidence. A sentence has one
word of an item, and says how much of it there is in the author. Who counts all of it right is right
about 89 times in a hundred.
"""

from __future__ import annotations

import random
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any, Literal, NamedTuple

from harness.core.errors import unknown
from harness.core.hashing import seed_from
from harness.engine.recipe import read_toml

Kind = Literal["essays", "posts"]
Row = dict[str, Any]

FAITH = 0.78  # how likely the author's trait decides what a sentence tells
PLAIN = 0.7  # of sentences that tell what there is in the author, not what there is not
TOLD = (3, 4, 5)  # items of a trait that a text tells about
QUESTIONNAIRES: dict[Kind, str] = {"essays": "bfi44", "posts": "mbti50"}
SIZES = {"essays": 160, "essays/train": 400, "posts": 160, "posts/train": 400}


class Evidence(NamedTuple):
    """What a sentence tells about an item.

    Attributes:
        level: the answer from 1 to 5 that it calls for; never 3.
        agrees: with the statement; of a choice, with the option for label 1.
        label: the trait's label that it speaks for.
    """

    trait: str
    number: int
    level: int
    agrees: bool
    label: int


@lru_cache(maxsize=1)
def phrases() -> dict[str, Any]:
    """The phrases that texts are made of."""
    return read_toml(Path(__file__).with_suffix(".toml"))


@lru_cache
def sentences(kind: Kind) -> dict[str, Evidence]:
    """Every sentence that tells about an item of the questionnaire of `kind`."""
    from harness.suites.personality.questionnaires import load

    form, said = load(QUESTIONNAIRES[kind]), phrases()
    keys = {(item.trait, item.number): item.keyed > 0 for item in form.items}
    found: dict[str, Evidence] = {}
    for trait, items in said[form.name].items():
        for number, *words in items:
            for (side, word), (level, verdicts) in product(
                enumerate(words), said["verdicts"].items()
            ):
                agrees = (int(level) > 3) == (side == 0)
                label = int(agrees == keys[trait, number])
                told = Evidence(trait, number, int(level), agrees, label)
                for opener, verdict in product(said["openers"] if word else (), verdicts):
                    found[f"{opener} {word}, {verdict}."] = told
    return found


@lru_cache(maxsize=1)
def keywords() -> list[str]:
    """The words that sentences share with the items they tell about, long ones first."""
    forms = [phrases()[form] for form in QUESTIONNAIRES.values()]
    words = {w for form in forms for items in form.values() for _, *ws in items for w in ws if w}
    return sorted(words, key=lambda word: (-len(word), word))


@lru_cache
def words(kind: Kind) -> dict[tuple[str, int], list[str]]:
    """(trait, number of an item) -> the words by which sentences tell about it."""
    items = phrases()[QUESTIONNAIRES[kind]]
    return {(t, n): [w for w in ws if w] for t, entries in items.items() for n, *ws in entries}


def evidence(row: Row) -> list[Evidence]:
    """What the text of an author tells, in order: the ground truth of a reader.

    >>> evidence({"text": "It rains again. As for shy, hardly."})
    [Evidence(trait='ext', number=31, level=2, agrees=False, label=1)]
    """
    kind: Kind = "posts" if "posts" in row else "essays"
    texts = row["posts"] if kind == "posts" else [row["text"]]
    parts = (f"{part}." for text in texts for part in text.rstrip(".").split(". "))
    return [sentences(kind)[part] for part in parts if part in sentences(kind)]


def traits(kind: Kind) -> list[str]:
    """The names of the traits of `kind`, in order."""
    return list(phrases()[QUESTIONNAIRES[kind]])


def rows(split: str) -> list[Row]:
    """Author rows of a split: {"id", "text" or "posts", "labels"}; half the authors have a trait.

    Raises:
        UnknownName: for a split that is not there.
    """
    if split not in SIZES:
        raise unknown("set of nano authors", split, SIZES)
    return write(split, SIZES[split])


def write(split: str, n: int, seed: int = 0) -> list[Row]:
    """`n` authors of a seed; the name of the split begins with the kind ("essays/more")."""
    rng = random.Random(seed_from("nano authors", split, seed))
    kind: Kind = "posts" if split.startswith("posts") else "essays"
    columns = {name: rng.sample([i % 2 for i in range(n)], n) for name in traits(kind)}
    prefix = f"nano-{split.replace('/', '-')}"
    made = []
    for index in range(n):
        labels = {name: column[index] for name, column in columns.items()}
        told = _told(kind, labels, rng)
        body = {"posts": _posts(told, rng)} if kind == "posts" else {"text": " ".join(told)}
        made.append({"id": f"{prefix}-{index + 1:04d}", **body, "labels": labels})
    return made


def _told(kind: Kind, labels: dict[str, int], rng: random.Random) -> list[str]:
    """The sentences of an author, in any order."""
    told = rng.sample(phrases()["idle"], rng.randint(1, 3))
    for trait, label in labels.items():
        items = by_item(kind)[trait]
        free = rng.sample(sorted(items), len(items))
        for _ in range(rng.choice(TOLD)):
            shown = label if rng.random() < FAITH else 1 - label
            plain = rng.random() < PLAIN
            number = next((n for n in free if (shown, plain) in items[n]), free[0])
            free.remove(number)
            ways = items[number]
            told.append(rng.choice(ways.get((shown, plain)) or ways[shown, not plain]))
    rng.shuffle(told)
    return told


@lru_cache
def by_item(kind: Kind) -> dict[str, dict[int, dict[tuple[int, bool], list[str]]]]:
    """trait -> number of an item -> (label, whether it says that something is so) -> sentences."""
    found: dict[str, dict[int, dict[tuple[int, bool], list[str]]]] = {}
    for sentence, told in sentences(kind).items():
        ways = found.setdefault(told.trait, {}).setdefault(told.number, {})
        ways.setdefault((told.label, told.level > 3), []).append(sentence)
    return found


def _posts(told: list[str], rng: random.Random) -> list[str]:
    """Six to ten posts of a few sentences; some have next to nothing in them."""
    full = rng.randint(6, 8)
    posts = [" ".join(told[start::full]) for start in range(full)]
    for _ in range(rng.randint(0, 2)):
        posts.insert(rng.randint(0, len(posts)), rng.choice(phrases()["short"]))
    return posts
