"""Training data and measurements of the models of the world of symbols (`harness.nano.symbols`).

Most rows are drafts: prompt and answer. In one of four the prompt is followed by an answer which is
repeated, so that a model can read an answer that it is shown. A model with the strength "count" has
also seen the numbers of plain and of wrong symbols of such answers; without, 600 steps of a
reviser's training did not take its verdicts above chance.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import islice
from typing import Any

from harness.core.hashing import seed_from
from harness.nano import symbols
from harness.nano.zoo.corpus import Conversation

ECHOES = 0.25
COUNTS = 0.35
MARK, ASK = ">", "?"  # between a prompt and an answer that is repeated, or counted


def corpus(name: str, n: int, *, counts: bool = False) -> list[Conversation]:
    """`n` conversations about prompts that belong to no split.

    Args:
        counts: some of them count the plain and the wrong symbols of an answer.
    """
    rng = random.Random(seed_from("symbols", name))
    return list(islice(_conversations(rng, COUNTS if counts else 0.0), n))


def _conversations(rng: random.Random, counts: float) -> Iterator[Conversation]:
    while True:
        text = symbols.drawn(rng)
        if symbols.is_reserved(text):
            continue
        answer = symbols.DRAFT.write(text, rng)
        asked, said, kind = text, answer, rng.random()
        if kind < ECHOES:
            asked = f"{text}{MARK}{answer}"
        elif kind < ECHOES + counts:
            care = rng.random()  # answers of all qualities
            answer = symbols.Writer(wrong=0.2 * (1 - care), good=care).write(text, rng)
            asked, said = f"{text}{ASK}{answer}", _counted(text, answer)
        yield [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]


def _counted(text: str, answer: str) -> str:
    """The numbers of plain and wrong symbols, one digit each."""
    found = symbols.count(text, answer)
    return f"{found.plain}{found.wrong}"


def bands(model: Any, tokenizer: Any, n: int = 200) -> dict[str, float]:
    """Mean metrics of answers sampled at temperature 1 to prompts of the split "test".

    `counted` is the share of answers whose plain and wrong symbols are counted correctly.
    """
    from harness.nano.zoo.sample import sample

    rows = symbols.prompts_of("test")[:n]
    said = sample(model, tokenizer, [row["messages"] for row in rows], 1, 1.0, seed=0, longest=12)
    graded = [symbols.score(row, texts[0]) for row, texts in zip(rows, said, strict=True)]
    found = {name: round(sum(grade[name] for grade in graded) / n, 3) for name in graded[0]}
    return {**found, "counted": round(_counting(model, tokenizer, n), 3)}


def _counting(model: Any, tokenizer: Any, n: int) -> float:
    from harness.nano.zoo.sample import sample

    rng = random.Random(seed_from("counting"))
    texts = [row["messages"][0]["content"] for row in symbols.prompts_of("test")[:n]]
    answers = [symbols.DRAFT.write(text, rng) for text in texts]
    asked = [f"{text}{ASK}{answer}" for text, answer in zip(texts, answers)]
    talks = [[{"role": "user", "content": content}] for content in asked]
    said = sample(model, tokenizer, talks, 1, 0.0, seed=0, longest=4)
    right = [s[0] == _counted(t, a) for s, t, a in zip(said, texts, answers, strict=True)]
    return sum(right) / n
