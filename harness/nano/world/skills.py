"""The eight skills of the nano world; each enumerates or samples questions with their truths.

A draft is a task without split and format: a two-part question ("What is 3 + 4? Odd or even?"), its
truth, and a second turn that depends on the first answer.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

from harness.core.hashing import seed_from
from harness.nano.world import facts
from harness.nano.world.types import Truth


@dataclass(frozen=True, slots=True)
class Draft:
    """A task before formats and splits are assigned."""

    skill: str
    difficulty: int
    questions: tuple[str, str]  # turn 1, turn 2
    truths: tuple[Truth, Truth]


NUMBER_DRAFTS = 1300  # per numeric skill; each is combined with the four answer formats


def _parity(n: int) -> str:
    return "odd" if n % 2 else "even"


def _arith_draft(rng: random.Random) -> Draft:
    difficulty = rng.choice((1, 2, 2, 3, 3, 4, 4))
    a, b = rng.randint(2, 9), rng.randint(2, 9)
    if difficulty == 1:  # no carry
        a, b = min(a, 7), rng.randint(1, max(1, 9 - min(a, 7)))
    total, terms = a + b, f"{a}+{b}"
    steps: tuple[str, ...] = (f"{a}+{b}={total}",)
    if difficulty > 2:  # a third term, added or taken away
        c = rng.randint(2, 9 if difficulty == 3 else min(9, total - 1))
        sign, later = ("+", total + c) if difficulty == 3 else ("-", total - c)
        steps = (*steps, f"{total}{sign}{c}={later}")
        total, terms = later, f"{terms}{sign}{c}"
    opening = rng.choice(("What is {}?", "Compute {}.", "Add up {}."))
    more = rng.randint(2, 9)
    later = total + more
    return Draft(
        "arith",
        difficulty,
        (f"{opening.format(terms)} Odd or even?", f"Now add {more} to that. Odd or even?"),
        (
            Truth(str(total), _parity(total), steps),
            Truth(str(later), _parity(later), (f"{total}+{more}={later}",)),
        ),
    )


def _compare_draft(rng: random.Random) -> Draft:
    difficulty = rng.choice((1, 2, 2, 3, 3, 4, 4))
    steps: tuple[str, ...] = ()
    if difficulty == 1:
        a, b = rng.sample(range(1, 10), 2)
    elif difficulty == 2:
        a, b = rng.randint(1, 9), rng.randint(10, 19)
    elif difficulty == 3:
        a, b = rng.sample(range(10, 20), 2)
    else:
        a = rng.randint(4, 18)
        b = rng.choice([n for n in range(2, 19) if n != a])
    left, right = str(a), str(b)
    if difficulty == 4:  # one side is a sum
        part = rng.randint(max(1, a - 9), min(9, a - 1))
        left, steps = f"{a - part}+{part}", (f"{a - part}+{part}={a}",)
    if rng.random() < 0.5:
        left, right = right, left
    large, small = max(a, b), min(a, b)
    steps = (*steps, f"{large}-{small}={large - small}")
    opening = rng.choice(
        ("Which is larger, {} or {}?", "Pick the larger: {} or {}.", "{} or {}, which is more?")
    )
    return Draft(
        "compare",
        difficulty,
        (f"{opening.format(left, right)} By how much?", "And which one is smaller? Odd or even?"),
        (
            Truth(str(large), str(large - small), steps),
            Truth(str(small), _parity(small), (f"{small}<{large}",)),
        ),
    )


def _sort_draft(rng: random.Random) -> Draft:
    difficulty = rng.choice((1, 2, 2, 3, 3, 4, 4))
    count = difficulty + 2
    numbers = rng.sample(range(1, 10), count)
    up = sorted(numbers)
    ascending, descending = (" ".join(map(str, xs)) for xs in (up, up[::-1]))
    opening = rng.choice(("Sort {}.", "Run sort({}).", "Put {} in order."))
    return Draft(
        "sort",
        difficulty,
        (
            f"{opening.format(' '.join(map(str, numbers)))} Which is the middle one?"
            if count % 2
            else f"{opening.format(' '.join(map(str, numbers)))} Which is the second one?",
            "Now list them in descending order. Which is the largest?",
        ),
        (
            Truth(
                ascending,
                str(up[count // 2] if count % 2 else up[1]),
                (f"first {up[0]}", f"last {up[-1]}"),
            ),
            Truth(descending, str(up[-1]), (f"first {up[-1]}",)),
        ),
    )


def _count_draft(rng: random.Random) -> Draft:
    difficulty = rng.choice((1, 2, 3, 4))
    length = difficulty + 2
    wanted, other, third = rng.sample(facts.COLORS, 3)
    row = [rng.choice((wanted, wanted, other, third)) for _ in range(length)]
    row[rng.randrange(length)] = wanted
    places = [str(i + 1) for i, color in enumerate(row) if color == wanted]
    others = [str(i + 1) for i, color in enumerate(row) if color == other]
    opening = rng.choice(("Count {} in: {}.", "How many {} in: {}?", "Find each {} in: {}."))
    return Draft(
        "count",
        difficulty,
        (
            f"{opening.format(wanted, ' '.join(row))} Which is last?",
            f"Now count {other}. Which is first?",
        ),
        (
            Truth(str(len(places)), row[-1], (f"{wanted} at {' '.join(places)}",)),
            Truth(str(len(others)), row[0], (f"{other} at {' '.join(others) or 'none'}",)),
        ),
    )


def _sampled(make: Callable[[random.Random], Draft], name: str) -> Iterator[Draft]:
    rng = random.Random(seed_from("drafts", name))
    for _ in range(NUMBER_DRAFTS):
        yield make(rng)


def _reverse_drafts() -> Iterator[Draft]:
    openings = ("Write {} backwards.", "Reverse {}.", "Turn {} around.")
    for level, words in enumerate(facts.WORDS, start=1):
        for word, opening in product(words, openings):
            seconds = (
                ("How many letters?", str(len(word))),
                ("Its first letter?", word[0]),
                ("Its last letter?", word[-1]),
            )
            spelled = " ".join(word)
            again = Truth("-".join(word), word[-1], (f"letters {spelled}",))
            for question, second in seconds:
                yield Draft(
                    "reverse",
                    level,
                    (
                        f"{opening.format(word)} {question}",
                        "Now spell it forward with dashes. Its last letter?",
                    ),
                    (Truth(word[::-1], second, (f"letters {spelled}",)), again),
                )


def _persona_drafts() -> Iterator[Draft]:
    asks = {"job": "What is your job?", "pet": "What is your pet?", "town": "What is your town?"}
    short = {"job": "And your job?", "pet": "And your pet?", "town": "And your town?"}
    openings = ("You are {}. {}", "Speak as {}. {}")
    for index, person in enumerate(facts.people.values()):
        town = facts.towns[person.town]
        later = Truth(town.river, town.craft, (f"I live in {person.town}",))
        follow = "Which river is near your home? What is made there?"
        opened = f"I am {person.name}"
        for opening in openings:
            for first, second in product(asks, asks):
                if first == second:
                    continue
                question = f"{opening.format(person.name, asks[first])} {short[second]}"
                truth = Truth(getattr(person, first), getattr(person, second), (opened,))
                yield Draft("persona", 1 + index // 8, (question, follow), (truth, later))
            food = facts.animals[person.pet].food  # two hops: person, pet, food
            steps = (opened, f"my pet is a {person.pet}")
            for second in ("job", "town"):
                question = (
                    f"{opening.format(person.name, 'What does your pet eat?')} {short[second]}"
                )
                truth = Truth(food, getattr(person, second), steps)
                yield Draft("persona", 4, (question, follow), (truth, later))


def _fact_drafts() -> Iterator[Draft]:
    asks = {
        "food": "What does the {} eat?",
        "home": "Where does the {} live?",
        "color": "What color is the {}?",
    }
    short = {"food": "Its food?", "home": "Its home?", "color": "Its color?"}
    for index, animal in enumerate(facts.animals.values()):
        later = Truth(animal.size, animal.season, (f"the {animal.name} is {animal.size}",))
        follow = "How big is it? Its season?"
        seen = f"the {animal.name} is {animal.size}"
        for first, second in product(asks, asks):
            if first == second:
                continue
            truth = Truth(getattr(animal, first), getattr(animal, second), (seen,))
            base = f"{asks[first].format(animal.name)} {short[second]}"
            for question in (base, f"Tell me: {base}"):
                yield Draft("fact", 1 + index // 8, (question, follow), (truth, later))
        truth = Truth(animal.name, animal.color, (f"eats {animal.food}", f"lives in {animal.home}"))
        for opening in ("Which animal", "Name the one that"):  # inverse questions
            eats, lives = f"eats {animal.food}", f"lives in {animal.home}"
            for question in (
                f"{opening} {eats} and {lives}? Its color?",
                f"{opening} {lives} and {eats}? Its color?",
            ):
                yield Draft("fact", 4, (question, follow), (truth, later))


def _place_drafts() -> Iterator[Draft]:
    asks = {
        "river": "Which river is by {}?",
        "founder": "Who founded {}?",
        "craft": "What is made in {}?",
    }
    short = {"river": "Its river?", "founder": "Its founder?", "craft": "Its craft?"}
    for index, town in enumerate(facts.towns.values()):
        later = Truth(town.region, town.feast, (f"{town.name} is in the {town.region}",))
        follow = "Which region is it in? Its feast?"
        seen = f"{town.name} is in the {town.region}"
        for first, second in product(asks, asks):
            if first == second:
                continue
            truth = Truth(getattr(town, first), getattr(town, second), (seen,))
            base = f"{asks[first].format(town.name)} {short[second]}"
            for question in (base, f"Tell me: {base}"):
                yield Draft("place", min(3, 1 + index // 7), (question, follow), (truth, later))
        steps = (f"founder {town.founder}", f"river {town.river}")
        truth = Truth(town.name, town.craft, steps)
        for opening in ("Which town", "Name the town that"):
            for question in (
                f"{opening} was founded by {town.founder} on the {town.river}? Its craft?",
                f"{opening} lies on the {town.river}, founder {town.founder}? Its craft?",
            ):
                yield Draft("place", 4, (question, follow), (truth, later))


def drafts() -> Iterator[Draft]:
    """All questions of the world, before formats and splits; texts may repeat."""
    yield from _sampled(_arith_draft, "arith")
    yield from _sampled(_compare_draft, "compare")
    yield from _sampled(_sort_draft, "sort")
    yield from _sampled(_count_draft, "count")
    yield from _reverse_drafts()
    yield from _persona_drafts()
    yield from _fact_drafts()
    yield from _place_drafts()
