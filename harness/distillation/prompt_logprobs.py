"""Teacher rows from vLLM's log-probabilities of prompt tokens."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from harness.backends.api.logprobs import IMPOSSIBLE
from harness.core.errors import BadData
from harness.distillation.documents import Document
from harness.distillation.produce import teacher_document
from harness.distillation.shards import TeacherDocument


class Server(Protocol):
    """A backend that scores prompts: `VLLMBackend`, or `OpenAIBackend` with a vLLM server."""

    def prompt_logprobs(self, prompts: Mapping[str, Sequence[int]], k: int) -> Iterator[Any]: ...


class ServedTopK:
    """Top-k next tokens of every position, computed by a server; compare `produce.TopK`.

    The server normalises over all its logits. Ids outside the tokenizer's vocabulary are dropped
    from its top k; their probability counts as tail mass.

    Args:
        backend: the server that scores the prompts.
        k: entries per row.
        vocabulary: number of ids of the tokenizer.
    """

    def __init__(self, backend: Server, k: int, vocabulary: int) -> None:
        self.backend = backend
        self.k = k
        self.vocabulary = vocabulary

    @property
    def settings(self) -> dict[str, bool | int | float | str | None]:
        """Manifest settings of the model's side; None is unknown."""
        return {"engine": "vllm", "dtype": None, "logits": None}

    def __call__(self, documents: Sequence[Document]) -> Iterator[TeacherDocument]:
        """Score documents; results arrive in completion order.

        Raises:
            BadData: the server could not score a document; the message gives its reason.
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
    """Rows of a document from the `prompt_logprobs` of vLLM's OpenAI-compatible completions.

    Args:
        document: of L tokens.
        tokens: L entries {id as text: {"logprob", ...}} with the k most probable ids at that
            position and the token itself; the first entry is None.
        k: entries per row.
        vocabulary: ids from here on are dropped.

    Raises:
        BadData: the number of entries is not L, an entry has fewer than k ids or lacks the token
            itself, or a log-probability is not a number.
    """
    ids = document.tokens.input_ids
    if not isinstance(tokens, list) or len(tokens) != len(ids):
        found = len(tokens) if isinstance(tokens, list) else "no"
        raise BadData(f'document "{document.id}": {found} scored tokens; expected {len(ids)}')
    logps = np.full((len(ids) - 1, k), -np.inf, np.float32)
    top = np.zeros((len(ids) - 1, k), np.int64)
    own = np.zeros(len(ids) - 1, np.float32)
    for place, (token, entry) in enumerate(zip(ids[1:], tokens[1:], strict=True)):
        given = {int(id): _logp(item) for id, item in (entry or {}).items()}
        if token not in given or len(given) < k or any(map(math.isnan, given.values())):
            raise BadData(
                f'document "{document.id}", token {place + 1} (id {token}): the server gave '
                f"log-probabilities of ids {sorted(given)}; expected numbers for the {k} most "
                "probable ids and the token itself; start it with a larger --max-logprobs"
            )
        own[place] = given[token]
        best = sorted(given.items(), key=lambda pair: (-pair[1], pair[0]))[:k]
        kept = [(id, value) for id, value in best if id < vocabulary and value > -math.inf]
        for column, (id, value) in enumerate(kept):
            top[place, column], logps[place, column] = id, value
    return teacher_document(document, logps, top, -own)


def _logp(item: Any) -> float:
    value = item.get("logprob") if isinstance(item, dict) else None
    if value is None or math.isnan(float(value)):
        return math.nan
    return min(0.0, float(value)) if float(value) > IMPOSSIBLE else -math.inf
