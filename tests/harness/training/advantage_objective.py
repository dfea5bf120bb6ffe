"""A distribution-level objective for tests, like those of advantage-guided distillation.

Rows have a preferred and a dispreferred response, and for each position the log-probabilities that
a teacher and its reference give to k tokens. With p the student, q the teacher, r the reference:

    NLL(preferred) + KL(q || p)(preferred) - gamma E_p[log q - log r](dispreferred)

each a mean over the tokens of its response.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import pad as pad_tensor

from harness.models.collate import pad
from harness.models.heads import hidden_states, output_head
from harness.models.logprobs import gathered_logprobs
from harness.models.tokenize import IGNORE, TokenSequence, join
from harness.training.objective import Batch, Counts, Objective, Sums


@dataclass(frozen=True)
class Example:
    """A preferred and a dispreferred response, each with k ids per position and what two models
    give them (T, k)."""

    sequences: tuple[TokenSequence, TokenSequence]
    ids: tuple[Tensor, Tensor]
    teacher: tuple[Tensor, Tensor]
    reference: tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Advantage(Objective):
    gamma: float

    def collate(self, examples: Sequence[Example]) -> Batch:
        """Rows of 2 * B sequences, the preferred ones first."""
        batch = pad([example.sequences[side] for side in (0, 1) for example in examples], 0)
        length = batch["input_ids"].shape[1]
        for name in ("ids", "teacher", "reference"):
            tables = [getattr(example, name)[side] for side in (0, 1) for example in examples]
            batch[name] = torch.stack([pad_tensor(t, (0, 0, 0, length - len(t))) for t in tables])
        return batch

    def counts(self, batch: Batch) -> Counts:
        good, bad = ((half[:, 1:] != IGNORE).sum() for half in batch["labels"].chunk(2))
        return {"nll": good, "kl": good, "advantage": bad}

    def sums(
        self, model: nn.Module, batch: Batch, scheduled: Mapping[str, float]
    ) -> tuple[Sums, Sums]:
        labels = batch["labels"][:, 1:]
        at = labels != IGNORE
        hidden = hidden_states(model, batch)[:, :-1][at]
        words = torch.cat([labels[..., None], batch["ids"][:, :-1]], dim=-1)[at]
        logps = gathered_logprobs(hidden, output_head(model), words)
        teacher, reference = (batch[name][:, :-1][at] for name in ("teacher", "reference"))
        good = (torch.arange(len(at), device=at.device) < len(at) // 2)[:, None].expand_as(at)[at]
        kl = (teacher.exp() * (teacher - logps[:, 1:])).sum(-1)
        advantage = (logps[:, 1:].exp() * (teacher - reference)).sum(-1)
        values = {"nll": -logps[good, 0], "kl": kl[good], "advantage": advantage[~good]}
        weights = {"nll": 1.0, "kl": 1.0, "advantage": -self.gamma}
        counts = self.counts(batch)
        terms = {name: (weights[name] * each.sum(), counts[name]) for name, each in values.items()}
        return terms, {"advantage": (advantage[~good].detach().sum(), counts["advantage"])}


def make_examples(count: int, vocabulary: int = 40, k: int = 4, seed: int = 0) -> list[Example]:
    """Random rows whose prompts and responses have very different lengths."""
    draw = torch.Generator().manual_seed(seed)

    def tokens(most: int) -> list[int]:
        size = int(torch.randint(1, most, (), generator=draw))
        return torch.randint(3, vocabulary, (size,), generator=draw).tolist()

    made = []
    for _ in range(count):
        prompt = tokens(6)
        pair = join(prompt, tokens(20)), join(prompt, tokens(9))
        shapes = [(len(sequence.input_ids), vocabulary) for sequence in pair]
        ids = tuple(torch.rand(shape, generator=draw).argsort(-1)[:, :k] for shape in shapes)
        teacher, reference = (
            tuple(torch.randn(len(i), k + 1, generator=draw).log_softmax(-1)[:, :k] for i in ids)
            for _ in range(2)
        )
        made.append(Example(pair, ids, teacher, reference))  # type: ignore[arg-type]
    return made
