"""Measuring nano models against the ground truth: mean grade, best of n, agreement on pairs."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from harness.hashing import seed_from
from harness.nano.world import OPENERS, SKILLS, Item, grade, items, render
from harness.nano.zoo_corpus import SHOWN, conversation
from harness.nano.zoo_reward import score
from harness.nano.zoo_sample import ask, sample


def totals(items: list[Item], responses: list[list[str]]) -> list[list[float]]:
    """Grade totals, shaped as `responses`."""
    return [
        [grade(item, text).total for text in texts]
        for item, texts in zip(items, responses, strict=True)
    ]


def bands(model: Any, tokenizer: Any, n: int = 160, temperature: float = 0.7) -> dict[str, Any]:
    """Mean grade, by skill and over all, and best of five, on the first `n` train prompts."""
    asked = items("train", n)
    made = sample(model, tokenizer, [ask(item) for item in asked], 5, temperature, 0)
    graded = totals(asked, made)
    by_skill = {
        skill: _mean(
            [total for item, row in zip(asked, graded) if item.skill == skill for total in row]
        )
        for skill in SKILLS
    }
    return {
        "mean": _mean([total for row in graded for total in row]),
        "best_of_5": _mean([max(row) for row in graded]),
        "temperature": temperature,
        "prompts": n,
        "skills": by_skill,
    }


def agreement(model: Any, tokenizer: Any, n: int = 400) -> dict[str, Any]:
    """Share of pairs that a reward model orders as their grades do, on unseen train prompts."""
    rng = random.Random(seed_from("agreement"))
    pairs = []
    for item in items("train", n):
        first, second = (
            render(item, 0, quality, rng, rng.choice(OPENERS))
            for quality in rng.choices(list(SHOWN), list(SHOWN.values()), k=2)
        )
        gap = grade(item, first).total - grade(item, second).total
        if abs(gap) > 1e-3:
            pairs.append((conversation(item, [first]), conversation(item, [second]), gap > 0))
    left = score(model, tokenizer, [pair[0] for pair in pairs])
    right = score(model, tokenizer, [pair[1] for pair in pairs])
    agreed = [(a > b) == better for a, b, (_, _, better) in zip(left, right, pairs, strict=True)]
    return {"agreement": _mean(agreed), "pairs": len(pairs)}


def _mean(values: Sequence[float]) -> float:
    return round(sum(values) / max(1, len(values)), 3)
