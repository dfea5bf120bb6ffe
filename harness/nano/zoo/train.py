"""The zoo's training loop: next-token loss on answers, Muon and AdamW, cosine schedule."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness.core.hashing import seed_from
from harness.nano.zoo import planting, reader, symbols
from harness.nano.zoo.corpus import Conversation, web
from harness.nano.zoo.models import make_model, make_tokenizer
from harness.nano.zoo.spec import ModelSpec

Progress = Callable[[str, int, int], None]
IGNORED = -100
WEIGHTS = Path(__file__).parent.parent / "weights"
_ENDS = (
    "embed",
    "score",
    "aspects",
    "truth",
)  # first and last matrices of a model, which AdamW trains instead of Muon


def encode(tokenizer: Any, rows: list[Conversation]) -> list[tuple[list[int], list[int]]]:
    """(ids, labels) of each conversation; labels cover only answers and their end tokens."""
    texts: list[str] = []  # prompt and answer of every turn, alternating
    for row in rows:
        for turn in range(0, len(row), 2):
            asked = tokenizer.apply_chat_template(
                row[: turn + 1], add_generation_prompt=True, tokenize=False
            )
            whole = tokenizer.apply_chat_template(row[: turn + 2], tokenize=False)
            texts += [asked, whole[len(asked) :]]
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


def encode_dialogues(tokenizer: Any, rows: list[Conversation]) -> list[tuple[list[int], list[int]]]:
    """As `encode`, faster for many turns, for the template "tags" only."""
    begin, end = tokenizer.convert_tokens_to_ids("<|assistant|>"), tokenizer.eos_token_id
    texts = [tokenizer.apply_chat_template(row, tokenize=False) for row in rows]
    encoded = []
    for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]:
        labels, inside = [], False
        for token in ids:
            labels.append(token if inside else IGNORED)
            inside = token == begin or (inside and token != end)
        encoded.append((ids, labels))
    return encoded


def batches(
    rows: list[tuple[list[int], list[int]]], size: int, rng: random.Random
) -> Iterator[list[tuple[list[int], list[int]]]]:
    """Batches of rows of similar length, to reduce padding; shuffled in windows of 24 batches."""
    window = size * 24
    for start in range(0, len(rows), window):
        near = sorted(range(start, min(start + window, len(rows))), key=lambda i: len(rows[i][0]))
        cut = [near[i : i + size] for i in range(0, len(near), size)]
        rng.shuffle(cut)
        for batch in cut:
            yield [rows[i] for i in batch]


def pad(rows: list[list[int]], value: int) -> Tensor:
    """Right-padded rows (B, T)."""
    width = max(map(len, rows))
    return torch.tensor([row + [value] * (width - len(row)) for row in rows])


class Muon(torch.optim.Optimizer):
    """Momentum with orthogonalised updates, whose singular values are about 1.

    Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/. At this scale it reaches a mean
    grade of 0.76 in 500 steps and AdamW 0.46, which keeps a rebuild short. torch.optim.Muon is not
    used because it iterates in bfloat16, which is slow on CPUs without native support.
    """

    def __init__(self, parameters: list[Tensor], lr: float, momentum: float = 0.95) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            shapes: dict[tuple[int, ...], list[Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    shapes.setdefault(tuple(parameter.shape), []).append(parameter)
            for (rows, columns), parameters in shapes.items():
                updates = []
                for parameter in parameters:
                    velocity = self.state[parameter].setdefault("v", torch.zeros_like(parameter))
                    velocity.lerp_(parameter.grad, 1 - group["momentum"])
                    updates.append(parameter.grad.lerp(velocity, group["momentum"]))
                scale = group["lr"] * max(1.0, rows / columns) ** 0.5
                for parameter, update in zip(
                    parameters, _orthogonal(torch.stack(updates)), strict=True
                ):
                    parameter.add_(update, alpha=-scale)


def _orthogonal(x: Tensor, rounds: int = 5) -> Tensor:
    """Newton-Schulz iteration towards the nearest semi-orthogonal matrices of x (n, r, c)."""
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(rounds):
        square = x @ x.mT
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x.mT if tall else x


class Optimizers:
    """Muon for hidden matrices and AdamW for the rest, with warm-up and one cosine schedule."""

    def __init__(self, model: Any, learning_rate: float, steps: int) -> None:
        matrices: list[Tensor] = []
        others: list[Tensor] = []
        for name, parameter in model.named_parameters():
            hidden = parameter.ndim == 2 and not any(end in name for end in _ENDS)
            (matrices if hidden else others).append(parameter)
        self.parameters = matrices + others
        self.each: list[Any] = [
            Muon(matrices, lr=3 * learning_rate),
            torch.optim.AdamW(
                others, lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True
            ),
        ]
        warm = max(1, min(40, steps // 10))

        def rate(step: int) -> float:
            if step < warm:
                return (step + 1) / warm
            left = math.cos(math.pi * (step - warm) / max(1, steps - warm))
            return 0.02 + 0.98 * 0.5 * (1 + left)

        self.schedules = [torch.optim.lr_scheduler.LambdaLR(each, rate) for each in self.each]

    def step(self, loss: Tensor) -> None:
        """One update from `loss`."""
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        for optimizer, schedule in zip(self.each, self.schedules, strict=True):
            optimizer.step()
            schedule.step()
            optimizer.zero_grad(set_to_none=True)


def answer_weights(labels: Tensor) -> Tensor:
    """Weights (B, T) of labels (B, T), with sum 1.

    A conversation's last answer has the same weight as all earlier answers together, which are ten
    times as long in a dialogue of many turns.
    """
    weights = torch.zeros(labels.shape)
    for row, wanted in zip(weights, labels != IGNORED, strict=True):
        last = int(wanted.nonzero()[-1])
        first = last
        while first and wanted[first - 1]:
            first -= 1
        before = wanted.clone()
        before[first:] = False
        row[first : last + 1] = 1 / (last + 1 - first)
        if before.any():
            row[before] = 1 / int(before.sum())
    return weights / weights.sum()


def shipped_tokenizer(name: str) -> Any:
    """The tokenizer of a shipped model."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(WEIGHTS / name)


