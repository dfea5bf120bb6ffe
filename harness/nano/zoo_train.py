"""The zoo's training loop: next-token loss on the answers, AdamW, cosine, one thread, one seed."""

from __future__ import annotations

import math
import os
import random
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from harness.hashing import seed_from
from harness.nano.zoo_corpus import Conversation, web
from harness.nano.zoo_models import ModelSpec, make_model, make_tokenizer

Progress = Callable[[str, int, int], None]
IGNORED = -100


def encode(tokenizer: Any, rows: list[Conversation]) -> list[tuple[list[int], list[int]]]:
    """(ids, labels) of each conversation; labels cover the answers and their ends only."""
    texts: list[str] = []  # asked, told, asked, told ... of every conversation
    for row in rows:
        for turn in range(0, len(row), 2):
            asked = tokenizer.apply_chat_template(
                row[: turn + 1], add_generation_prompt=True, tokenize=False
            )
            told = tokenizer.apply_chat_template(row[: turn + 2], tokenize=False)
            texts += [asked, told[len(asked) :]]
    pieces = iter(tokenizer(texts, add_special_tokens=False)["input_ids"])
    encoded = []
    for row in rows:
        ids: list[int] = []
        labels: list[int] = []
        for _ in range(0, len(row), 2):
            prompt, answer = next(pieces), next(pieces)
            labels += [IGNORED] * (len(prompt) - len(ids)) + answer
            ids = prompt + answer
        encoded.append((ids, labels))
    return encoded


def batches(
    rows: list[tuple[list[int], list[int]]], size: int, rng: random.Random
) -> Iterator[list[tuple[list[int], list[int]]]]:
    """Shuffled batches of rows of about equal length, so that little is padding."""
    order = list(range(len(rows)))
    rng.shuffle(order)
    window = size * 24
    for start in range(0, len(order), window):
        near = sorted(order[start : start + window], key=lambda i: len(rows[i][0]))
        cut = [near[i : i + size] for i in range(0, len(near), size)]
        rng.shuffle(cut)
        for batch in cut:
            yield [rows[i] for i in batch]


def pad(rows: list[list[int]], value: int) -> Tensor:
    """(B, T) of right-padded rows."""
    width = max(map(len, rows))
    return torch.tensor([row + [value] * (width - len(row)) for row in rows])


def optimizers_for(model: Any, learning_rate: float, steps: int) -> list[tuple[Any, Any]]:
    """(optimizer, schedule) pairs: Muon for the hidden matrices, AdamW for all else."""
    matrices, others = [], []
    for name, parameter in model.named_parameters():
        hidden = parameter.ndim == 2 and "embed" not in name and "score" not in name
        (matrices if hidden else others).append(parameter)
    if os.environ.get("NOMUON"):
        others += matrices; matrices = []
    made: list[Any] = [
        torch.optim.AdamW(others, lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
    ]
    if matrices:
        made.append(torch.optim.Muon(matrices, lr=float(os.environ.get("MLR","0.02")), weight_decay=0.0, momentum=0.95))
    warm = max(1, min(40, steps // 10))

    def rate(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))

    return [(each, torch.optim.lr_scheduler.LambdaLR(each, rate)) for each in made]


def pretrain(spec: ModelSpec, progress: Progress) -> tuple[Any, Any]:
    """(model, tokenizer) after learning `spec`'s web; deterministic on one machine."""
    torch.manual_seed(seed_from("weights", spec.name, spec.seed) % 2**31)
    corpus = web(spec, spec.steps * spec.batch)
    texts = [message["content"] for row in corpus[:4000] for message in row]
    tokenizer = make_tokenizer(spec.tokenizer, texts)
    model = make_model(spec, tokenizer)
    model.train()
    rows = encode(tokenizer, corpus)
    optimizers = optimizers_for(model, spec.learning_rate, spec.steps)
    rng = random.Random(seed_from("order", spec.name, spec.seed))
    for step, batch in enumerate(batches(rows, spec.batch, rng)):
        ids = pad([row for row, _ in batch], tokenizer.pad_token_id)
        labels = pad([row for _, row in batch], IGNORED)
        hidden = model.base_model(input_ids=ids).last_hidden_state[:, :-1]
        wanted = labels[:, 1:]
        kept = wanted != IGNORED  # the head runs on answer tokens only: they are half of all
        logits = model.get_output_embeddings()(hidden[kept])
        loss = torch.nn.functional.cross_entropy(logits, wanted[kept])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, schedule in optimizers:
            optimizer.step()
            schedule.step()
            optimizer.zero_grad(set_to_none=True)
        progress(spec.name, step + 1, spec.steps + spec.reward_steps)
    return model.eval(), tokenizer
