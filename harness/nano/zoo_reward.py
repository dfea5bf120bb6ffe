"""The nano reward model: a language model's trunk with a score head, trained on oracle pairs.

Bradley-Terry loss over all pairs of responses to one prompt whose grade totals differ:

    loss = - mean over pairs (better, worse) of log sigmoid(score(better) - score(worse))
"""

from __future__ import annotations

import random
from typing import Any

import torch
from torch import Tensor

from harness.hashing import seed_from
from harness.nano.zoo_corpus import Conversation, graded_sets
from harness.nano.zoo_models import ModelSpec
from harness.nano.zoo_train import Optimizers, Progress, pad, pretrain

SET_SIZE = 5
SETS_PER_STEP = 10


def bradley_terry(scores: Tensor, totals: Tensor) -> Tensor:
    """The loss above; `scores` and `totals` are (prompts, responses)."""
    better = totals[:, :, None] - totals[:, None, :] > 1e-3  # (P, R, R)
    margins = scores[:, :, None] - scores[:, None, :]
    return -torch.nn.functional.logsigmoid(margins[better]).mean()


def texts_of(tokenizer: Any, rows: list[Conversation]) -> list[list[int]]:
    """Token ids of whole conversations."""
    texts = [tokenizer.apply_chat_template(row, tokenize=False) for row in rows]
    ids: list[list[int]] = tokenizer(texts, add_special_tokens=False)["input_ids"]
    return ids


@torch.no_grad()
def score(model: Any, tokenizer: Any, rows: list[Conversation], batch: int = 64) -> list[float]:
    """The reward of each conversation's last answer."""
    ids = texts_of(tokenizer, rows)
    scores: list[float] = []
    for start in range(0, len(ids), batch):
        padded = pad(ids[start : start + batch], tokenizer.pad_token_id)
        scores += model(input_ids=padded).logits[:, 0].tolist()
    return scores


def train_reward(spec: ModelSpec, progress: Progress) -> tuple[Any, Any]:
    """(sequence classifier, tokenizer): first the language, then which answer is better."""
    import transformers as hf

    trunk, tokenizer = pretrain(spec, progress)
    torch.manual_seed(seed_from("reward head", spec.name, spec.seed) % 2**31)
    config = hf.LlamaConfig(**trunk.config.to_dict() | {"num_labels": 1})
    model = hf.LlamaForSequenceClassification(config)
    model.model.load_state_dict(trunk.model.state_dict())
    model.train()
    rng = random.Random(seed_from("reward order", spec.name, spec.seed))
    sets = list(graded_sets(spec, spec.reward_steps * SETS_PER_STEP, SET_SIZE))
    rng.shuffle(sets)
    optimizers = Optimizers(model, spec.learning_rate / 3, spec.reward_steps)
    for step in range(spec.reward_steps):
        chosen = sets[step * SETS_PER_STEP : (step + 1) * SETS_PER_STEP]
        ids = texts_of(tokenizer, [row for rated in chosen for row, _ in rated])
        scores = model(input_ids=pad(ids, tokenizer.pad_token_id)).logits.view(-1, SET_SIZE)
        totals = torch.tensor([[total for _, total in rated] for rated in chosen])
        optimizers.step(bradley_terry(scores, totals))
        progress(spec.name, spec.steps + step + 1, spec.steps + spec.reward_steps)
    return model.eval(), tokenizer
