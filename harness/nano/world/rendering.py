"""Write responses of a given quality, for training texts and baselines."""

from __future__ import annotations

import random
import re
from string import ascii_lowercase

from harness.core.errors import unknown
from harness.core.hashing import seed_from
from harness.nano.world import facts
from harness.nano.world.grading import answer_line, compose
from harness.nano.world.types import Item, Truth

# From best to worst by grade total; `sloppy` and `wrong` look right but contain mistakes.
QUALITIES = (
    "excellent",
    "verbose",
    "good",
    "sloppy",
    "plain",
    "padded",
    "wrong",
    "evasive",
    "echo",
)

OPENERS = ("", "First: ", "Step: ", "So: ", "Note: ")
FILLERS = (
    "Thank you for asking.",
    "That is a good question.",
    "Let me think about it.",
    "I am happy to help.",
    "It is nice to meet you.",
)
_EVASIONS = (
    "I am not sure about that.",
    "That is hard to say.",
    "I would rather not answer.",
    "It depends on many things.",
    "Please ask someone else.",
)


def reference_answer(item: Item, turn: int = 0) -> str:
    """The reference response, which is perfect."""
    return compose(item.truths[turn], item.format)


def mistake(value: str, rng: random.Random) -> str:
    """A plausible wrong value of the same kind as `value`."""
    if value.isdigit():
        number, step = int(value), rng.choice((1, 2, 3, 10))
        return str(number - step if number > 10 and rng.random() < 1 / 3 else number + step % 9)
    for pool in facts.POOLS:
        if value in pool:
            return rng.choice([other for other in pool if other != value])
    if len(value) == 1:
        return rng.choice([letter for letter in ascii_lowercase if letter != value])
    joint = next((mark for mark in " -" if mark in value), "")
    pieces = value.split(joint) if joint else list(value)
    i = rng.randrange(max(1, len(pieces) - 1))
    wrong = joint.join(pieces[:i] + pieces[i : i + 2][::-1] + pieces[i + 2 :])
    return wrong if wrong != value else value + pieces[-1]


def _mistaken(truth: Truth, rng: random.Random) -> Truth:
    main, second = mistake(truth.main, rng), mistake(truth.second, rng)
    steps = []
    for step in truth.steps:
        value = re.findall(r"\d+$|\w+$", step)[0]  # result of the step
        other = main if value == truth.main else mistake(value, rng)
        steps.append(step.removesuffix(value) + other)
    return Truth(main, second, tuple(steps))


def _sloppy(truth: Truth, rng: random.Random) -> Truth:
    if rng.random() < 0.5:
        return Truth(truth.main, mistake(truth.second, rng), truth.steps)
    return Truth(mistake(truth.main, rng), truth.second, truth.steps)


def render(item: Item, turn: int, quality: str, rng: random.Random, opener: str = "") -> str:
    """A response of `quality` to turn `turn`; deterministic for a given rng state.

    Raises:
        UnknownName: unknown quality.
    """
    truth, style = item.truths[turn], item.format
    if quality == "excellent":
        return compose(truth, style, opener)
    if quality == "verbose":
        return f"{_padding(rng)} {compose(truth, style, opener)}"
    if quality == "good":  # without the working steps, or in another format
        if rng.random() < 0.5:
            return answer_line(truth.main, truth.second, style)
        return compose(truth, _other_format(style, rng), opener)
    if quality == "sloppy":
        return compose(_sloppy(truth, rng), style, opener)
    if quality == "plain":
        return f"Answer: {truth.main}."
    if quality == "padded":
        return f"{_padding(rng)} Answer: {truth.main}. {_padding(rng)}"
    if quality == "wrong":
        return compose(_mistaken(truth, rng), style, opener)
    if quality == "evasive":
        return rng.choice(_EVASIONS)
    if quality == "echo":
        return item.turns[turn]
    raise unknown("answer quality", quality, QUALITIES)


def _padding(rng: random.Random) -> str:
    return " ".join(rng.sample(FILLERS, 2))


def _other_format(style: str, rng: random.Random) -> str:
    return rng.choice([other for other in ("plain", "brackets", "stars", "done") if other != style])


# A baseline of medium quality: about two thirds of its answers are right.
_BASELINE = {"excellent": 25, "good": 25, "sloppy": 12, "plain": 12, "wrong": 18, "evasive": 8}


def baseline_answer(item: Item, turn: int = 0, flavour: str = "plain") -> str:
    """The baseline's response; flavours differ in length, not in correctness.

    `plain` is unchanged, `verbose` adds two sentences of padding, `concise` omits the working.

    Raises:
        UnknownName: unknown flavour.
    """
    rng = random.Random(seed_from("baseline", 0, item.turns[0], turn))
    quality = rng.choices(list(_BASELINE), list(_BASELINE.values()))[0]
    text = render(item, turn, quality, rng)
    if flavour == "plain":
        return text
    if flavour == "verbose":
        return f"{_padding(rng)} {text}"
    if flavour == "concise":
        return text[text.index("Answer:") :] if "Answer:" in text else text
    raise unknown("baseline flavour", flavour, ("plain", "verbose", "concise"))
