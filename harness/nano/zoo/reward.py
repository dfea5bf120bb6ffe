"""The nano reward model: a language model with a score head, trained on pairs ordered by grade.

Bradley-Terry loss over all pairs of responses to one prompt whose grade totals differ:

    loss = - mean over pairs (better, worse) of log sigmoid(score(better) - score(worse))

Half of the responses are written with known qualities; half are sampled from the zoo's language
models, so that the reward model sees their typical mistakes. Two auxiliary heads, removed after
training, predict at every token whether the response is true so far, and at its end the five
aspects of its grade.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid

from harness.core.hashing import seed_from
from harness.nano.world import WEIGHTS, Grade, Item, grade, items
from harness.nano.zoo.corpus import Conversation, conversation, rendered, true_until
from harness.nano.zoo.sample import ask, sample
from harness.nano.zoo.spec import ModelSpec
from harness.nano.zoo.train import Optimizers, Progress, pad, pretrain

SET_SIZE = 5
SETS_PER_STEP = 10
BATCH = 64  # conversations scored per forward pass
HEARD_PROMPTS, HEARD_PER_MODEL = 960, 4
_UNKNOWN = -1.0


@dataclass(frozen=True, slots=True)
class Rated:
    """One response with its training targets."""

    ids: list[int]
    true_so_far: list[float]  # per token, 0 or 1; `_UNKNOWN` in the prompt
    grade: Grade


def bradley_terry(scores: Tensor, totals: Tensor) -> Tensor:
    """Loss of the module's docstring; `scores` and `totals` are (prompts, responses)."""
    better = totals[:, :, None] - totals[:, None, :] > 1e-3  # (P, R, R)
    margins = scores[:, :, None] - scores[:, None, :]
    return -logsigmoid(margins[better]).mean()


@torch.no_grad()
def score(model: Any, tokenizer: Any, rows: list[Conversation]) -> list[float]:
    """Reward of each conversation's last answer."""
    texts = [tokenizer.apply_chat_template(row, tokenize=False) for row in rows]
    ids = tokenizer(texts, add_special_tokens=False)["input_ids"]
    scores: list[float] = []
    for start in range(0, len(ids), BATCH):
        padded = pad(ids[start : start + BATCH], tokenizer.pad_token_id)
        scores += model(input_ids=padded).logits[:, 0].tolist()
    return scores


def rate(tokenizer: Any, item: Item, texts: list[str]) -> list[Rated]:
    """Training targets of each response to `item`."""
    asked = tokenizer.apply_chat_template(ask(item), add_generation_prompt=True, tokenize=False)
    whole = [
        tokenizer.apply_chat_template(conversation(item, [text]), tokenize=False) for text in texts
    ]
    encoded = tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)
    rated = []
    pairs = zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
    for text, (ids, offsets) in zip(texts, pairs, strict=True):
        until = len(asked) + true_until(item, text)
        truth = [
            _UNKNOWN if end <= len(asked) else float(min(end, len(asked) + len(text)) <= until)
            for _, end in offsets
        ]
        rated.append(Rated(ids, truth, grade(item, text)))
    return rated


def _sets(
    spec: ModelSpec, tokenizer: Any, speakers: Mapping[str, tuple[Any, Any]]
) -> Iterator[list[Rated]]:
    """Yield sets of responses to one prompt, written or (with probability 1/2) sampled."""
    asked = items("reward", HEARD_PROMPTS)
    heard: list[list[str]] = [[] for _ in asked]
    for name, (model, its_tokenizer) in speakers.items():
        seed = seed_from("heard", spec.seed, name) % 2**31
        made = sample(
            model, its_tokenizer, [ask(item) for item in asked], HEARD_PER_MODEL, 0.9, seed
        )
        for texts, more in zip(heard, made, strict=True):
            texts += more
    rng = random.Random(seed_from("reward order", spec.name, spec.seed))
    for item, texts in rendered(spec, spec.reward_steps * SETS_PER_STEP, SET_SIZE):
        if heard and rng.random() < 0.5:
            index = rng.randrange(len(asked))
            item, texts = asked[index], rng.sample(heard[index], SET_SIZE)
        yield rate(tokenizer, item, texts)


def train_reward(
    spec: ModelSpec, progress: Progress, speakers: Mapping[str, tuple[Any, Any]]
) -> tuple[Any, Any]:
    """Pretrain a language model, then train the score head; returns (classifier, tokenizer)."""
    import transformers as hf

    trunk, tokenizer = pretrain(spec, progress)
    sets = _sets(spec, tokenizer, speakers)
    torch.manual_seed(seed_from("reward head", spec.name, spec.seed) % 2**31)
    config = hf.LlamaConfig(**trunk.config.to_dict() | {"num_labels": 1})
    model = hf.LlamaForSequenceClassification(config)
    model.model.load_state_dict(trunk.model.state_dict())
    model.aspects = torch.nn.Linear(spec.hidden, len(WEIGHTS))  # for training only
    model.truth = torch.nn.Linear(spec.hidden, 1)  # for training only
    model.train()
    optimizers = Optimizers(model, spec.learning_rate / 2, spec.reward_steps)
    for step in range(spec.reward_steps):
        batch = [rated for _ in range(SETS_PER_STEP) for rated in next(sets)]
        optimizers.step(_loss(model, tokenizer, batch))
        progress(spec.name, spec.steps + step + 1, spec.steps + spec.reward_steps)
    del model.aspects, model.truth
    return model.eval(), tokenizer


def _loss(model: Any, tokenizer: Any, batch: list[Rated]) -> Tensor:
    ids = pad([rated.ids for rated in batch], tokenizer.pad_token_id)
    hidden = model.model(input_ids=ids).last_hidden_state  # (B, T, H)
    ends = torch.tensor([len(rated.ids) - 1 for rated in batch])
    last = hidden[torch.arange(len(batch)), ends]
    totals = torch.tensor([rated.grade.total for rated in batch]).view(-1, SET_SIZE)
    preferred = bradley_terry(model.score(last).view(-1, SET_SIZE), totals)
    aspects = torch.tensor([[getattr(rated.grade, name) for name in WEIGHTS] for rated in batch])
    explained = binary_cross_entropy_with_logits(model.aspects(last), aspects)
    width = ids.shape[1]
    truth = torch.tensor([r.true_so_far + [_UNKNOWN] * (width - len(r.true_so_far)) for r in batch])
    known = truth != _UNKNOWN
    followed = binary_cross_entropy_with_logits(model.truth(hidden[known])[:, 0], truth[known])
    return preferred + explained + 2 * followed
