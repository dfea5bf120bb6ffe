"""TRL's SFTTrainer on token ids, without model cards and progress bars."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from harness.core.errors import MissingExtra
from harness.engine.operations import Context
from harness.models.collate import pad, pad_id_of
from harness.models.rows import check_ids, embedding_rows
from harness.models.tokenize import TokenSequence
from harness.training.runs import training_arguments
from harness.training.settings import RunSettings

try:
    from datasets import Dataset, disable_progress_bars
    from trl import SFTConfig, SFTTrainer
except ImportError:
    raise MissingExtra("trl and datasets", "train") from None


class SupervisedTrainer(SFTTrainer):  # type: ignore[misc]
    """SFTTrainer without model cards."""

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
) -> SupervisedTrainer:
    """A trainer for tokenised sequences.

    The loss is averaged over the trained tokens of a whole accumulation window. TRL changes the
    padding token of the tokenizer it is given, so it gets a copy.

    Args:
        pack_to: concatenate the shuffled sequences and cut them into pieces of this length; None
            trains on each sequence as it is.

    Raises:
        BadData: a sequence has a token without an embedding row.
    """
    check_ids(tokenizer, embedding_rows(model), (sequence.input_ids for sequence in sequences))
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
    disable_progress_bars()  # the stage has its own
    table = [{"input_ids": s.input_ids, "labels": s.labels} for s in sequences]
    pad_id = pad_id_of(tokenizer, embedding_rows(model))

    def collate(examples: list[dict[str, list[int]]]) -> dict[str, Tensor]:
        return pad([TokenSequence(e["input_ids"], e["labels"]) for e in examples], pad_id)

    return SupervisedTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_list(table),
        processing_class=copy.deepcopy(tokenizer),
        data_collator=collate,
    )
