"""Preference optimisation as an objective: K responses per prompt and any registered loss.

B rows of K responses become K * B sequences: first the B sequences of the first response, then
those of the second, and so on, so that `stacked.view(K, B).T` is the (B, K) table of a loss.
Reference log-probabilities come precomputed with the rows (`reference_logps`), so that no second
model is held and half of the forward passes disappear.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from harness.core.errors import BadData
from harness.core.records import Record
from harness.models.collate import pad
from harness.models.logprobs import sequence_logprobs
from harness.models.tokenize import TokenSequence
from harness.training.adapters import without_adapters
from harness.training.losses import PreferenceLoss
from harness.training.objective import Batch, Counts, Objective, Sums


@dataclass(frozen=True)
class PreferenceExample:
    """Token sequences of one row, in column order, and their reference log-probabilities."""

    sequences: tuple[TokenSequence, ...]
    reference: tuple[float, ...] | None = None


@dataclass(frozen=True)
class PreferenceObjective(Objective):
    """The mean of a preference loss over prompts.

    Logs per row margins, accuracy, and the reward, log-probability and length of each response.

    Attributes:
        settings: a record of `loss.settings`.
        responses: names of the columns, for the log.
        of_base: the reference of a model with adapters is its base, without them; rows have no
            reference of their own.
    """

    loss: PreferenceLoss
    settings: Record
    responses: tuple[str, ...]
    pad_id: int
    of_base: bool = False

    def prepare(self, model: nn.Module) -> None:
        super().prepare(model)
        disable_dropout(model)

    def collate(self, examples: Sequence[PreferenceExample]) -> Batch:
        """{input_ids, attention_mask, labels: (K * B, T), reference: (B, K) or absent}.

        Raises:
            ValueError: rows with different numbers of responses.
        """
        columns = zip(*(example.sequences for example in examples), strict=True)
        batch = pad([sequence for column in columns for sequence in column], self.pad_id)
        references = [example.reference for example in examples]
        if references[0] is not None:
            batch["reference"] = torch.tensor(references)
        return batch

    def counts(self, batch: Batch) -> Counts:
        return {"loss": torch.tensor(len(batch["input_ids"]) // len(self.responses))}

    def scheduled(self, step: int, total: int) -> dict[str, float]:
        return self.loss.scheduled_at(self.settings, step, total)

    def sums(
        self, model: nn.Module, batch: Batch, scheduled: Mapping[str, float]
    ) -> tuple[Sums, Sums]:
        logps, lengths = (
            by_row(each, len(self.responses)) for each in sequence_logprobs(model, batch)
        )
        reference = batch.get("reference")
        if self.of_base:
            with without_adapters(model), torch.no_grad():
                reference = by_row(sequence_logprobs(model, batch)[0], len(self.responses))
        losses, metrics = self.loss(logps, reference, lengths, settings=self.settings, **scheduled)
        found = {"margins": metrics["margins"], "accuracy": metrics["accuracy"]}
        tables = {"rewards": metrics["rewards"], "logps": logps, "lengths": lengths}
        for place, name in enumerate(self.responses):
            found |= {f"{kind}/{name}": table[:, place] for kind, table in tables.items()}
        rows = torch.tensor(len(losses), device=losses.device)
        logged = {name: (values.detach().sum(), rows) for name, values in found.items()}
        return {"loss": (losses.sum(), rows)}, logged


def by_row(values: Tensor, responses: int) -> Tensor:
    """(K * B,) in blocks -> (B, K)."""
    return values.view(responses, -1).T


def disable_dropout(model: nn.Module) -> None:
    """Set every dropout to 0: policy and reference must agree before the first update."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = 0.0


def references_of(
    row: Mapping[str, Any], responses: Sequence[str], sequences: Mapping[str, TokenSequence]
) -> tuple[float, ...]:
    """Reference log-probabilities of one row, checked against the tokens that they belong to.

    Raises:
        BadData: a response without one, or one made from another number of tokens.
    """
    for name in responses:
        found = row["lengths"].get(name)
        if found != sequences[name].length:
            raise BadData(
                f'reference log-probabilities of row "{row["id"]}", response "{name}", are over '
                f"{found} tokens, but {sequences[name].length} are trained on; use the same "
                "tokenizer, max_length, max_prompt_length and released in reference_logps and "
                "train_preference"
            )
    return tuple(float(row["logps"][name]) for name in responses)
