"""TRL's SFTTrainer on token ids, without model cards and progress bars."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from harness.core.errors import MissingExtra
from harness.engine.operations import Context
from harness.models.collate import pad, pad_id_of
from harness.models.rows import check_ids, embedding_rows
from harness.models.tokenize import IGNORE, TokenSequence
from harness.training.adapters import adapt
from harness.training.objective import Batch, Counts, Objective, Sums
from harness.training.runs import training_arguments
from harness.training.settings import RunSettings
from harness.training.shares import Shared
from harness.training.validation import Validator

try:
    from datasets import Dataset, disable_progress_bars
    from trl import SFTConfig, SFTTrainer
except ImportError:
    raise MissingExtra("trl and datasets", "train") from None


class SupervisedTrainer(Shared, SFTTrainer):  # type: ignore[misc]
    """SFTTrainer without model cards, and with a loss on held-out rows."""

    def counts_nothing(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The batch without labels."""
        return {**batch, "labels": torch.full_like(batch["labels"], IGNORE)}

    def measure(
        self, objective: Objective, batch: Batch, scheduled: Mapping[str, float]
    ) -> tuple[Sums, Sums]:
        """The sums of the objective, through the wrapped model."""
        return objective.sums(self.model_wrapped, batch, scheduled)

    def create_model_card(self, *args: Any, **options: Any) -> None:
        """Nothing: checkpoints are there to resume from."""


def sft_trainer(
    model: Any,
    tokenizer: Any,
    sequences: Sequence[TokenSequence],
    params: RunSettings,
    context: Context,
    *,
    pack_to: int | None,
    held_out: Sequence[TokenSequence] = (),
) -> SupervisedTrainer:
    """A trainer for tokenised sequences.

    The loss is averaged over the trained tokens of a whole accumulation window. TRL changes the
    padding token of the tokenizer it is given, so it gets a copy.

    Args:
        pack_to: concatenate the shuffled sequences and cut them into pieces of this length; None
            trains on each sequence as it is.
        held_out: sequences whose loss is logged, see `harness.training.held_out`.

    Raises:
        BadData: a sequence has a token without an embedding row; or as `adapters.adapt`.
    """
    every = (*sequences, *held_out)
    check_ids(tokenizer, embedding_rows(model), (sequence.input_ids for sequence in every))
    pad_id = pad_id_of(tokenizer, embedding_rows(model))
    packing = pack_to is not None
    arguments = training_arguments(
        SFTConfig,
        params,
        context,
        packing=packing,
        packing_strategy="wrapped",
        max_length=pack_to,
        shuffle_dataset=packing,  # before cutting; batches are drawn in random order anyway
    )
    model = adapt(model, params)
    disable_progress_bars()  # the stage has its own
    table = [{"input_ids": s.input_ids, "labels": s.labels} for s in sequences]

    def collate(examples: list[dict[str, list[int]]]) -> dict[str, Tensor]:
        return pad([TokenSequence(e["input_ids"], e["labels"]) for e in examples], pad_id)

    trainer = SupervisedTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_list(table),
        processing_class=copy.deepcopy(tokenizer),
        data_collator=collate,
    )
    trainer.share_rows()
    for parameter in model.parameters():
        if params.lora is not None and parameter.requires_grad:
            parameter.data = parameter.data.float()  # TRL casts those on a base in 4 bits
    if params.validation is not None and held_out:
        pieces = held_out if pack_to is None else packed(held_out, pack_to)
        points = params.validation.points
        trainer.add_callback(Validator(trainer, TokenLoss(pad_id), pieces, points))
    return trainer


def packed(sequences: Sequence[TokenSequence], length: int) -> list[TokenSequence]:
    """The sequences one after the other, cut into pieces of a length; the last may be shorter."""
    ids = [token for sequence in sequences for token in sequence.input_ids]
    labels = [label for sequence in sequences for label in sequence.labels]
    cuts = [slice(start, start + length) for start in range(0, len(ids), length)]
    return [TokenSequence(ids[cut], labels[cut]) for cut in cuts]


@dataclass(frozen=True)
class TokenLoss(Objective):
    """SFTTrainer's loss as an objective, for measurements: the mean over trained tokens.

    Logs `mean_token_accuracy`, as SFTTrainer does.
    """

    pad_id: int

    def collate(self, examples: Sequence[TokenSequence]) -> Batch:
        return pad(examples, self.pad_id)

    def counts(self, batch: Batch) -> Counts:
        return {"loss": (batch["labels"][:, 1:] != IGNORE).sum()}

    def sums(
        self, model: nn.Module, batch: Batch, scheduled: Mapping[str, float]
    ) -> tuple[Sums, Sums]:
        inputs = {name: value for name, value in batch.items() if name != "labels"}
        logits, labels = model(**inputs).logits[:, :-1], batch["labels"][:, 1:]
        losses = [  # row by row, because float32 logits take much memory
            nn.functional.cross_entropy(row.float(), own, ignore_index=IGNORE, reduction="sum")
            for row, own in zip(logits, labels, strict=True)
        ]
        trained = labels != IGNORE
        right, count = ((logits.argmax(dim=-1) == labels) & trained).sum(), trained.sum()
        return {"loss": (torch.stack(losses).sum(), count)}, {"mean_token_accuracy": (right, count)}
