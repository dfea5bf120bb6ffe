"""Teachers from a server: vLLM's log-probabilities of prompt tokens, as the rows of a shard."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from harness.backends.api.wire import IMPOSSIBLE
from harness.core.errors import BadData
from harness.distillation.documents import Document
from harness.distillation.produce import teacher_document
from harness.distillation.shards import TeacherDocument


class Server(Protocol):
    """A backend that scores prompts: `VLLMBackend`, `OpenAIBackend` before a vLLM server."""

    def prompt_logprobs(self, prompts: Mapping[str, Sequence[int]], k: int) -> Iterator[Any]: ...


class ServedTopK:
    """The k likeliest next words of each token, by a server; see `produce.TopK`.

    The server normalises over all its logits and returns the k largest: ids outside the
    tokenizer's vocabulary are dropped, and count as mass that a row does not name.
    """

    def __init__(self, backend: Server, k: int, vocabulary: int) -> None:
        self.backend = backend
        self.k = k
        self.vocabulary = vocabulary

    @property
    def settings(self) -> dict[str, bool | int | float | str | None]:
        return {"engine": "vllm", "dtype": None, "logits": None}

    def __call__(self, documents: Sequence[Document]) -> Iterator[TeacherDocument]:
        """Read documents; they come back in any order.

        Raises:
            BadData: a document that the server could not score, with its reason.
        """
        by_id = {document.id: document for document in documents}
        prompts = {document.id: document.tokens.input_ids for document in documents}
        for answer in self.backend.prompt_logprobs(prompts, self.k):
            if answer.error is not None:
                raise BadData(f'document "{answer.id}": the server gave no scores: {answer.error}')
            document = by_id[answer.id]
            yield document_rows(document, answer.tokens, self.k, self.vocabulary)


def document_rows(
    document: Document, tokens: list[dict[str, Any] | None] | None, k: int, vocabulary: int
) -> TeacherDocument:
    """Rows of a document from `prompt_logprobs` of an OpenAI-style completion by vLLM.

    Args:
        tokens: for each token of the document {id as text: {"logprob", ...}}: the k likeliest ids
            in its place, and its own; None for the first, which nothing predicts.

    Raises:
        BadData: another number of tokens, fewer than k ids in a place, a token without its own
            log-probability, or one that is not a number.
    """
    ids = document.tokens.input_ids
    if not isinstance(tokens, list) or len(tokens) != len(ids):
        found = len(tokens) if isinstance(tokens, list) else "no"
        raise BadData(f'document "{document.id}": {found} scored tokens; expected {len(ids)}')
    logps = np.full((len(ids) - 1, k), -np.inf, np.float32)
    words = np.zeros((len(ids) - 1, k), np.int64)
    own = np.zeros(len(ids) - 1, np.float32)
    for place, (token, entry) in enumerate(zip(ids[1:], tokens[1:], strict=True)):
        given = {int(word): _logp(item) for word, item in (entry or {}).items()}
        if token not in given or len(given) < k or any(map(math.isnan, given.values())):
            raise BadData(
                f'document "{document.id}", token {place + 1} (id {token}): the server gave '
                f"log-probabilities of ids {sorted(given)}; expected numbers for the {k} likeliest "
                "and for the token itself; start it with a larger --max-logprobs"
            )
        own[place] = given[token]
        best = sorted(given.items(), key=lambda pair: (-pair[1], pair[0]))[:k]
        sound = [(w, value) for w, value in best if w < vocabulary and value > -math.inf]
        for column, (word, value) in enumerate(sound):
            words[place, column], logps[place, column] = word, value
    return teacher_document(document, logps, words, -own)


def _logp(item: Any) -> float:
    value = item.get("logprob") if isinstance(item, dict) else None
    if value is None or math.isnan(float(value)):
        return math.nan
    return min(0.0, float(value)) if float(value) > IMPOSSIBLE else -math.inf
