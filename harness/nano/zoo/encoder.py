"""The zoo's encoder: a tiny BERT with WordPiece, a masked language model of authors' texts."""

from __future__ import annotations

import random
from typing import Any

import torch

from harness.core.hashing import seed_from
from harness.nano.zoo.reader import texts
from harness.nano.zoo.spec import ModelSpec
from harness.nano.zoo.train import Optimizers, Progress, batches, pad, shipped_tokenizer

MASKED = 0.2  # share of masked tokens
READ = 6000  # number of training texts
_SPECIALS = 5  # special tokens, the first of the vocabulary


def train_encoder(spec: ModelSpec, progress: Progress) -> tuple[Any, Any]:
    """Pretrain; returns (BertForMaskedLM, tokenizer).

    A fifth of the tokens are masked. Departure: BERT keeps a tenth of them and replaces another
    tenth by random tokens, which helps models that are used without fine-tuning; this one is
    fine-tuned. The vocabulary is the shipped one: the trainer that made it breaks ties by chance
    (`tokenizers.trainers.WordPieceTrainer`).
    """
    import transformers as hf

    torch.manual_seed(seed_from("weights", spec.name, spec.seed) % 2**31)
    read = texts(READ)
    tokenizer = shipped_tokenizer(spec.name)
    config = hf.BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=spec.hidden,
        num_hidden_layers=spec.layers,
        num_attention_heads=spec.heads,
        intermediate_size=spec.hidden * 4,
        max_position_embeddings=spec.context,
        pad_token_id=tokenizer.pad_token_id,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    model = hf.BertForMaskedLM(config).train()
    encoded = tokenizer(read, truncation=True)["input_ids"]
    optimizers = Optimizers(model, spec.learning_rate, spec.steps)
    rng = random.Random(seed_from("order", spec.name, spec.seed))
    step = 0
    while step < spec.steps:
        rows = [(ids, ids) for ids in rng.sample(encoded, len(encoded))]
        for batch in batches(rows, spec.batch, rng):
            if step == spec.steps:
                break
            ids = pad([row for row, _ in batch], tokenizer.pad_token_id)
            gaps = (torch.rand(ids.shape) < MASKED) & (ids >= _SPECIALS)
            hidden = model.bert(
                input_ids=ids.masked_fill(gaps, tokenizer.mask_token_id),
                attention_mask=(ids != tokenizer.pad_token_id).long(),
            ).last_hidden_state
            optimizers.step(torch.nn.functional.cross_entropy(model.cls(hidden[gaps]), ids[gaps]))
            step += 1
            progress(spec.name, step, spec.steps)
    return model.eval(), tokenizer


@torch.no_grad()
def filling(model: Any, tokenizer: Any, n: int = 100) -> dict[str, Any]:
    """Accuracy on masked tokens of `n` new texts, and accuracy of the most frequent token."""
    read = texts(n, "measured")
    batch = tokenizer(read, truncation=True, padding=True, return_tensors="pt")
    ids = batch["input_ids"]
    generator = torch.Generator().manual_seed(0)
    gaps = (torch.rand(ids.shape, generator=generator) < MASKED) & (ids >= _SPECIALS)
    batch["input_ids"] = ids.masked_fill(gaps, tokenizer.mask_token_id)
    wanted = ids[gaps]
    right = model(**batch).logits[gaps].argmax(-1) == wanted
    commonest = (wanted == wanted.mode().values).float().mean()
    return {
        "filled": round(right.float().mean().item(), 3),
        "chance": round(commonest.item(), 3),
        "texts": n,
    }
