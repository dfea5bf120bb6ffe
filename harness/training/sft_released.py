"""The mask of prompts in the code released with Explore-Instruct (that of Stanford Alpaca).

The prompt is tokenised apart from the answer and its number of tokens is masked in the tokens of
both together. Where the last letters of the prompt and the first of the answer become one token,
the mask is longer than the prompt and hides the first token of the answer.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.models import chat


def split_released(
    tokenizer: chat.Tokenizer, messages: Sequence[chat.Message], ids: list[int]
) -> tuple[list[int], list[int]]:
    """Ids of prompt and answer together, split after as many as the prompt alone has."""
    masked = len(chat.prompt_ids(tokenizer, messages))
    return ids[:masked], ids[masked:]
