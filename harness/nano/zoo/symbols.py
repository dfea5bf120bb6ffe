"""Training data and measurements of the models of the world of symbols (`harness.nano.symbols`).

Three rows of four are drafts: prompt and answer. In one of four the prompt is followed by an answer
which is repeated, so that a model can read an answer that it is shown.
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
MARK = ">"  # between a prompt and an answer that is shown


def corpus(name: str, n: int) -> list[Conversation]:
    """`n` conversations about prompts that belong to no split."""
    rng = random.Random(seed_from("symbols", name))
    return list(islice(_conversations(rng), n))


def _conversations(rng: random.Random) -> Iterator[Conversation]:
    while True:
        text = symbols.drawn(rng)
        if symbols.is_reserved(text):
            continue
        answer = symbols.DRAFT.write(text, rng)
        asked = f"{text}{MARK}{answer}" if rng.random() < ECHOES else text
        yield [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]


def bands(model: Any, tokenizer: Any, n: int = 200) -> dict[str, float]:
    """Mean metrics of answers sampled at temperature 1 to prompts of the split "test"."""
    from harness.nano.zoo.sample import sample

    rows = symbols.prompts_of("test")[:n]
    said = sample(model, tokenizer, [row["messages"] for row in rows], 1, 1.0, seed=0, longest=12)
    graded = [symbols.score(row, texts[0]) for row, texts in zip(rows, said, strict=True)]
    return {name: round(sum(grade[name] for grade in graded) / n, 3) for name in graded[0]}