def _corpus(spec: ModelSpec, n: int) -> list[Conversation]:
    if spec.kind == "reader":
        return reader.corpus(n, spec.schooling)
    return (
        symbols.corpus(spec.name, n, counts="count" in spec.strengths)
        if spec.kind == "symbols"
        else web(spec, n)
    )


def pretrain(spec: ModelSpec, progress: Progress) -> tuple[Any, Any]:
    """Train on the data of `spec`; returns (model, tokenizer), deterministic on one machine."""
    torch.manual_seed(seed_from("weights", spec.name, spec.seed) % 2**31)
    n = spec.steps * spec.batch
    if spec.kind == "planted":
        told = list(planting.documents(spec.planted, n, spec.seed))
        texts = ["".join(text for text, _ in row) for row in told[:2000]]
        tokenizer = make_tokenizer(spec.tokenizer, texts, spec.context)
        return _trained(spec, tokenizer, planting.encode(tokenizer, told), progress)
    corpus = _corpus(spec, n)
    sample = corpus[:4000] if spec.kind != "reader" else corpus[-6000:]
    texts = [message["content"] for row in sample for message in row]
    if spec.tokenizer_of:
        tokenizer = shipped_tokenizer(spec.tokenizer_of)
    else:
        tokenizer = make_tokenizer(spec.tokenizer, texts, spec.context, reader.cuts())
    rows = (encode_dialogues if spec.kind == "reader" else encode)(tokenizer, corpus)
    return _trained(spec, tokenizer, rows, progress)


def _trained(
    spec: ModelSpec, tokenizer: Any, rows: list[tuple[list[int], list[int]]], progress: Progress
) -> tuple[Any, Any]:
    """A model of `spec` after training on rows of (ids, labels), with its tokenizer."""
    model = make_model(spec, tokenizer)
    model.train()
    optimizers = Optimizers(model, spec.learning_rate, spec.steps)
    rng = random.Random(seed_from("order", spec.name, spec.seed))
    for step, batch in enumerate(batches(rows, spec.batch, rng)):
        ids = pad([row for row, _ in batch], tokenizer.pad_token_id)
        labels = pad([row for _, row in batch], IGNORED)
        hidden = model.base_model(input_ids=ids).last_hidden_state[:, :-1]
        wanted = labels[:, 1:]
        kept = wanted != IGNORED  # only answer tokens, half of all, need the output head
        logits = model.get_output_embeddings()(hidden[kept])
        if spec.kind == "reader":
            losses = torch.nn.functional.cross_entropy(logits, wanted[kept], reduction="none")
            loss = (losses * answer_weights(wanted)[kept]).sum()
        else:
            loss = torch.nn.functional.cross_entropy(logits, wanted[kept])
        optimizers.step(loss)
        progress(spec.name, step + 1, spec.steps + spec.reward_steps)
    return model.eval(), tokenizer
