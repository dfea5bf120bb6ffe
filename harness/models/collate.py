"""Batches of token sequences: K responses per prompt, in blocks, padded on the right.

B rows of K responses become K * B sequences: first the B sequences of the first response, then
those of the second, and so on, so that `stacked.view(K, B).T` is the (B, K) table of a loss.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from harness.models.tokenize import IGNORE, TokenSequence


@dataclass(frozen=True)
class PreferenceExample:
    """One row, ready for training: its sequences in column order and their reference log-probs."""

    sequences: tuple[TokenSequence, ...]
    reference: tuple[float, ...] | None = None


@dataclass(frozen=True)
class PreferenceCollator:
    """Makes batches {input_ids, attention_mask, labels: (K * B, T), reference: (B, K) or absent}.

    Raises:
        ValueError: rows with different numbers of responses.
    """

    pad_id: int

    def __call__(self, examples: Sequence[PreferenceExample]) -> dict[str, Tensor]:
        columns = zip(*(example.sequences for example in examples), strict=True)
        batch = pad([sequence for column in columns for sequence in column], self.pad_id)
        references = [example.reference for example in examples]
        if references[0] is not None:
            batch["reference"] = torch.tensor(references)
        return batch


def pad(sequences: Sequence[TokenSequence], pad_id: int) -> dict[str, Tensor]:
    """Sequences to tensors (N, T), padded on the right with `pad_id`, mask 0 and label -100."""
    length = max(len(sequence.input_ids) for sequence in sequences)
    rows: dict[str, list[list[int]]] = {"input_ids": [], "attention_mask": [], "labels": []}
    for sequence in sequences:
        gap = length - len(sequence.input_ids)
        rows["input_ids"].append(sequence.input_ids + [pad_id] * gap)
        rows["attention_mask"].append([1] * len(sequence.input_ids) + [0] * gap)
        rows["labels"].append(sequence.labels + [IGNORE] * gap)
    return {name: torch.tensor(values) for name, values in rows.items()}


def by_row(values: Tensor, responses: int) -> Tensor:
    """(K * B,) in blocks -> (B, K)."""
    return values.view(responses, -1).T


def pad_id_of(tokenizer: Any) -> int:
    """The id to pad with: any id will do, since padding is masked and never scored."""
    for name in ("pad_token_id", "eos_token_id"):
        if getattr(tokenizer, name, None) is not None:
            return int(getattr(tokenizer, name))
    return 0


def references_of(
    row: Mapping[str, Any], responses: Sequence[str], sequences: Mapping[str, TokenSequence]
) -> tuple[float, ...]:
    """Reference log-probabilities of one row, checked against the tokens they belong to.

    Raises:
        BadData: a response without one, or one made from another number of tokens.
    """
    from harness.core.errors import BadData

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
