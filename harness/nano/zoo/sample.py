"""Load nano models as users do, and sample from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from harness.nano.world import Item

Messages = list[dict[str, str]]


def load(folder: Path) -> tuple[Any, Any]:
    """Load (model in float32, tokenizer) from a folder."""
    import transformers as hf

    config = hf.AutoConfig.from_pretrained(folder)
    head = config.architectures[0].rpartition("For")[2]
    kind = "Seq2SeqLM" if config.is_encoder_decoder else head
    model = getattr(hf, f"AutoModelFor{kind}").from_pretrained(folder, dtype=torch.float32)
    return model.eval(), hf.AutoTokenizer.from_pretrained(folder)


def ask(item: Item) -> Messages:
    """Messages with the first prompt of `item`."""
    return [{"role": "user", "content": item.turns[0]}]


@torch.no_grad()
def sample(
    model: Any,
    tokenizer: Any,
    conversations: list[Messages],
    n: int,
    temperature: float,
    seed: int,
    batch: int = 64,
    longest: int | None = None,
) -> list[list[str]]:
    """`n` samples per conversation that ends in a user message; use n = 1 at temperature 0."""
    torch.manual_seed(seed)
    prompts = [
        tokenizer.apply_chat_template(c, add_generation_prompt=True, tokenize=False)
        for c in conversations
    ]
    how = {"temperature": temperature, "top_k": 0} if temperature else {}
    longest = longest or (112 if len(tokenizer) < 300 else 64)  # tokens are characters, or longer
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
            do_sample=bool(how),
            **how,
            num_return_sequences=n,
            max_new_tokens=longest,
        )
        texts = tokenizer.batch_decode(
            made[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True
        )
        out += [texts[i : i + n] for i in range(0, len(texts), n)]
    return out
