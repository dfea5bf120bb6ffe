"""Embedding rows and token ids: a tokenizer may know ids for which its model has no row.

Such ids end in an index error on a CPU and in a dead process on a GPU. A model whose tokenizer has
any is guarded: its embedding refuses them with the token, the id and the number of rows.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from harness.core.errors import BadData

if TYPE_CHECKING:
    from torch import Tensor, nn

REMEDY = (
    "use the tokenizer that belongs to this model, or add rows with "
    "model.resize_token_embeddings(len(tokenizer)) and save the model again"
)


def embedding_rows(model: Any) -> int:
    """Number of rows of the input embedding: valid ids are below it."""
    return int(model.get_input_embeddings().weight.shape[0])


def tokenizer_ids(tokenizer: Any) -> int:
    """One more than the highest id that a tokenizer can give."""
    added = (int(id) + 1 for id in tokenizer.added_tokens_decoder)
    return max([int(tokenizer.vocab_size), *added])


def check_ids(tokenizer: Any, rows: int, sequences: Iterable[Iterable[int]]) -> None:
    """Refuse sequences of ids of which one has no row.

    Raises:
        BadData: names the token, its id and the number of rows.
    """
    for ids in sequences:
        highest = max(ids, default=0)
        if highest >= rows:
            raise BadData(_refusal(tokenizer, highest, rows))


def guard_rows(model: Any, tokenizer: Any) -> None:
    """Let the embedding of a model refuse ids without a row, if its tokenizer has any.

    Raises:
        BadData: the vocabulary without added tokens is larger than the embedding already, so that
            the tokenizer belongs to another model.
    """
    rows = embedding_rows(model)
    if tokenizer_ids(tokenizer) <= rows:
        return
    if tokenizer.vocab_size > rows:
        raise BadData(
            f"{tokenizer.name_or_path}: its tokenizer has {tokenizer.vocab_size} tokens before any "
            f"are added, its embedding {rows} rows: they belong to different models; {REMEDY}"
        )
    model.get_input_embeddings().register_forward_pre_hook(partial(_check_batch, tokenizer, rows))


def _check_batch(tokenizer: Any, rows: int, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    if inputs and inputs[0].numel() and (highest := int(inputs[0].max())) >= rows:
        raise BadData(_refusal(tokenizer, highest, rows))


def _refusal(tokenizer: Any, id: int, rows: int) -> str:
    token = tokenizer.convert_ids_to_tokens(id)
    return (
        f'{tokenizer.name_or_path}: token "{token}" has id {id}, but the embedding has {rows} rows '
        f"(ids 0 to {rows - 1}), so no model input may contain it; {REMEDY}"
    )
