"""Distillation on pairs as a training objective: NLL and KL on one answer, KL or advantage on the
other (`harness.distillation.advantage.losses`).

B rows become 2B sequences, first the preferred answers, then the others; a row without another
answer repeats its preferred one without labels. Teachers are live models beside the student, or
rows of a cache. No tensor of all positions and the whole vocabulary exists: student and teachers
project a few positions at a time (`harness.models.head_sums`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from harness.distillation.advantage.advantage_released import without_end
from harness.distillation.advantage.losses import weights_of
from harness.distillation.advantage.settings import PairLoss
from harness.distillation.advantage.targets import (
    Distribution,
    Lists,
    Part,
    Ratio,
    advantage,
    imitation,
    weighted_tokens,
)
from harness.models.collate import pad
from harness.models.head_sums import Measure, function_sum
from harness.models.heads import Head, hidden_states, output_head
from harness.models.tokenize import IGNORE, TokenSequence
from harness.training.objective import Batch, Counts, Objective, Sums
from harness.training.preference import disable_dropout

SIDES = ("chosen", "response")
Rows = Mapping[str, Mapping[str, Tensor]]  # side -> column -> rows of a cache


@dataclass(frozen=True)
class PairExample:
    """A preferred answer and another one, with the teacher's rows of their scored tokens.

    Attributes:
        response: None if there is no other answer.
        rows: side -> column -> (L, ...) rows of a cache, or the column "weights" (L,).
    """

    chosen: TokenSequence
    response: TokenSequence | None
    rows: Rows = field(default_factory=dict)


def empty_rows(examples: Sequence[PairExample]) -> Rows:
    """Rows (0, ...) of each side's columns, as the examples have them."""
    found: dict[str, dict[str, Tensor]] = {}
    for example in examples:
        for side, columns in example.rows.items():
            found.setdefault(side, {name: value[:0] for name, value in columns.items()})
    return found


@dataclass(frozen=True)
class Teachers:
    """Where the teachers' distributions come from.

    Attributes:
        teacher, reference: live models; None if caches are read.
        heads: teacher and reference as heads alone, for cached hidden states.
        uniform: the reference is the uniform distribution ("no reference teacher").
    """

    teacher: Any = None
    reference: Any = None
    heads: tuple[Head, ...] = ()
    uniform: bool = False

    def to(self, device: torch.device) -> Teachers:
        """The same on a device."""
        for model in (self.teacher, self.reference):
            if model is not None:
                model.to(device)
        moved = tuple(
            replace(
                head,
                weight=head.weight.to(device),
                bias=None if head.bias is None else head.bias.to(device),
            )
            for head in self.heads
        )
        return replace(self, heads=moved)


