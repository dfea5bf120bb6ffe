"""Tokenizers of the nano models with their vocabularies, loaded once and without torch."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerFast

from harness.distillation.align.tokens import Vocabulary, vocabulary

WEIGHTS = Path(__file__).resolve().parent.parent / "harness" / "nano" / "weights"


@lru_cache
def nano(name: str) -> tuple[Any, Vocabulary]:
    """target, source_b, source_c (byte level), source_a (Unigram) or encoder (WordPiece)."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(WEIGHTS / name)
    return tokenizer, vocabulary(tokenizer)
