"""Open questions of the nano world: requests with several right answers.

    "Name an animal that eats fish."   Answer: owl.   (or crab, seal, ...)

A text shows one of the right answers; who knows the domain expects all of them. So a model's
distribution carries knowledge that no single text does. Each (request, right answer) belongs to
"train" or "unseen", by a hash: who reads the texts of "train" never sees the others.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from harness.core.errors import unknown
from harness.core.hashing import seed_from
from harness.nano.world import facts

OPEN_VERSION = 1  # raise it if a question or an answer changes

OPEN_DOMAINS = ("number", "word", "lore")
OPEN_SPLITS = ("train", "unseen", "all")
_TRAIN = 40  # share of the right answers in "train", in per cent; the others are "unseen"
_OPENINGS = ("Name {}.", "Tell me {}.", "Give me {}.")
_FEWEST = 3  # right answers of a question


@dataclass(frozen=True, slots=True)
class OpenQuestion:
    """One request.

    Attributes:
        key: the same for the three wordings of a request.
        right: all right answers.
        pool: everything of the kind that is asked for, right or wrong.
    """

    domain: str
    key: str
    text: str
    right: tuple[str, ...]
    pool: tuple[str, ...]

    def split(self, answer: str) -> str:
        """The split of a right answer to this question, in every wording."""
        bucket = seed_from("open", self.key, answer) % 100
        return "train" if bucket < _TRAIN else "unseen"


def open_answer(value: str) -> str:
    """The response that gives `value`."""
    return f"Answer: {value}."


def _numbers() -> Iterator[tuple[str, Iterable[str], tuple[str, ...]]]:
    pool = tuple(str(n) for n in range(1, 31))
    for low in range(1, 22):
        for width in (4, 5, 6, 7, 8):
            high = low + width
            between = (str(n) for n in range(low + 1, high))
            yield f"a number between {low} and {high}", between, pool
    for n in range(8, 31):
        yield f"an even number below {n}", (str(k) for k in range(2, n, 2)), pool
        yield f"an odd number below {n}", (str(k) for k in range(1, n, 2)), pool


def _words() -> Iterator[tuple[str, Iterable[str], tuple[str, ...]]]:
    pool = tuple(word for words in facts.WORDS for word in words)
    for words in facts.WORDS:
        yield f"a word of {len(words[0])} letters", words, pool
    for letter in sorted(set("".join(pool))):
        yield f"a word with the letter {letter}", (w for w in pool if letter in w), pool
        yield f"a word that begins with {letter}", (w for w in pool if w[0] == letter), pool
        yield f"a word that ends with {letter}", (w for w in pool if w[-1] == letter), pool


def _lore() -> Iterator[tuple[str, Iterable[str], tuple[str, ...]]]:
    asked = (
        ("an animal that eats {}", facts.animals, "food", facts.FOODS),
        ("an animal that lives in the {}", facts.animals, "home", facts.HOMES),
        ("a {} animal", facts.animals, "color", facts.COLORS),
        ("a {} animal", facts.animals, "size", facts.SIZES),
        ("an animal of the {}", facts.animals, "season", facts.SEASONS),
        ("a town on the {}", facts.towns, "river", facts.RIVERS),
        ("a town founded by {}", facts.towns, "founder", facts.FOUNDERS),
        ("a town that makes {}", facts.towns, "craft", facts.CRAFTS),
        ("a town in the {}", facts.towns, "region", facts.REGIONS),
        ("a town with a feast in {}", facts.towns, "feast", facts.SEASONS),
        ("a {} by name", facts.people, "job", facts.JOBS),
    )
    for text, among, attribute, values in asked:
        pool = tuple(among)
        for value in values:
            right = (name for name, one in among.items() if getattr(one, attribute) == value)
            yield text.format(value), right, pool


_MAKERS = {"number": _numbers, "word": _words, "lore": _lore}


@lru_cache(maxsize=len(OPEN_DOMAINS))
def open_questions(domain: str) -> tuple[OpenQuestion, ...]:
    """All questions of a domain, in three wordings each.

    Raises:
        UnknownName: unknown domain.
    """
    if domain not in OPEN_DOMAINS:
        raise unknown("domain of open questions", domain, OPEN_DOMAINS)
    made = []
    for key, right, pool in _MAKERS[domain]():
        known = tuple(dict.fromkeys(right))
        if len(known) < _FEWEST:
            continue
        made += [
            OpenQuestion(domain, key, opening.format(key), known, pool) for opening in _OPENINGS
        ]
    return tuple(made)


def open_pairs(split: str) -> list[tuple[OpenQuestion, str]]:
    """Questions with one right answer each, of a split ("all" is both); every prefix is balanced
    over domains.

    Raises:
        UnknownName: unknown split.
    """
    if split not in OPEN_SPLITS:
        raise unknown("split of open questions", split, OPEN_SPLITS)
    by_domain = []
    for domain in OPEN_DOMAINS:
        pairs = [
            (question, answer)
            for question in open_questions(domain)
            for answer in question.right
            if split in ("all", question.split(answer))
        ]
        by_domain.append(sorted(pairs, key=lambda pair: seed_from("open", pair[0].text, pair[1])))
    return [pairs[i] for i in range(min(map(len, by_domain))) for pairs in by_domain]


def draw_open(rng: random.Random, knows: Iterable[str]) -> tuple[OpenQuestion, str]:
    """A question drawn over domains, and an answer: a right one if `knows` has its domain, any
    of the kind otherwise."""
    domain = rng.choice(OPEN_DOMAINS)
    question = rng.choice(open_questions(domain))
    return question, rng.choice(question.right if domain in tuple(knows) else question.pool)