class PairObjective(Objective):
    """See the module docstring.

    Logs per token (or row) the terms without their weights: nll, kl_chosen, kl_response or
    advantage, entropy, the clipped mass, the mass outside a list, and lengths of answers.

    Args:
        vocabulary: number of ids that student and teachers have in common, from 0.
        empty: side -> column -> rows (0, ...) of a cache, for batches in which no answer has any.
    """

    def __init__(
        self,
        settings: PairLoss,
        teachers: Teachers,
        pad_id: int,
        vocabulary: int,
        empty: Rows | None = None,
    ) -> None:
        self.settings = settings
        self.teachers = teachers
        self.pad_id = pad_id
        self.vocabulary = vocabulary
        self.empty = empty or {}

    def prepare(self, model: nn.Module) -> None:
        super().prepare(model)
        disable_dropout(model)
        for teacher in (self.teachers.teacher, self.teachers.reference):
            if teacher is not None:
                super().prepare(teacher)
                teacher.requires_grad_(False)
                teacher.eval()

    def collate(self, examples: Sequence[PairExample]) -> Batch:
        """input_ids, attention_mask, labels (2B, T), and "side/column" of cached rows (M, ...)."""
        others = [
            example.response
            or TokenSequence(example.chosen.input_ids, [IGNORE] * len(example.chosen.labels))
            for example in examples
        ]
        batch = pad([*(example.chosen for example in examples), *others], self.pad_id)
        for side in SIDES:
            found = [example.rows[side] for example in examples if side in example.rows]
            if not found and side in self.empty:
                found = [self.empty[side]]
            for column in found[0] if found else ():
                whole = torch.cat([rows[column] for rows in found])
                batch[f"{side}/{column}"] = whole.long() if column == "ids" else whole
        return batch

    def counts(self, batch: Batch) -> Counts:
        return {
            side: weights_of(labels[:, 1:], self.settings.reduction)[1]
            for side, labels in zip(SIDES, batch["labels"].chunk(2), strict=True)
        }

    def sums(
        self, model: nn.Module, batch: Batch, scheduled: Mapping[str, float]
    ) -> tuple[Sums, Sums]:
        labels = batch["labels"][:, 1:]
        counted = labels != IGNORE
        states = hidden_states(model, batch)[:, :-1]
        head = output_head(model)
        self.teachers = self.teachers.to(states.device)
        terms: Sums = {}
        logged: Sums = {}
        half = len(labels) // 2
        for side, rows in zip(SIDES, (slice(0, half), slice(half, None)), strict=True):
            weights, count = weights_of(labels[rows], self.settings.reduction)
            kept = counted[rows]
            taught = weights
            if self.settings.end_token == "released":
                taught = without_end(weights, labels[rows])
            part = Part(labels[rows][kept], weights[kept], taught[kept])
            measure = self._measure(side, part, batch, rows, kept)
            hidden = states[rows][kept]
            if measure is None:  # keeps the positions connected: their gradient is zero
                terms[side] = (hidden.sum() * 0.0, count)
                continue
            total, found = function_sum(hidden, head, measure)
            terms[side] = (total, count)
            names = {"kl": f"kl_{side}", "nll": "nll" if side == "chosen" else "nll_response"}
            logged |= {names.get(name, name): (value, count) for name, value in found.items()}
        lengths = counted.sum(-1).split(half)
        one = torch.tensor(half, device=labels.device)
        logged |= {f"length/{s}": (v.sum(), one) for s, v in zip(SIDES, lengths, strict=True)}
        return terms, logged

    def _measure(
        self, side: str, part: Part, batch: Batch, rows: slice, kept: Tensor
    ) -> Measure | None:
        """The loss of one side; None where it has none."""
        settings = self.settings
        if side == "chosen":
            weight = settings.distill * settings.kl_chosen
            target = self._target(side, batch, rows, kept) if weight else None
            return imitation(part, settings, target, self.vocabulary, nll=settings.sft, kl=weight)
        if f"{side}/weights" in batch:
            return weighted_tokens(part, settings, batch[f"{side}/weights"])
        weight = settings.distill * settings.kl_response
        if weight:
            target = self._target(side, batch, rows, kept)
            return imitation(part, settings, target, self.vocabulary, nll=0.0, kl=weight)
        if settings.gamma:
            return advantage(part, settings, self._ratio(side, batch, rows, kept), self.vocabulary)
        return None

    def _target(self, side: str, batch: Batch, rows: slice, kept: Tensor) -> Distribution | Lists:
        """The teacher's distribution for a KL."""
        if f"{side}/ids" in batch:
            return _lists(side, batch)
        return self._distributions(side, batch, rows, kept)[0]

    def _ratio(self, side: str, batch: Batch, rows: slice, kept: Tensor) -> Ratio | Lists:
        """Teacher and reference for an advantage."""
        if f"{side}/ids" in batch:
            return _lists(side, batch)
        both = self._distributions(side, batch, rows, kept)
        return Ratio(both[0], None if self.teachers.uniform else both[1])

    def _distributions(
        self, side: str, batch: Batch, rows: slice, kept: Tensor
    ) -> list[Distribution]:
        if f"{side}/teacher" in batch:
            states = [
                batch[f"{side}/{n}"] for n in ("teacher", "reference")[: len(self.teachers.heads)]
            ]
            pairs = zip(states, self.teachers.heads, strict=True)
            return [Distribution(hidden, head, self.vocabulary) for hidden, head in pairs]
        given = {name: batch[name][rows] for name in ("input_ids", "attention_mask")}
        models = [m for m in (self.teachers.teacher, self.teachers.reference) if m is not None]
        return [live_distribution(model, given, kept, self.vocabulary) for model in models]


def _lists(side: str, batch: Batch) -> Lists:
    ids, values, tail = (batch[f"{side}/{name}"] for name in ("ids", "values", "tail"))
    return Lists(ids, values, tail)


@torch.no_grad()
def live_distribution(
    model: nn.Module, batch: Mapping[str, Tensor], kept: Tensor, vocabulary: int
) -> Distribution:
    """A model's distributions at the kept positions (B, T - 1) of a batch (B, T)."""
    hidden = hidden_states(model, batch)[:, :-1][kept]
    return Distribution(hidden, output_head(model), vocabulary)
