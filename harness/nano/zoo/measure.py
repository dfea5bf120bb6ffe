"""Measure nano models against the ground truth: mean grade, best of n, agreement on pairs."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from harness.core.hashing import seed_from
from harness.nano.world import (
    OPEN_DOMAINS,
    OPENERS,
    SKILLS,
    Item,
    grade,
    items,
    open_answer,
    open_questions,
    render,
)
from harness.nano.zoo.corpus import conversation
from harness.nano.zoo.reward import score
from harness.nano.zoo.sample import ask, sample
from harness.nano.zoo.spec import SHOWN


def totals(items: list[Item], responses: list[list[str]]) -> list[list[float]]:
    """Grade totals of the responses to each item."""
    return [
        [grade(item, text).total for text in texts]
        for item, texts in zip(items, responses, strict=True)
    ]


def bands(model: Any, tokenizer: Any, n: int = 160, temperature: float = 0.7) -> dict[str, Any]:
    """Mean grade, over all and by skill, and mean best of five on the first `n` train prompts."""
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


def knowledge(model: Any, tokenizer: Any, n: int = 160, asked_open: int = 60) -> dict[str, Any]:
    """Shares of right samples at temperature 1: of the answer line by skill, on the first `n` train
    prompts, and of answers to open questions by domain."""
    asked = items("train", n)
    made = sample(model, tokenizer, [ask(item) for item in asked], 4, 1.0, 1)
    right = {
        skill: _mean(
            [
                grade(item, text).correct == 1
                for item, texts in zip(asked, made, strict=True)
                if item.skill == skill
                for text in texts
            ]
        )
        for skill in SKILLS
    }
    opened = {}
    for domain in OPEN_DOMAINS:
        rng = random.Random(seed_from("asked", domain))
        questions = rng.sample(open_questions(domain), asked_open)
        prompts = [[{"role": "user", "content": question.text}] for question in questions]
        heard = sample(model, tokenizer, prompts, 4, 1.0, 2)
        opened[domain] = _mean(
            [
                text in map(open_answer, question.right)
                for question, texts in zip(questions, heard, strict=True)
                for text in texts
            ]
        )
    return {"right": right, "open": opened}


def agreement(
    model: Any, tokenizer: Any, speakers: Mapping[str, tuple[Any, Any]], n: int = 160
) -> dict[str, Any]:
    """Agreement of a reward model with grades, on the first `n` train prompts, which are new to it.

    `sampled`: share of pairs of language models' samples ordered as by their grades;
    `sampled_wide`: the same for totals that differ by more than 0.2; `written`: the same for
    written responses with near misses; `picked`: mean grade of the sample with the highest reward;
    `best`: mean grade of the best sample; `well_formed`: share of the pairs of samples and of
    written answers, both in the form that is asked for, of which one line is right and the other
    wrong, ordered by truth.
    """
    asked = items("train", n)
    rng = random.Random(seed_from("agreement"))
    heard: list[list[str]] = [[] for _ in asked]
    for speaker in speakers.values():
        for texts, more in zip(
            heard, sample(*speaker, [ask(i) for i in asked], 3, 0.8, 0), strict=True
        ):
            texts += more
    written = [
        [
            render(item, 0, quality, rng, rng.choice(OPENERS))
            for quality in rng.choices(list(SHOWN), list(SHOWN.values()), k=4)
        ]
        for item in asked
    ]
    grades, scores = totals(asked, heard), _scored(model, tokenizer, asked, heard)
    ordered = _ordered(grades, scores)
    told = _scored(model, tokenizer, asked, written)
    formed = [
        right
        for item, texts, values in zip(
            [*asked, *asked], [*heard, *written], [*scores, *told], strict=True
        )
        for right in _by_truth(item, texts, values)
    ]
    return {
        "sampled": _mean([right for right, _ in ordered]),
        "sampled_wide": _mean([right for right, gap in ordered if gap > 0.2]),
        "written": _mean([right for right, _ in _ordered(totals(asked, written), told)]),
        "well_formed": _mean(formed),
        "well_formed_pairs": len(formed),
        "picked": _mean([g[s.index(max(s))] for g, s in zip(grades, scores, strict=True)]),
        "best": _mean([max(row) for row in grades]),
        "prompts": n,
    }


def _scored(
    model: Any, tokenizer: Any, asked: list[Item], responses: list[list[str]]
) -> list[list[float]]:
    return [
        score(model, tokenizer, [conversation(item, [text]) for text in texts])
        for item, texts in zip(asked, responses, strict=True)
    ]


def _ordered(grades: list[list[float]], scores: list[list[float]]) -> list[tuple[bool, float]]:
    """(whether scores order the pair as grades do, difference of grades), for unequal grades."""
    return [
        ((g[i] > g[j]) == (s[i] > s[j]), abs(g[i] - g[j]))
        for g, s in zip(grades, scores, strict=True)
        for i, j in combinations(range(len(g)), 2)
        if abs(g[i] - g[j]) > 1e-3
    ]


def _by_truth(item: Item, texts: list[str], scores: list[float]) -> list[bool]:
    """Whether scores order each pair of well-formed answers with a right and a wrong line."""
    graded = [(grade(item, text), score) for text, score in zip(texts, scores, strict=True)]
    formed = [
        (grades.correct + grades.complete == 2, score)
        for grades, score in graded
        if grades.formatted == 1
    ]
    return [right > wrong for known, right in formed if known for lost, wrong in formed if not lost]


def _mean(values: Sequence[float]) -> float:
    return round(sum(values) / max(1, len(values)), 3)
