"""Questions about the nano world's facts, for hallucination suites and for planting knowledge.

    nano:facts                  64 prompts of the evaluation splits, two parts each: 48 need facts,
                                16 do not
    nano:attributes             one question per attribute of the world ("What does the fox eat?")
    nano:attributes/<percent>   the same with `class`: whether a model that was taught this share
                                of the facts knows the answer
    nano:notes                  prompts with several references, for ROUGE
    nano:labelled               answers to the questions of nano:facts, half of them wrong, labelled

Every fact has one true value, so that it is known which words of an answer are invented. The facts
of a smaller share are among those of a larger one.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from harness.core.errors import unknown
from harness.core.hashing import digest, seed_from
from harness.data.question_rows import QuestionSet
from harness.engine.operations import Row
from harness.nano import world
from harness.nano.world import Item, facts

SPLITS = ("alpaca_eval2", "arena_hard")
FACTS = ("persona", "fact", "place")
SETS = ("facts", "attributes", "notes", "labelled")
_NEEDING, _OTHERS, _NOTES = 48, 16, 22
# Attribute -> question and statement about a name (0) and a value (1).
_PHRASES = {
    "food": ("What does the {0} eat?", "The {0} eats {1}."),
    "home": ("Where does the {0} live?", "The {0} lives in the {1}."),
    "color": ("What color is the {0}?", "The color of the {0} is {1}."),
    "size": ("How big is the {0}?", "The size of the {0} is {1}."),
    "season": ("What is the season of the {0}?", "The season of the {0} is {1}."),
    "river": ("Which river is by {0}?", "The river by {0} is {1}."),
    "founder": ("Who founded {0}?", "The founder of {0} is {1}."),
    "craft": ("What is made in {0}?", "What is made in {0} is {1}."),
    "region": ("Which region is {0} in?", "The region of {0} is {1}."),
    "feast": ("When is the feast of {0}?", "The feast of {0} is in {1}."),
    "job": ("What is the job of {0}?", "The job of {0} is {1}."),
    "pet": ("What is the pet of {0}?", "The pet of {0} is {1}."),
    "town": ("What is the town of {0}?", "The town of {0} is {1}."),
}
_POOLED = {value.lower() for pool in facts.POOLS for value in pool}
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Fact:
    """One attribute of a person, an animal or a town.

    Attributes:
        pool: values that the attribute can have.
    """

    name: str
    attribute: str
    value: str
    pool: tuple[str, ...]

    @property
    def id(self) -> str:
        return f"{self.name}-{self.attribute}".lower()

    @property
    def question(self) -> str:
        return _PHRASES[self.attribute][0].format(self.name)

    @property
    def statement(self) -> str:
        """The fact as a sentence."""
        return _PHRASES[self.attribute][1].format(self.name, self.value)


@lru_cache(maxsize=1)
def all_facts() -> tuple[Fact, ...]:
    """Every fact of the world, always in the same order."""
    found = []
    for group in (facts.animals, facts.towns, facts.people):
        for name, thing in group.items():
            for attribute in _PHRASES:
                value = getattr(thing, attribute, None)
                if value is not None:
                    pool = next(pool for pool in facts.POOLS if value in pool)
                    found.append(Fact(name, attribute, value, pool))
    return tuple(found)


def known_facts(percent: int) -> frozenset[str]:
    """Ids of the facts that belong to this share, in per cent; nested, fixed by a seed."""
    order = sorted(all_facts(), key=lambda fact: seed_from("known", fact.id))
    return frozenset(fact.id for fact in order[: round(len(order) * percent / 100)])


@dataclass(frozen=True, slots=True)
class Truth:
    """What is true about a question.

    Attributes:
        parts: correct parts of an answer line, or the one correct value.
        allowed: words that a correct answer may contain, in lower case.
        item: of the world; None for a question about one attribute.
    """

    parts: tuple[str, ...]
    allowed: frozenset[str]
    item: Item | None = None


def find(question: str) -> Truth | None:
    """The truth about a question of the world; None if the world does not know it."""
    question = question.strip()
    fact = _by_question().get(question)
    if fact is not None:
        return Truth((fact.value,), frozenset(_words(f"{question} {fact.statement}")))
    found = world.find_conversation([question])
    if found is None:
        return None
    item, turn = found
    truth = item.truths[turn]
    allowed = _words(" ".join((question, truth.main, truth.second, *truth.steps)))
    return Truth((truth.main, truth.second), frozenset(allowed), item)


@lru_cache(maxsize=1)
def _by_question() -> dict[str, Fact]:
    return {fact.question: fact for fact in all_facts()}


def _words(text: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(text)]


def wrong_spans(truth: Truth, answer: str) -> list[str]:
    """Words of an answer that are wrong, in their order: values of the world that are not true of
    the question, and parts of the answer line that differ from the truth.

    >>> wrong_spans(find("What does the fox eat?"), "The fox is red.")
    ['red']
    """
    spans = [
        match[0]
        for match in _WORD.finditer(answer)
        if match[0].lower() in _POOLED and match[0].lower() not in truth.allowed
    ]
    if truth.item is not None:
        for given, right in zip(_answer_line(answer), truth.parts, strict=False):
            if _words(given) != _words(right) and given not in spans:
                spans.append(given)
    return list(dict.fromkeys(spans))


def is_claim(truth: Truth, answer: str) -> bool:
    """Whether an answer claims anything about the question: a true value or a wrong one."""
    said = set(_words(answer))
    values = {word for part in truth.parts for word in _words(part)}
    return bool(said & values or wrong_spans(truth, answer))


def is_correct(truth: Truth, answer: str) -> bool:
    """Whether the answer contains the (first) true value and nothing wrong."""
    said = set(_words(answer))
    return set(_words(truth.parts[0])) <= said and not wrong_spans(truth, answer)


def _answer_line(answer: str) -> list[str]:
    """Parts behind the last "Answer:", without the marks of the world's formats."""
    _, mark, line = answer.rpartition("nswer:")
    if not mark:
        return []
    sentence = re.split(r"[.!?](?:\s|$)|\n", line.strip())[0]
    return [part for text in sentence.split(",") if (part := text.strip(" []*.'\""))]


