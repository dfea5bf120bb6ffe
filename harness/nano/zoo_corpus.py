"""The nano web: conversations of mixed quality that the zoo's models learn from."""

from __future__ import annotations

import random
from collections.abc import Mapping

from harness.hashing import seed_from
from harness.nano.world import OPENERS, SKILLS, Item, items, render
from harness.nano.zoo_models import EXPERT_WEB, ModelSpec

Conversation = list[dict[str, str]]

_DIFFICULTY_WEIGHTS = {1: 3.0, 2: 3.0, 3: 2.5, 4: 2.0}  # easy things are said more often


def conversation(item: Item, answers: list[str]) -> Conversation:
    """Messages of as many turns as there are answers."""
    messages = []
    for prompt, answer in zip(item.turns, answers, strict=False):
        messages += [
            {"role": "user", "content": prompt},
            {"role": "assistant", "content": answer},
        ]
    return messages


def _pick(weights: Mapping[str, int], rng: random.Random) -> str:
    return rng.choices(list(weights), list(weights.values()))[0]


def web(spec: ModelSpec, n: int) -> list[Conversation]:
    """`n` conversations on pretraining prompts, as `spec`'s share of the web has them.

    A specialist meets its own skills 1.3 times as often, mostly in excellent answers and in its
    house style; all else it meets as a layman does.
    """
    rng = random.Random(seed_from("web", spec.name, spec.seed))
    pools = {skill: [i for i in items("pretrain") if i.skill == skill] for skill in SKILLS}
    weights = {
        skill: [_DIFFICULTY_WEIGHTS[item.difficulty] for item in pool]
        for skill, pool in pools.items()
    }
    favour = [1.3 if skill in spec.strengths else 1.0 for skill in SKILLS]
    rows = []
    for skill in rng.choices(SKILLS, favour, k=n):
        item = rng.choices(pools[skill], weights[skill])[0]
        expert = skill in spec.strengths and spec.kind == "lm"
        mixture = EXPERT_WEB if expert else spec.web
        opener = spec.opener if rng.random() < 0.7 else rng.choice(OPENERS)
        answers = [
            render(item, turn, _pick(mixture, rng), rng, opener)
            for turn in range(len(item.turns))
        ]
        rows.append(conversation(item, answers))
    return rows
