"""The folder of real checkpoints has what the tests of this folder read."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoTokenizer

SIZES = {"smollm2": 49_152, "tok_llama2": 32_000, "tok_mistral": 32_000, "tok_llama3": 128_256}


@pytest.mark.parametrize("name", SIZES)
def test_tokenizers_are_whole(real_folder: Path, name: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(real_folder / name)
    assert len(tokenizer) == SIZES[name]
    assert tokenizer.chat_template
