"""The golden tokenizers with their vocabularies."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from harness.distillation.align.tokens import Vocabulary, vocabulary
from tests.golden_vectors import vectors

Loaded = tuple[Any, Vocabulary]


@lru_cache
def load(file: str, roles: tuple[tuple[str, str], ...]) -> Loaded:
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=file, **dict(roles))
    return tokenizer, vocabulary(tokenizer)


@pytest.fixture
def tokenizers(golden: Callable[[str], Path]) -> Callable[[str], Loaded]:
    """`tokenizers("sp_bpe")`: a golden tokenizer and its vocabulary."""
    index = vectors(golden("fusellm/tokenizers/index.json"))

    def find(name: str) -> Loaded:
        entry = index[name]
        roles = [(f"{role}_token", entry[role]) for role in ("bos", "eos", "unk", "pad")]
        file = golden(f"fusellm/{entry['file']}")
        return load(str(file), tuple(role for role in roles if role[1]))

    return find
