"""Nano authors: people with latent traits, and texts that give evidence of them.

A trait makes the behaviour that an item of a questionnaire asks about likely, not certain. A text
contains evidence on a few items per trait, so the trait is the majority of weak evidence. A
sentence contains one keyword of an item and its degree in the author. A reader that counts all
evidence correctly gets about 89 % of the traits right.

    essays, posts     160 authors each; "<set>/train": 400 others
    <set>/large       more authors, none of them in the other sets
    <set>/unrelated   authors and labels of a set with other texts, whose sentences agree with the
                      trait or not by a coin, so that nobody can read it (also of "<set>/train")
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

FAITH = 0.78  # probability that a sentence agrees with the author's trait
COIN = 0.5  # the same where texts are unrelated to traits
PLAIN = 0.7  # probability that a sentence is affirmative, not negative
EVIDENCE_ITEMS = (3, 4, 5)  # number of items per trait with evidence in a text
QUESTIONNAIRES: dict[Kind, str] = {"essays": "bfi44", "posts": "mbti50"}
SIZES = {
    "essays": 160, "essays/train": 400, "essays/large": 360,
    "posts": 160, "posts/train": 400, "posts/large": 280,
}  # fmt: skip
UNRELATED = "/unrelated"
SPLITS = {
    split + end: size
    for split, size in SIZES.items()
    for end in (("", UNRELATED) if "/" in split else ("",))
}


class Evidence(NamedTuple):
    """Evidence of one sentence on one item.

    Attributes:
        trait, number: trait and number of the item.
        level: the correct rating of the item, 1, 2, 4 or 5.
        agrees: whether the sentence agrees with the statement, or with the option for label 1.
        label: label of the trait that the sentence indicates.
    """

    trait: str
    number: int
    level: int
    agrees: bool
    label: int


@lru_cache(maxsize=1)
def phrases() -> dict[str, Any]:
    """Phrases from which texts are composed (authors.toml)."""
    return read_toml(Path(__file__).with_suffix(".toml"))


@lru_cache
def sentences(kind: Kind) -> dict[str, Evidence]:
    """Evidence of every possible sentence on the items of the questionnaire of `kind`."""
    from harness.suites.personality.questionnaires import load

    form, parts = load(QUESTIONNAIRES[kind]), phrases()
    keys = {(item.trait, item.number): item.keyed > 0 for item in form.items}
    found: dict[str, Evidence] = {}
    for trait, items in parts[form.name].items():
        for number, *words in items:
            for (side, word), (level, verdicts) in product(
                enumerate(words), parts["verdicts"].items()
            ):
                agrees = (int(level) > 3) == (side == 0)
                label = int(agrees == keys[trait, number])
                given = Evidence(trait, number, int(level), agrees, label)
                for opener, verdict in product(parts["openers"] if word else (), verdicts):
                    found[f"{opener} {word}, {verdict}."] = given
    return found


@lru_cache(maxsize=1)
def keywords() -> list[str]:
    """Keywords shared by sentences and items, longest first."""
    forms = [phrases()[form] for form in QUESTIONNAIRES.values()]
    words = {w for form in forms for items in form.values() for _, *ws in items for w in ws if w}
    return sorted(words, key=lambda word: (-len(word), word))


@lru_cache
def words(kind: Kind) -> dict[tuple[str, int], list[str]]:
    """Keywords of each item, by (trait, number)."""
    items = phrases()[QUESTIONNAIRES[kind]]
    return {(t, n): [w for w in ws if w] for t, entries in items.items() for n, *ws in entries}


def evidence(row: Row) -> list[Evidence]:
    """Evidence in an author's text, in order: the ground truth for readers.

    >>> evidence({"text": "It rains again. As for shy, hardly."})
    [Evidence(trait='ext', number=31, level=2, agrees=False, label=1)]
    """
    kind: Kind = "posts" if "posts" in row else "essays"
    texts = row["posts"] if kind == "posts" else [row["text"]]
    parts = (f"{part}." for text in texts for part in text.rstrip(".").split(". "))
    return [sentences(kind)[part] for part in parts if part in sentences(kind)]


def traits(kind: Kind) -> list[str]:
    """Names of the traits of `kind`, in order."""
    return list(phrases()[QUESTIONNAIRES[kind]])


def rows(split: str) -> list[Row]:
    """Author rows of a split, {"id", "text" or "posts", "labels"}; half of the labels are 1.

    Raises:
        UnknownName: there is no such split.
    """
    if split not in SPLITS:
        raise unknown("set of nano authors", split, SPLITS)
    return write(split, SPLITS[split])


def write(split: str, n: int, seed: int = 0) -> list[Row]:
    """Generate `n` authors from a seed; the name of the split begins with the kind ("essays/x").

    A name that ends in "/unrelated" has the authors and labels of the one without it.
    """
    rng = random.Random(seed_from("nano authors", split.removesuffix(UNRELATED), seed))
    kind: Kind = "posts" if split.startswith("posts") else "essays"
    columns = {name: rng.sample([i % 2 for i in range(n)], n) for name in traits(kind)}
    faith = FAITH
    if split.endswith(UNRELATED):
        faith, rng = COIN, random.Random(seed_from("nano authors", split, seed))
    prefix = f"nano-{split.replace('/', '-')}"
    made = []
    for index in range(n):
        labels = {name: column[index] for name, column in columns.items()}
        written = _sentences(kind, labels, faith, rng)
        body = {"posts": _posts(written, rng)} if kind == "posts" else {"text": " ".join(written)}
        made.append({"id": f"{prefix}-{index + 1:04d}", **body, "labels": labels})
    return made


def _sentences(kind: Kind, labels: dict[str, int], faith: float, rng: random.Random) -> list[str]:
    """Sentences of an author, shuffled; `faith` is the probability that one agrees with a label."""
    written = rng.sample(phrases()["idle"], rng.randint(1, 3))
    for trait, label in labels.items():
        items = by_item(kind)[trait]
        free = rng.sample(sorted(items), len(items))
        for _ in range(rng.choice(EVIDENCE_ITEMS)):
            shown = label if rng.random() < faith else 1 - label
            plain = rng.random() < PLAIN
            number = next((n for n in free if (shown, plain) in items[n]), free[0])
            free.remove(number)
            ways = items[number]
            written.append(rng.choice(ways.get((shown, plain)) or ways[shown, not plain]))
    rng.shuffle(written)
    return written


@lru_cache
def by_item(kind: Kind) -> dict[str, dict[int, dict[tuple[int, bool], list[str]]]]:
    """Sentences by trait, item number, and (label, affirmative)."""
    found: dict[str, dict[int, dict[tuple[int, bool], list[str]]]] = {}
    for sentence, given in sentences(kind).items():
        ways = found.setdefault(given.trait, {}).setdefault(given.number, {})
        ways.setdefault((given.label, given.level > 3), []).append(sentence)
    return found


def _posts(written: list[str], rng: random.Random) -> list[str]:
    """Six to ten posts of a few sentences; some contain no evidence."""
    full = rng.randint(6, 8)
    posts = [" ".join(written[start::full]) for start in range(full)]
    for _ in range(rng.randint(0, 2)):
        posts.insert(rng.randint(0, len(posts)), rng.choice(phrases()["short"]))
    return posts
