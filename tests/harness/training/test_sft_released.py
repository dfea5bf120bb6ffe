"""The released mask of prompts, where a token covers the end of the prompt and of the answer."""

from __future__ import annotations

from typing import Any

import pytest

from harness.models import chat
from harness.training.sft_released import split_released

ASKED = [{"role": "user", "content": "a"}]


@pytest.fixture
def merging() -> Any:
    """A tokenizer of letters that has one token for two colons."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = {token: place for place, token in enumerate(["<s>", "</s>", "a", "b", ":", "::"])}
    inner = Tokenizer(models.BPE(words, [(":", ":")]))
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token="<s>",
        eos_token="</s>",
        chat_template="{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}"
        "{{ m['content'] + ':' }}{% else %}{{ m['content'] + eos_token }}{% endif %}{% endfor %}",
    )


def test_a_merged_token_shifts_the_released_mask_by_one(merging: Any) -> None:
    found = chat.answered(merging, ASKED, ":b")
    ids = [*found.prompt, *found.answer]
    assert merging.convert_ids_to_tokens(ids) == ["<s>", "a", "::", "b", "</s>"]
    assert found.answer == ids[2:]
    assert split_released(merging, ASKED, ids) == (ids[:3], ids[3:])


def test_without_a_merged_token_both_masks_are_equal(merging: Any) -> None:
    found = chat.answered(merging, ASKED, "b")
    ids = [*found.prompt, *found.answer]
    assert split_released(merging, ASKED, ids) == (found.prompt, found.answer)
