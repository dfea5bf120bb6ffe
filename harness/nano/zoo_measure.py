"""Measuring nano models against the ground truth: mean grade, best of n, agreement on pairs."""

from __future__ import annotations

from typing import Any

import torch

from harness.nano.world import Item, grade

MAX_TOKENS = {"characters": 112}
DEFAULT_MAX_TOKENS = 64


@torch.no_grad()
def sample(
    model: Any,
    tokenizer: Any,
    conversations: list[list[dict[str, str]]],
    n: int,
    temperature: float,
    seed: int,
    max_tokens: int = DEFAULT_MAX_TOKENS,
    batch: int = 64,
) -> list[list[str]]:
    """`n` samples for each conversation that ends in a user message."""
    torch.manual_seed(seed)
    prompts = [
        tokenizer.apply_chat_template(c, add_generation_prompt=True, tokenize=False)
        for c in conversations
    ]
    out: list[list[str]] = []
    for start in range(0, len(prompts), batch):
        inputs = tokenizer(
            prompts[start : start + batch],
            return_tensors="pt",
            padding=True,
            padding_side="left",
            add_special_tokens=False,
            return_token_type_ids=False,
        )
        made = model.generate(
            **inputs,
            do_sample=True,
            temperature=temperature,
            top_k=0,
            num_return_sequences=n,
            max_new_tokens=max_tokens,
        )
        texts = tokenizer.batch_decode(
            made[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True
        )
        out += [texts[i : i + n] for i in range(0, len(texts), n)]
    return out


def ask(item: Item) -> list[dict[str, str]]:
    """The conversation that opens `item`."""
    return [{"role": "user", "content": item.turns[0]}]


def totals(items: list[Item], responses: list[list[str]]) -> list[list[float]]:
    """Grade totals, shaped as `responses`."""
    return [
        [grade(item, text).total for text in texts]
        for item, texts in zip(items, responses, strict=True)
    ]
