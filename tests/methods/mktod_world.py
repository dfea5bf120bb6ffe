"""A tiny knowledge base with dialogues, and tiny models that learn from them."""

from __future__ import annotations

from typing import Any

import torch

from methods.mktod.network import Generator
from methods.mktod.scratch import new_generator
from methods.mktod.settings import Fusion, ScratchParams

RECORDS = [
    {"name": "curry_garden", "food": "indian", "area": "north"},
    {"name": "efes", "food": "turkish", "area": "north"},
    {"name": "sala_thong", "food": "thai", "area": "west"},
    {"name": "rice_house", "food": "indian", "area": "west"},
]


def turn(number: int, said: list[str], reply: str, gold: list[str], **more: Any) -> dict[str, Any]:
    row = {
        "id": f"d{number}/1", "dialogue": f"d{number}", "turn": 1, "domain": "restaurant",
        "context": said, "reference": reply, "kb": RECORDS[:2], "facts": {}, "gold": gold,
    }  # fmt: skip
    return {**row, **more}


TURNS = [
    turn(n, [f"some {r['food']} food in the {r['area']} ?"], f"try {r['name']} .", [r["name"]])
    for n, r in enumerate(RECORDS)
]
SMALL = ScratchParams(layers=1, hidden=16, heads=2, seed=1)


def generator(fusion: Fusion = "fid", copying: bool = False) -> tuple[Generator, Any]:
    """(generator, its tokenizer) with new weights."""
    model, tokenizer = new_generator(TURNS, RECORDS, SMALL)
    return Generator(model.eval(), fusion, copying, tokenizer.eos_token_id), tokenizer


def encoder() -> tuple[Any, Any]:
    """(BERT with new weights, the tokenizer of the generator)."""
    from transformers import BertConfig, BertModel

    _, tokenizer = new_generator(TURNS, RECORDS, SMALL)
    torch.manual_seed(2)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=32, pad_token_id=0,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    return BertModel(config, add_pooling_layer=False), tokenizer
