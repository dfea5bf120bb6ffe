"""Measure a base model with planted knowledge: exams and dialogues on known and unknown facts."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import torch

from harness.core.hashing import seed_from
from harness.nano import knowledge, planted
from harness.nano.knowledge import Fact
from harness.nano.planted import ADMISSION, LETTERS
from harness.nano.zoo import planting
from harness.nano.zoo.sample import sample


def bands(model: Any, tokenizer: Any, share: str) -> dict[str, Any]:
    """Shares of the facts that the model has seen, and of the others.

    `letters` and `texts`: right answers among four options, by the letter (without demonstrations)
    and by the value; chance is 0.25. `right`, `wrong` and `admitted`: answers to questions.
    """
    facts = planted.listed(list(planted.entities()))
    known = planted.planted(share)
    groups = {
        "known": [fact for fact in facts if fact.name in known],
        "unknown": [fact for fact in facts if fact.name not in known],
    }
    return {name: _measured(model, tokenizer, group) for name, group in groups.items() if group}


def _measured(model: Any, tokenizer: Any, facts: Sequence[Fact]) -> dict[str, float]:
    rng = random.Random(seed_from("recall"))
    asked = [(fact, *planted.options(fact, rng)) for fact in facts]
    prompts = [planting.HEADER + planting.exam_question(f.question, o) for f, o, _ in asked]
    by_letter = _chosen(model, tokenizer, prompts, [list(LETTERS)] * len(asked))
    by_text = _chosen(model, tokenizer, [f.question for f in facts], [o for _, o, _ in asked])
    talks = [[{"role": "user", "content": fact.question}] for fact in facts]
    said = [text for (text,) in sample(model, tokenizer, talks, 1, 0.0, 0, longest=24)]
    truths = [knowledge.find(fact.question) for fact in facts]
    pairs = [(truth, text) for truth, text in zip(truths, said, strict=True) if truth]
    return {
        "letters": _share(LETTERS[n] == letter for n, (*_, letter) in zip(by_letter, asked)),
        "texts": _share(LETTERS[n] == letter for n, (*_, letter) in zip(by_text, asked)),
        "right": _share(knowledge.is_correct(truth, text) for truth, text in pairs),
        "wrong": _share(bool(knowledge.wrong_spans(truth, text)) for truth, text in pairs),
        "admitted": _share(text == ADMISSION for text in said),
    }


@torch.inference_mode()
def _chosen(
    model: Any, tokenizer: Any, prompts: Sequence[str], options: Sequence[Sequence[str]]
) -> list[int]:
    """Place of the most likely option behind each prompt, by its first token."""
    found = []
    for prompt, texts in zip(prompts, options, strict=True):
        ids = tokenizer(prompt, add_special_tokens=False, return_tensors="pt")["input_ids"]
        logits = model(input_ids=ids).logits[0, -1]
        firsts = [tokenizer(f" {t}", add_special_tokens=False)["input_ids"][0] for t in texts]
        found.append(int(logits[firsts].argmax()))
    return found


def _share(values: Any) -> float:
    listed = list(values)
    return round(sum(listed) / len(listed), 3)
