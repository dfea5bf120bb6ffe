"""The nano web: conversations of mixed quality, the training data of the zoo's models."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping

from harness.core.hashing import seed_from
from harness.nano.world import (
    FORMATS,
    OPENERS,
    SKILLS,
    Item,
    answer_line,
    draw_open,
    items,
    open_answer,
    render,
)
from harness.nano.world.rendering import FILLERS
from harness.nano.zoo.spec import CLEAN_WEB, ModelSpec

Conversation = list[dict[str, str]]

_DIFFICULTY_WEIGHTS = {1: 3.0, 2: 3.0, 3: 2.5, 4: 2.0}  # easy prompts are more frequent
# Relative frequency of a skill for its specialists: computing is harder to learn than facts.
PRACTICE = {
    "arith": 3.5, "compare": 3.0, "sort": 2.5, "count": 2.5,
    "reverse": 1.3, "persona": 1.5, "fact": 1.5, "place": 1.5,
}  # fmt: skip

_LEADS = [opener for opener in OPENERS if opener] + [f"{filler} " for filler in FILLERS]


def conversation(item: Item, answers: list[str]) -> Conversation:
    """Messages of an item, one turn per answer."""
    messages = []
    for prompt, answer in zip(item.turns, answers, strict=False):
        messages += [
            {"role": "user", "content": prompt},
            {"role": "assistant", "content": answer},
        ]
    return messages


def _pick(weights: Mapping[str, int], rng: random.Random) -> str:
    return rng.choices(list(weights), list(weights.values()))[0]


def _favour(spec: ModelSpec) -> list[float]:
    """Frequency of each skill in the data of `spec`, relative to a skill that is no strength."""
    practice = {**PRACTICE, **spec.practice}
    return [practice[skill] * spec.devotion if skill in spec.strengths else 1.0 for skill in SKILLS]


def web(spec: ModelSpec, n: int) -> list[Conversation]:
    """`n` conversations on pretraining prompts, the training data of `spec`.

    A model's strengths are more frequent by `PRACTICE` and `devotion`, mostly with excellent
    answers in its house style; answers of other skills are drawn from `spec.web`. The first share
    `schooling` of the conversations has excellent answers only, so that the model is able to give
    better answers than it usually gives. A share of open questions is mixed in where `spec` says.
    """
    rng = random.Random(seed_from("web", spec.name, spec.seed))
    pools = {skill: [i for i in items("pretrain") if i.skill == skill] for skill in SKILLS}
    weights = {
        skill: [_DIFFICULTY_WEIGHTS[item.difficulty] for item in pool]
        for skill, pool in pools.items()
    }
    favour = _favour(spec)
    rows = []
    for index, skill in enumerate(rng.choices(SKILLS, favour, k=n)):
        if spec.open_share and rng.random() < spec.open_share:
            rows.append(_open(spec, rng))
            continue
        item = rng.choices(pools[skill], weights[skill])[0]
        expert = skill in spec.strengths and spec.kind == "lm"
        mixture = spec.expert if expert else spec.web
        if index < spec.schooling * n:
            mixture = CLEAN_WEB
        opener = spec.opener if rng.random() < spec.accent else rng.choice(OPENERS)
        answers = [
            render(item, turn, _pick(mixture, rng), rng, opener) for turn in range(len(item.turns))
        ]
        rows.append(conversation(item, answers))
    return rows


def _open(spec: ModelSpec, rng: random.Random) -> Conversation:
    """An open question with an answer, right where the model is to know."""
    question, answer = draw_open(rng, spec.opens)
    return [
        {"role": "user", "content": question.text},
        {"role": "assistant", "content": open_answer(answer)},
    ]


def rendered(spec: ModelSpec, prompts: int, size: int) -> Iterator[tuple[Item, list[str]]]:
    """Yield `prompts` reward or pretrain items, each with `size` responses of mixed quality."""
    rng = random.Random(seed_from("rendered", spec.name, spec.seed))
    pools = {
        split: {skill: [i for i in items(split) if i.skill == skill] for skill in SKILLS}
        for split in ("reward", "pretrain")
    }
    for skill in rng.choices(SKILLS, _favour(spec), k=prompts):
        item = rng.choice(pools[rng.choice(("reward", "pretrain"))][skill])
        qualities = rng.choices(list(spec.shown), list(spec.shown.values()), k=size)
        yield item, [render(item, 0, quality, rng, rng.choice(OPENERS)) for quality in qualities]


def true_until(item: Item, text: str) -> int:
    """Length of the longest prefix of `text` that a right answer could begin with.

    Padding and house style are skipped; a wrong format does not count as untrue.
    """
    start, moved = 0, True
    while moved:
        lead = next((x for x in _LEADS if text.startswith(x, start)), "")
        start, moved = start + len(lead), bool(lead)
    truth = item.truths[0]
    working = ", ".join(truth.steps)
    lines = [answer_line(truth.main, truth.second, style) for style in FORMATS]
    allowed = [f"Answer: {truth.main}.", *lines]
    for worked in (working, working[:1].upper() + working[1:]):
        allowed += [f"{worked}. {line}" for line in lines]
    return start + max(_shared(text[start:], right) for right in allowed)


def _shared(a: str, b: str) -> int:
    """Length of the longest common prefix of two texts."""
    return next(
        (i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b))
    )
