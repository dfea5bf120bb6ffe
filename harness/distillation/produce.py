"""Producing teachers: the top-k next-token predictions of a model on documents, in shards.

    rows --encode--> Documents of one shard --read--> TeacherDocuments --> ShardWriter

`read` runs the model: `TopK` for a transformers model in this process, `prompt_logprobs.ServedTopK`
for vLLM. Existing shards are not computed again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.core.errors import BadData
from harness.distillation.documents import Document
from harness.distillation.shards import Manifest, ShardWriter, TeacherDocument, token_check
from harness.engine.operations import Row
from harness.models.collate import pad
from harness.models.heads import check_head, hidden_states, output_head
from harness.models.logprobs import top_logprobs
from harness.models.threads import map_chunks
from harness.models.tokenize import IGNORE

Read = Callable[[Sequence[Document]], Iterator[TeacherDocument]]
Progress = Callable[[int, int], None]


def make_teacher(
    folder: Path,
    manifest: Manifest,
    rows: Sequence[Row],
    encode: Callable[[Row], Document],
    read: Read,
    *,
    counts: Mapping[str, int] | None = None,
    progress: Progress = lambda done, total: None,
) -> None:
    """Write a teacher, or the missing shards of an interrupted one.

    Args:
        rows: the manifest's corpus, see `documents.fit_documents`.
        counts: document counts to store; see `ShardWriter.finish`.
        progress: called after each shard with the documents done and their total number.

    Raises:
        BadData: the folder holds another teacher, a document is too long, or logits are not
            finite; the message names the document. Complete shards are kept.
    """
    writer = ShardWriter(folder, manifest)
    size = manifest.shard_documents
    for number, start in enumerate(range(0, len(rows), size)):
        part = rows[start : start + size]
        if not writer.has(number):
            found = {document.id: document for document in read([encode(row) for row in part])}
            writer.write(number, [found[row["id"]] for row in part])
        progress(start + len(part), len(rows))
    writer.finish(-(-len(rows) // size), {"documents": len(rows), **(counts or {})})


class TopK:
    """Top-k next tokens of every position, computed by a transformers model in this process.

    Args:
        model: a causal language model.
        k: entries per row.
        vocabulary: number of ids of the tokenizer; a wider output head is cut to it before the
            softmax, and a narrower head reduces the vocabulary.
        batch_tokens: maximum tokens per batch, padding included.

    Raises:
        UserError: the output head of the model is not supported, see `heads.check_head`.
        BadData: k exceeds the vocabulary, a document exceeds the model's context or vocabulary, or
            logits are not finite; the message names document and token.
    """

    def __init__(self, model: Any, k: int, vocabulary: int, *, batch_tokens: int = 8192) -> None:
        check_head(model)
        self.model = model
        self.k = k
        head = output_head(model)
        self.logits = len(head.weight)
        self.vocabulary = min(vocabulary, self.logits)
        bias = None if head.bias is None else head.bias[: self.vocabulary]
        self._head = replace(head, weight=head.weight[: self.vocabulary], bias=bias)
        self._batch_tokens = batch_tokens
        limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        self._context = int(limit) if limit else 1 << 30
        if k > self.vocabulary:
            raise BadData(f"k is {k}; the vocabulary has only {self.vocabulary} tokens")

    @property
    def settings(self) -> dict[str, bool | int | float | str | None]:
        """Manifest settings of the model's side."""
        dtype = str(self._head.weight.dtype).removeprefix("torch.")
        return {"engine": "hf", "dtype": dtype, "logits": self.logits}

    def __call__(self, documents: Sequence[Document]) -> Iterator[TeacherDocument]:
        """Score documents in batches of similar length; results arrive in any order."""
        for document in documents:
            self._check(document)
        self.model.eval()
        batches: list[list[Document]] = []
        for document in sorted(documents, key=lambda d: -len(d.tokens.input_ids)):
            width = len(batches[-1][0].tokens.input_ids) if batches else 0
            if not batches or (len(batches[-1]) + 1) * width > self._batch_tokens:
                batches.append([])
            batches[-1].append(document)
        for found in map_chunks(self._read, batches, self.model):
            yield from found

    def _check(self, document: Document) -> None:
        ids = document.tokens.input_ids
        if not 0 < len(ids) <= self._context:
            raise BadData(
                f'document "{document.id}" has {len(ids)} tokens; the model reads 1 to '
                f"{self._context}: cut or split the documents first (fit_documents)"
            )
        if max(ids) >= self.logits:
            raise BadData(
                f'document "{document.id}" has token id {max(ids)}; the model knows {self.logits}'
            )

    @torch.no_grad()
    def _read(self, documents: list[Document]) -> list[TeacherDocument]:
        batch = pad([d.tokens for d in documents], 0)
        batch = {name: value.to(self.model.device) for name, value in batch.items()}
        rows = batch["attention_mask"][:, 1:].bool()  # a row predicts the next token
        hidden = hidden_states(self.model, batch)[:, :-1][rows]
        following = batch["input_ids"][:, 1:][rows].clamp(max=self.vocabulary - 1)[:, None]
        values, ids, given = top_logprobs(hidden, self._head, self.k, following)
        finite = values[:, 0].isfinite().split(rows.sum(dim=1).tolist())
        for document, good in zip(documents, finite, strict=True):
            if not bool(good.all()):
                raise BadData(
                    f'document "{document.id}": the model gives logits that are not finite at '
                    f"token {int((~good).nonzero()[0])}; load the model in a wider dtype, or omit "
                    "the document"
                )
        parts = [_numpy(tensor) for tensor in (values, ids, given[:, 0])]
        cuts = np.cumsum([len(d.tokens.input_ids) - 1 for d in documents])[:-1]
        split = (np.split(part, cuts) for part in parts)
        return [
            teacher_document(document, logps, top, -given)
            for document, logps, top, given in zip(documents, *split, strict=True)
        ]


def teacher_document(document: Document, logps: Any, ids: Any, token_ce: Any) -> TeacherDocument:
    """The rows of one document of L tokens, with its mean cross-entropy over scored tokens.

    Args:
        logps, ids: (L - 1, k) log-probabilities and ids of the top-k next tokens.
        token_ce: (L - 1,) cross-entropy of each next token, in nats.
    """
    scored = np.asarray(document.tokens.labels[1:]) != IGNORE
    ce = float(token_ce[scored].mean(dtype=np.float64)) if scored.any() else float("nan")
    check = token_check(document.tokens.input_ids)
    return TeacherDocument(document.id, logps, ids, ce, int(scored.sum()), check, token_ce)


def _numpy(tensor: Tensor) -> Any:
    return tensor.cpu().numpy()
