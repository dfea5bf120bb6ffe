"""Batches of token sequences, padded on the right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from harness.models.tokenize import IGNORE, TokenSequence


def pad(sequences: Sequence[TokenSequence], pad_id: int) -> dict[str, Tensor]:
    """Tensors (N, T) of input_ids, attention_mask and labels; padding is `pad_id`, 0 and -100."""
    length = max(len(sequence.input_ids) for sequence in sequences)
    rows: dict[str, list[list[int]]] = {"input_ids": [], "attention_mask": [], "labels": []}
    for sequence in sequences:
        gap = length - len(sequence.input_ids)
        rows["input_ids"].append(sequence.input_ids + [pad_id] * gap)
        rows["attention_mask"].append([1] * len(sequence.input_ids) + [0] * gap)
        rows["labels"].append(sequence.labels + [IGNORE] * gap)
    return {name: torch.tensor(values) for name, values in rows.items()}


def pad_id_of(tokenizer: Any, rows: int | None = None) -> int:
    """The id to pad with: the first of pad and end token that has an embedding row, else 0.

    Any id with a row works: padding is masked and never scored.

    Args:
        rows: rows of the model's embedding; a pad token that was added to the tokenizer alone has
            none. None does not check.
    """
    for name in ("pad_token_id", "eos_token_id"):
        found = getattr(tokenizer, name, None)
        if found is not None and (rows is None or 0 <= found < rows):
            return int(found)
    return 0