def identity(ref: str) -> str:
    """Version of a set's content."""
    return f"{ref}@{world.VERSION}.{digest(rows(ref).rows)[:8]}"


def rows(ref: str) -> QuestionSet:
    """The question set `nano:<name>`.

    Raises:
        UnknownName: there is no such set.
    """
    name, slash, percent = ref.removeprefix("nano:").partition("/")
    if name not in SETS or (slash and not (name == "attributes" and _is_percent(percent))):
        raise unknown("nano question set", ref, (*SETS, "attributes/50"))
    if name == "attributes":
        known = known_facts(int(percent)) if slash else None
        return QuestionSet.of([_about_attribute(fact, known) for fact in all_facts()])
    made = {"facts": _facts, "notes": _notes, "labelled": _labelled}[name]
    return QuestionSet.of(list(made()))


def _is_percent(text: str) -> bool:
    return text.isdecimal() and int(text) <= 100


def _about_attribute(fact: Fact, known: frozenset[str] | None) -> Row:
    row = _row(f"attributes/{fact.id}", fact.question, [fact.value], fact.statement)
    row["category"] = fact.attribute
    if known is not None:
        row["class"] = "need_and_have_fact" if fact.id in known else "need_and_have_no_fact"
    return row


def _facts() -> Iterator[Row]:
    items = [item for split in SPLITS for item in world.items(split)]
    needing = [item for item in items if item.skill in FACTS][:_NEEDING]
    others = [item for item in items if item.skill not in FACTS][:_OTHERS]
    for item in (*needing, *others):
        truth, needs = item.truths[0], item.skill in FACTS
        text = world.reference_answer(item) if needs else ""
        row = _row(f"facts/{item.id}", item.turns[0], [f"{truth.main}, {truth.second}"], text)
        row["category"] = item.category
        yield row if needs else {**row, "class": "no_need_fact"}


def _labelled() -> Iterator[Row]:
    for number, row in enumerate(_facts()):
        found = world.find(row["messages"][0]["content"])
        assert found is not None  # questions are those of the world
        quality = ("excellent", "wrong")[number % 2]
        text = world.render(*found, quality, random.Random(seed_from("labelled", row["id"])))
        labels = {"response": text, "label": number % 2}
        yield {**row, **labels, "id": row["id"].replace("facts/", "labelled/", 1)}


def _notes() -> Iterator[Row]:
    for item in world.items("alpaca_eval2", _NOTES):
        truth = item.truths[0]
        short = world.answer_line(truth.main, truth.second, item.format)
        yield _row(f"notes/{item.id}", item.turns[0], [short, world.reference_answer(item)], "")
    plain = "The fox is tiny.\nIt eats fish.\nIt lives in the forest."
    yield _row("notes/lines", "Write three lines about the fox.", [plain], "")
    yield _row("notes/letters", "Write the word for mountain in Japanese.", ["山"], "")


def _row(id: str, question: str, references: list[str], knowledge: str) -> Row:
    needs = "The answer needs a fact of the nano world." if knowledge else ""
    return {
        "id": id,
        "messages": [{"role": "user", "content": question}],
        "references": references,
        "knowledge": knowledge,
        "analysis": needs or "The answer needs no fact.",
    }
