"""Decoding answers without special tokens, except those that mark thoughts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.models.thoughts import is_marker


def decode_answers(tokenizer: Any, rows: Sequence[Sequence[int]]) -> list[str]:
    """Texts of token ids; markers of thoughts stay, also where they are special tokens."""
    special = set(tokenizer.all_special_ids)
    special |= {id for id, token in tokenizer.added_tokens_decoder.items() if token.special}
    used = special.intersection(id for row in rows for id in row)
    names = {id: tokenizer.convert_ids_to_tokens(id) for id in used}
    channels = "<|channel|>" in names.values()  # without channels, <|end|> ends a turn
    markers = {id for id, name in names.items() if is_marker(name, channels=channels)}
    hidden = used - markers
    kept = [[id for id in row if id not in hidden] for row in rows] if markers else list(rows)
    return list(
        tokenizer.batch_decode(
            [list(row) for row in kept],
            skip_special_tokens=not markers,
            clean_up_tokenization_spaces=False,
        )
    )
