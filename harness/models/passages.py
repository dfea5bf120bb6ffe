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


class PlainText:
    """Tokenises prompts and what may follow them; keeps the ids of the latest shared passages."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._lead = self._special()
        self._shared: tuple[str, tuple[int, ...]] = ("", ())
        self._ends: tuple[Any, list[int], list[list[int]]] = (None, [], [])

    def continuations(
        self, messages: Sequence[Mapping[str, str]], texts: Sequence[str], limit: int
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
        while True:
            whole = "".join(passages)
            prompt = self._ids(whole)
            answers = self._following(whole, prompt, texts)
            tokens = len(self._lead) + len(prompt) + max(map(len, answers), default=0)
            if tokens <= limit:
                break
            if len(passages) - 1 <= least:
                raise BadData(
                    f"prompt and text have {tokens} tokens; the model reads at most {limit}"
                )
            del passages[-2]
        if not all(answers) or not self._lead + prompt:
            raise BadData("there are no tokens to score, in the prompt or in a text after it")
        before = "".join(passages[:-1])
        if self._shared[0] != before:
            self._shared = (before, (*self._lead, *self._ids(before)))
        ids = (*self._lead, *prompt)
        return [Continuation(self._shared[1], ids, tuple(answer)) for answer in answers]

    def _following(self, before: str, ids: list[int], texts: Sequence[str]) -> list[list[int]]:
        """Ids of texts behind another one; a text's own ids where the two merge.

        The last line is tokenised again in place of the whole text, if its ids are the same alone.
        """
        last = before[before.rfind("\n") + 1 :]
        if self._ends[0] != (last, texts):  # many prompts end in the same line, "Answer:"
            longer = [self._ids(last + text) for text in texts]
            self._ends = ((last, texts), self._ids(last), longer)
        _, line, longer = self._ends
        if not line or line != ids[-len(line) :]:
            line, longer = ids, [self._ids(before + text) for text in texts]
        size = len(line)
        return [
            whole[size:] if whole[:size] == line and len(whole) > size else self._ids(text)
            for text, whole in zip(texts, longer)
        ]

    def _special(self) -> list[int]:
        """Special tokens that the tokenizer puts before a text by default."""
        text = self._ids("a")
        whole = [int(token) for token in self._tokenizer("a", verbose=False)["input_ids"]]
        places = (n for n in range(len(whole)) if whole[n : n + len(text)] == text)
        return whole[: next(places, 0)]

    def _ids(self, text: str) -> list[int]:
        valid = text.encode("utf-8", errors="replace").decode("utf-8")
        encoded = self._tokenizer(
            valid, add_special_tokens=False, split_special_tokens=True, verbose=False
        )
        return [int(token) for token in encoded["input_ids"]]
