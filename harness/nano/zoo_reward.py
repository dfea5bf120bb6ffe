"""The nano reward model: a language model's trunk with a score head, trained on oracle pairs.

Bradley-Terry loss over all pairs of responses to one prompt whose grade totals differ:

    loss = - mean over pairs (better, worse) of log sigmoid(score(better) - score(worse))

A second head, dropped afterwards, learns to tell the five aspects of the grade: it says what is
wrong with a response, where a pair only says that something is.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from harness.hashing import seed_from
from harness.nano.world import WEIGHTS
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
    model.aspects = torch.nn.Linear(spec.hidden, len(WEIGHTS))  # for training only
    sets = list(graded_sets(spec, spec.reward_steps * SETS_PER_STEP, SET_SIZE))
    optimizers = Optimizers(model, spec.learning_rate / 2, spec.reward_steps)
    for step in range(spec.reward_steps):
        chosen = sets[step * SETS_PER_STEP : (step + 1) * SETS_PER_STEP]
        ids = texts_of(tokenizer, [row for rated in chosen for row, _ in rated])
        hidden = model.model(input_ids=pad(ids, tokenizer.pad_token_id)).last_hidden_state
        last = hidden[torch.arange(len(ids)), torch.tensor([len(row) - 1 for row in ids])]
        grades = [grade for rated in chosen for _, grade in rated]
        totals = torch.tensor([grade.total for grade in grades])
        wanted = torch.tensor([[getattr(grade, name) for name in WEIGHTS] for grade in grades])
        preferred = bradley_terry(model.score(last).view(-1, SET_SIZE), totals.view(-1, SET_SIZE))
        explained = torch.nn.functional.binary_cross_entropy_with_logits(
            model.aspects(last), wanted
        )
        optimizers.step(preferred + 2 * explained)
        progress(spec.name, spec.steps + step + 1, spec.steps + spec.reward_steps)
    del model.aspects
    return model.eval(), tokenizer
