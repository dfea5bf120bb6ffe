"""TRL's SFTTrainer, given token ids that are ready and asked to stay silent."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from harness.core.errors import MissingExtra
from harness.engine.operations import Context
from harness.models.collate import pad, pad_id_of
from harness.models.tokenize import TokenSequence
from harness.training.runs import training_arguments
from harness.training.sft import SftParams

try:
    from datasets import Dataset, disable_progress_bars
    from trl import SFTConfig, SFTTrainer
except ImportError:
    raise MissingExtra("trl and datasets", "train") from None


class SupervisedTrainer(SFTTrainer):  # type: ignore[misc]
    """SFTTrainer without model cards."""

    def create_model_card(self, *args: Any, **options: Any) -> None:
        """Checkpoints of an interrupted run need none."""


def sft_trainer(
    model: Any,
    tokenizer: Any,
    sequences: Sequence[TokenSequence],
    params: SftParams,
    context: Context,
) -> SupervisedTrainer:
    """A trainer for tokenised sequences.

    The loss is averaged over the trained tokens of a whole accumulation window. TRL changes the
    tokenizer it is given (padding token), so it gets a copy.
    """
    arguments = training_arguments(
        SFTConfig,
        params,
        context,
        packing=params.packing,
        packing_strategy="wrapped",
        max_length=params.max_length if params.packing else None,
        shuffle_dataset=params.packing,  # before cutting; batches are drawn in random order anyway
    )
    disable_progress_bars()  # the stage shows its own
    table = [{"input_ids": s.input_ids, "labels": s.labels} for s in sequences]
    pad_id = pad_id_of(tokenizer)

    def collate(examples: list[dict[str, list[int]]]) -> dict[str, Tensor]:
        return pad([TokenSequence(e["input_ids"], e["labels"]) for e in examples], pad_id)

    return SupervisedTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_list(table),
        processing_class=copy.deepcopy(tokenizer),
        data_collator=collate,
    )
