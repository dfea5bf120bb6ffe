"""Making teachers: documents go through a model, the likeliest words of each step go into shards.

    rows --encode--> Documents, a shard's worth at a time --read--> TeacherDocuments --> ShardWriter

`read` is whatever runs the model: `TopK` for a transformers model in this process, and
`prompt_logprobs.ServedTopK` for vLLM. A shard that is there is not made again.
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
    """Write a whole teacher, or what is missing of one that was begun.

    Args:
        rows: the corpus of the manifest, see `documents.fit_documents`.
        counts: what to remember of the documents; see `ShardWriter.finish`.
        progress: called with documents done and in all, after each shard.

    Raises:
        BadData: a folder with another teacher, a document that does not fit, or logits that are
            not finite, each by name. Shards that are complete stay.
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
    """The k likeliest next words of each token, by a transformers model in this process.

    Args:
        k: entries a row.
        vocabulary: of the tokenizer; a head that is wider is cut to it before the softmax, and a
            narrower one makes the vocabulary smaller.
        batch_tokens: most tokens read at once, padding included.

    Raises:
        UserError: a model whose head cannot be taken apart, see `heads.check_head`.
        BadData: a document that is longer than the model's context or has ids it does not know;
            logits that are not finite, with the document and the token.
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
            raise BadData(f"k is {k}; the vocabulary has only {self.vocabulary} words")

    @property
    def settings(self) -> dict[str, bool | int | float | str | None]:
        """What the manifest should tell about the model's side."""
        dtype = str(self._head.weight.dtype).removeprefix("torch.")
        return {"engine": "hf", "dtype": dtype, "logits": self.logits}

    def __call__(self, documents: Sequence[Document]) -> Iterator[TeacherDocument]:
        """Read documents in batches of similar length; they come back in any order."""
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
        rows = batch["attention_mask"][:, 1:].bool()  # a row predicts the token behind it
        hidden = hidden_states(self.model, batch)[:, :-1][rows]
        words = batch["input_ids"][:, 1:][rows].clamp(max=self.vocabulary - 1)[:, None]
        values, ids, given = top_logprobs(hidden, self._head, self.k, words)
        finite = values[:, 0].isfinite().split(rows.sum(dim=1).tolist())
        for document, good in zip(documents, finite, strict=True):
            if not bool(good.all()):
                raise BadData(
                    f'document "{document.id}": the model gives logits that are not finite at '
                    f"token {int((~good).nonzero()[0])}; the teacher would be wrong from there on"
                )
        parts = [_numpy(tensor) for tensor in (values, ids, given[:, 0])]
        cuts = np.cumsum([len(d.tokens.input_ids) - 1 for d in documents])[:-1]
        split = (np.split(part, cuts) for part in parts)
        return [
            teacher_document(document, logps, top, -given)
            for document, logps, top, given in zip(documents, *split, strict=True)
        ]


def teacher_document(document: Document, logps: Any, ids: Any, token_ce: Any) -> TeacherDocument:
    """Rows of one document, with its mean cross-entropy over scored tokens.

    Args:
        logps, ids: (L - 1, k).
        token_ce: (L - 1,) cross-entropy of each next token.
    """
    scored = np.asarray(document.tokens.labels[1:]) != IGNORE
    ce = float(token_ce[scored].mean(dtype=np.float64)) if scored.any() else float("nan")
    check = token_check(document.tokens.input_ids)
    return TeacherDocument(document.id, logps, ids, ce, int(scored.sum()), check, token_ce)


def _numpy(tensor: Tensor) -> Any:
    return tensor.cpu().numpy()
