"""The zoo's sequence-to-sequence model: a tiny T5 that fills in masked words of authors' texts."""

from __future__ import annotations

import random
from typing import Any

import torch

from harness.core.hashing import seed_from
from harness.nano.zoo.encoder import MASKED, READ
from harness.nano.zoo.reader import texts
from harness.nano.zoo.spec import ModelSpec
from harness.nano.zoo.train import Optimizers, Progress, batches, pad, shipped_tokenizer


def train_seq2seq(spec: ModelSpec, progress: Progress) -> tuple[Any, Any]:
    """Pretrain on restoring texts with masked tokens; (T5ForConditionalGeneration, tokenizer)."""
    import transformers as hf

    torch.manual_seed(seed_from("weights", spec.name, spec.seed) % 2**31)
    read = texts(READ)
    tokenizer = shipped_tokenizer(spec.tokenizer_of)
    tokenizer.eos_token = tokenizer.sep_token
    model = hf.T5ForConditionalGeneration(
        hf.T5Config(
            vocab_size=len(tokenizer),
            d_model=spec.hidden,
            d_kv=spec.hidden // spec.heads,
            d_ff=spec.hidden * 2,
            num_layers=spec.layers,
            num_heads=spec.heads,
            dropout_rate=0.0,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            decoder_start_token_id=tokenizer.pad_token_id,
        )
    ).train()
    encoded = tokenizer(read, truncation=True, max_length=64)["input_ids"]
    optimizers = Optimizers(model, spec.learning_rate, spec.steps)
    rng = random.Random(seed_from("order", spec.name, spec.seed))
    step = 0
    while step < spec.steps:
        rows = [(ids, ids) for ids in rng.sample(encoded, len(encoded))]
        for batch in batches(rows, spec.batch, rng):
            if step == spec.steps:
                break
            ids = pad([row for row, _ in batch], tokenizer.pad_token_id)
            gaps = (torch.rand(ids.shape) < MASKED) & (ids != tokenizer.pad_token_id)
            optimizers.step(_loss(model, tokenizer, ids, gaps))
            step += 1
            progress(spec.name, step, spec.steps)
    return model.eval(), tokenizer


def _loss(model: Any, tokenizer: Any, ids: torch.Tensor, gaps: torch.Tensor) -> torch.Tensor:
    there = ids != tokenizer.pad_token_id
    loss: torch.Tensor = model(
        input_ids=ids.masked_fill(gaps, tokenizer.mask_token_id),
        attention_mask=there.long(),
        labels=ids.masked_fill(~there, -100),
    ).loss
    return loss


@torch.no_grad()
def restoring(model: Any, tokenizer: Any, n: int = 100) -> dict[str, Any]:
    """Loss per token of restoring `n` new texts, in nats, and that of a uniform guess."""
    batch = tokenizer(texts(n, "measured"), truncation=True, max_length=64, padding=True)
    ids = torch.tensor(batch["input_ids"])
    generator = torch.Generator().manual_seed(0)
    gaps = torch.rand(ids.shape, generator=generator) < MASKED
    gaps &= ids != tokenizer.pad_token_id
    guess = torch.log(torch.tensor(float(len(tokenizer))))
    return {
        "loss": round(_loss(model, tokenizer, ids, gaps).item(), 3),
        "chance": round(guess.item(), 3),
        "texts": n,
    }
