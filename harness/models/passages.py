"""Plain text to token ids, for models that are asked without a chat template.

A prompt is a list of passages that are read as one text, such as a heading, demonstrations and a
question. The text begins with the special tokens that the tokenizer adds by default (mostly a BOS);
text that spells a special token stays text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.core.errors import BadData


@dataclass(frozen=True)
class Continuation:
    """Ids of a prompt and of a text that continues it.

    Attributes:
        shared: ids of all passages before the last one, which other prompts may begin with as well.
            Its last ids may differ from the prompt's, where a token spans two passages.
    """

    shared: tuple[int, ...]
    prompt: tuple[int, ...]
    answer: tuple[int, ...]


def continuation_ids(
    tokenizer: Any, messages: Sequence[Mapping[str, str]], texts: Sequence[str], limit: int
) -> list[Continuation]:
    """Ids of the messages' contents as one text, and of each text that may follow.

    If the longest has more than `limit` tokens, messages before the last are left out, from the
    last of them, for all texts; a system message at the beginning stays.

    Raises:
        BadData: no messages, a text without tokens, or too many tokens even so.
    """
    passages = [message["content"] for message in messages]
    if not passages:
        raise BadData("the prompt has no messages")
    least = 1 if messages[0]["role"] == "system" and len(passages) > 1 else 0
    lead = _lead(tokenizer)
    while True:
        whole = "".join(passages)
        prompt = _ids(tokenizer, whole)
        answers = [_following(tokenizer, whole, prompt, text) for text in texts]
        tokens = len(lead) + len(prompt) + max(map(len, answers), default=0)
        if tokens <= limit:
            break
        if len(passages) - 1 <= least:
            raise BadData(f"prompt and text have {tokens} tokens; the model reads at most {limit}")
        del passages[-2]
    if not all(answers) or not lead + prompt:
        raise BadData("there are no tokens to score, in the prompt or in a text after it")
    shared = (*lead, *_ids(tokenizer, "".join(passages[:-1])))
    return [Continuation(shared, (*lead, *prompt), tuple(answer)) for answer in answers]


def _following(tokenizer: Any, before: str, before_ids: list[int], text: str) -> list[int]:
    """Ids of a text behind another; its own ids where the two merge."""
    ids = _ids(tokenizer, before + text)
    if ids[: len(before_ids)] == before_ids and len(ids) > len(before_ids):
        return ids[len(before_ids) :]
    return _ids(tokenizer, text)


def _lead(tokenizer: Any) -> list[int]:
    """Special tokens that the tokenizer puts before a text by default."""
    text = _ids(tokenizer, "a")
    whole = [int(token) for token in tokenizer("a", verbose=False)["input_ids"]]
    places = (n for n in range(len(whole)) if whole[n : n + len(text)] == text)
    return whole[: next(places, 0)]


def _ids(tokenizer: Any, text: str) -> list[int]:
    valid = text.encode("utf-8", errors="replace").decode("utf-8")
    encoded = tokenizer(valid, add_special_tokens=False, split_special_tokens=True, verbose=False)
    return [int(token) for token in encoded["input_ids"]]
