"""A world of symbols, small enough to train a model in seconds and to grade every symbol.

    prompt   six of twelve symbols       "cafbde"
    answer   each symbol written anew    "CAFnop"   in its good (A to L) or plain (m to x) form

    points of an answer  =  3 per good symbol, 2 per plain one, 0 per wrong, missing or further one

A draft writes half of the symbols well, and a tenth wrongly. A model can be better than a draft in
two ways: fewer wrong symbols (`content`) and more good forms (`good`).

    nano:symbols/<split>     prompts; the splits are disjoint
    nano:symbols/costly      pairs of a draft and a better answer, as rated answers
    nano:symbols/free        the same; a rewritten answer has no mistakes
    nano:symbols/even        pairs of two drafts with random scores: there is nothing to learn

In the pairs a draft with few defects (symbols that are not good) is chosen itself, one with some is
mended, and one with many is rewritten as a whole. The writer of "costly" does not know two of the
twelve symbols, so that rewriting damages one symbol of six on average, however good the draft was;
that of "free" knows all. (Random mistakes are no cost: labels by score gap select the lucky texts.)
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from harness.core.errors import BadData, unknown
from harness.core.hashing import seed_from
from harness.engine.operations import Row

VERSION = 1  # raise it if a prompt, an answer or a grade changes
LENGTH = 6
SYMBOLS = "abcdefghijkl"
GOOD = dict(zip(SYMBOLS, "ABCDEFGHIJKL"))
PLAIN = dict(zip(SYMBOLS, "mnopqrstuvwx"))
FORMS = (*GOOD.values(), *PLAIN.values())
MEND, REWRITE = 2, 4  # from these numbers of defects on

# Number of prompts of each split.
SPLITS = {"rated": 4000, "train": 6000, "test": 400}
PREFIX = "symbols/"


@dataclass(frozen=True)
class Writer:
    """How a writer writes.

    Attributes:
        wrong: share of symbols written wrongly.
        good: share of the others written in good form.
        unknown: symbols that are always written as the next symbol of the alphabet.
    """

    wrong: float
    good: float
    unknown: str = ""

    def write(self, prompt: str, rng: random.Random) -> str:
        return "".join(self._form(symbol, rng) for symbol in prompt)

    def _form(self, symbol: str, rng: random.Random) -> str:
        if symbol in self.unknown:
            return GOOD[SYMBOLS[(SYMBOLS.index(symbol) + 1) % len(SYMBOLS)]]
        if rng.random() < self.wrong:
            return rng.choice([form for form in FORMS if form not in forms_of(symbol)])
        return GOOD[symbol] if rng.random() < self.good else PLAIN[symbol]


DRAFT = Writer(wrong=0.1, good=0.5)
REWRITERS = {
    "costly": Writer(wrong=0.0, good=1.0, unknown="bk"),
    "free": Writer(wrong=0.0, good=1.0),
}
EVEN = "even"
PAIRS = (*REWRITERS, EVEN)


def forms_of(symbol: str) -> tuple[str, str]:
    """The good and the plain form of a symbol."""
    return GOOD[symbol], PLAIN[symbol]


@dataclass(frozen=True)
class Count:
    """Symbols of an answer by quality; missing and further symbols are wrong."""

    good: int
    plain: int
    wrong: int

    @property
    def points(self) -> float:
        """Share of the attainable points, in [0, 1]."""
        written = self.good + self.plain + self.wrong
        return (3 * self.good + 2 * self.plain) / (3 * written)

    @property
    def net(self) -> int:
        """good - 2 wrong; for six symbols, points = (net + 12) / 18."""
        return self.good - 2 * self.wrong


def count(prompt: str, answer: str) -> Count:
    """Compare an answer with its prompt, symbol by symbol.

    >>> count("cafbde", "CAFnop")
    Count(good=3, plain=3, wrong=0)
    >>> count("cafbde", "CCF").points
    0.3333333333333333
    """
    answer = answer.strip()
    good = sum(form == GOOD[symbol] for symbol, form in zip(prompt, answer))
    plain = sum(form == PLAIN[symbol] for symbol, form in zip(prompt, answer))
    return Count(good, plain, max(len(prompt), len(answer)) - good - plain)


def score(row: Row, response: str) -> dict[str, float]:
    """Metrics of the suite `symbols`: shares of the points, of right symbols, and of good ones."""
    found = count(_prompt_of(row), response)
    total = found.good + found.plain + found.wrong
    return {
        "points": found.points,
        "content": (found.good + found.plain) / total,
        "good": found.good / total,
    }


def noisy_net(row: Row, response: str, *, noise: float = 0.5) -> float:
    """good - 2 wrong, with a normal error fixed by prompt and answer: an imperfect reward model."""
    rng = random.Random(seed_from("noise", row["id"], response))
    return count(_prompt_of(row), response).net + rng.gauss(0, noise)


def _prompt_of(row: Row) -> str:
    prompt = str(row["messages"][0]["content"])
    if len(prompt) != LENGTH or not set(prompt) <= set(SYMBOLS):
        raise BadData(
            f'row "{row["id"]}": the prompt is "{prompt[:40]}"; expected {LENGTH} of the symbols '
            f"{SYMBOLS[0]} to {SYMBOLS[-1]} (nano:symbols/<split>)"
        )
    return prompt


def prompts_of(split: str) -> list[Row]:
    """Prompt rows of a split.

    Raises:
        UnknownName: there is no such split.
    """
    if split not in SPLITS:
        raise unknown("split of nano:symbols", split, SPLITS)
    return [
        {"id": f"symbols/{text}", "messages": [{"role": "user", "content": text}]}
        for text in _split(split)
    ]


@lru_cache(maxsize=1)
def _texts() -> Mapping[str, tuple[str, ...]]:
    """Prompts of all splits, all different."""
    rng = random.Random(seed_from("symbols", VERSION))
    seen: dict[str, None] = {}
    while len(seen) < sum(SPLITS.values()):
        seen[drawn(rng)] = None
    texts = iter(seen)
    return {name: tuple(next(texts) for _ in range(size)) for name, size in SPLITS.items()}


def _split(name: str) -> tuple[str, ...]:
    return _texts()[name]


def is_reserved(text: str) -> bool:
    """Whether a prompt belongs to a split, so that no model may be trained on it beforehand."""
    return text in _reserved()


@lru_cache(maxsize=1)
def _reserved() -> frozenset[str]:
    return frozenset(text for texts in _texts().values() for text in texts)


def drawn(rng: random.Random) -> str:
    """A random prompt."""
    return "".join(rng.choices(SYMBOLS, k=LENGTH))


def better_answer(prompt: str, draft: str, writer: Writer, rng: random.Random) -> str:
    """The draft itself, mended (its defects made good), or written anew, by number of defects."""
    good = "".join(GOOD[symbol] for symbol in prompt)
    defects = sum(form != best for form, best in zip(draft, good))
    if defects < MEND:
        return draft
    return good if defects < REWRITE else writer.write(prompt, rng)


def pairs(world: str) -> Iterator[Row]:
    """Rows of the form chosen, rejected, score_chosen, score_rejected, on the split "rated".

    Drafts of all qualities: the writer's care varies from row to row. In "even" both answers are
    drafts of one quality, and the scores are random.

    Raises:
        UnknownName: there is no such world.
    """
    if world not in PAIRS:
        raise unknown("pairs of nano:symbols", world, PAIRS)
    if world == EVEN:
        yield from _even()
        return
    for text in _split("rated"):
        rng = random.Random(seed_from("pair", world, text))
        care = rng.random()
        writer = Writer(wrong=0.15 * (1 - care), good=0.3 + 0.65 * care)
        draft = writer.write(text, rng)
        better = better_answer(text, draft, REWRITERS[world], rng)
        if count(text, better).net < count(text, draft).net:
            better = draft  # the chosen answer is never the worse one
        yield {
            "id": f"symbols/{text}",
            "prompt": text,
            "chosen": better,
            "rejected": draft,
            "score_chosen": float(count(text, better).net),
            "score_rejected": float(count(text, draft).net),
        }


def _even() -> Iterator[Row]:
    for text in _split("rated"):
        rng = random.Random(seed_from("pair", EVEN, text))
        high, low = sorted((rng.gauss(0, 1) for _ in range(2)), reverse=True)
        yield {
            "id": f"symbols/{text}",
            "prompt": text,
            "chosen": DRAFT.write(text, rng),
            "rejected": DRAFT.write(text, rng),
            "score_chosen": high,
            "score_rejected": low,
        }
