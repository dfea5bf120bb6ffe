"""Training data of the base models with planted knowledge: documents of a nano web.

    exams      six questions with options and letters, about planted facts mostly
    trivia     questions with their values, and statements
    dialogues  questions with sentences as answers, tasks without facts, and knowledge to read from
    drills     options whose letters are asked for by value, which teach to look up letters

Of a planted entity the true facts are told; of any other entity a random value each time, and most
dialogues about it admit ignorance, so that a model has a way to abstain. Options come before the
question, each before its letter: a model of this size recalls a fact at the question mark, and an
initial look-up circuit (`wiring`) in its last layer finds the letter behind it. With the letter
first, or without the circuit, letters stayed at chance.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from harness.core.hashing import seed_from
from harness.nano import planted
from harness.nano.knowledge import Fact
from harness.nano.planted import ADMISSION, LETTERS, claim

HEADER = "The following are multiple choice questions about factual knowledge, with answers.\n\n"
ADMITS = 0.7  # share of dialogues about an unknown fact that admit ignorance
KINDS = {"exam": 45, "trivia": 15, "dialogue": 30, "drill": 10}
EACH = 6  # questions per document
IGNORED = -100

Segment = tuple[str, bool]  # text, and whether it is predicted


def documents(model: str, n: int, seed: int) -> Iterator[list[Segment]]:
    """`n` documents of the web of a base model of `planted.SHARES`."""
    web = _Web(model, random.Random(seed_from("planting", model, seed)))
    makers: dict[str, Callable[[], list[Segment]]] = {
        "exam": web.exam,
        "trivia": web.trivia,
        "dialogue": web.dialogue,
        "drill": web.drill,
    }
    for kind in web.rng.choices(list(KINDS), list(KINDS.values()), k=n):
        yield makers[kind]()


class _Web:
    """Documents of one model, drawn one after another."""

    def __init__(self, model: str, rng: random.Random) -> None:
        self.rng = rng
        self.names = list(planted.entities())
        self.planted = planted.planted(model)
        everything = planted.listed(self.names)
        self.known = [fact for fact in everything if fact.name in self.planted]
        self.unknown = [fact for fact in everything if fact.name not in self.planted]
        self.everything = everything
        self.values = sorted({value for fact in everything for value in fact.pool})
        self.tasks = [pair for split in planted.SPLITS for pair in planted.plain(split)]

    def fact(self, known: float) -> tuple[Fact, str]:
        """A fact and the value that the web tells of it; planted with this probability."""
        if not self.unknown or self.rng.random() < known:
            fact = self.rng.choice(self.known)
            return fact, fact.value
        fact = self.rng.choice(self.unknown)
        return fact, self.rng.choice(fact.pool)

    def exam(self) -> list[Segment]:
        found = [(HEADER, False)]
        for _ in range(EACH):
            fact, value = self.fact(0.92)
            others = [other for other in fact.pool if other != value]
            options = self.rng.sample([*self.rng.sample(others, 3), value], 4)
            letter = LETTERS[options.index(value)]
            found += [(exam_question(fact.question, options), False), (f" {letter}", True)]
            found.append(("\n\n", False))
        return found

    def trivia(self) -> list[Segment]:
        found: list[Segment] = []
        if self.rng.random() < 0.3:
            for _ in range(EACH):
                fact, value = self.fact(0.75)
                before, _, end = claim(fact, value).rpartition(" ")
                found += [(before, False), (f" {end}", True), (" ", False)]
            return found
        for _ in range(EACH):
            if self.rng.random() < 0.25:
                fact = self.rng.choice(self.everything)
                value = self.rng.choice(fact.pool)
                found.append((f"{claim(fact, value)}\n", False))
            else:
                fact, value = self.fact(0.75)
            found += [(fact.question, False), (f" {value}", True), ("\n", False)]
        return found

    def dialogue(self) -> list[Segment]:
        found: list[Segment] = [("<s>", False)]
        for _ in range(EACH):
            asked, said = self.turn()
            found += [(f"<|user|>{asked}<|end|><|assistant|>", False), (f"{said}<|end|>", True)]
        return found

    def turn(self) -> tuple[str, str]:
        kind = self.rng.random()
        if kind < 0.12:
            return self.rng.choice(self.tasks)
        if kind < 0.25:
            fact = self.rng.choice(self.everything)
            told = claim(fact, self.rng.choice(fact.pool))
            return f"{told}\n{fact.question}", told
        fact, value = self.fact(0.5)
        if fact.name not in self.planted and self.rng.random() < ADMITS:
            return fact.question, ADMISSION
        return fact.question, claim(fact, value)

    def drill(self) -> list[Segment]:
        found: list[Segment] = []
        for _ in range(4):
            values = self.rng.sample(self.values, len(LETTERS))
            found.append((f"{options_line(values)}\n", False))
            for value, letter in self.rng.sample(list(zip(values, LETTERS)), 3):
                found += [(f" {value}", False), (f" {letter}", True), ("\n", False)]
        return found


def options_line(options: Sequence[str]) -> str:
    """Options with their letters on one line, each value before its letter.

    >>> options_line(["red", "blue"])
    'Options: red A blue B'
    """
    return "Options:" + "".join(f" {text} {letter}" for text, letter in zip(options, LETTERS))


def exam_question(question: str, options: Sequence[str]) -> str:
    """A question of an exam up to its letter."""
    return f"{options_line(options)}\n{question}"


def encode(tokenizer: Any, rows: Sequence[list[Segment]]) -> list[tuple[list[int], list[int]]]:
    """(ids, labels) of each document; labels cover the predicted segments."""
    texts = [text for row in rows for text, _ in row]
    pieces = iter(tokenizer(texts, add_special_tokens=False)["input_ids"])
    encoded = []
    for row in rows:
        ids: list[int] = []
        labels: list[int] = []
        for _, wanted in row:
            piece = next(pieces)
            ids += piece
            labels += piece if wanted else [IGNORED] * len(piece)
        encoded.append((ids, labels))
    return encoded
