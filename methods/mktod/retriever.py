"""Retriever: pre-training by distant supervision (appendix D), and its index in joint training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from harness.engine.operations import Row
from harness.suites.dialogue.encoding import pooled
from harness.suites.dialogue.records import Record, record_id
from harness.suites.dialogue.search import lowest_index, top_k
from harness.training.objective import Batch, Counts, Objective, Sums
from methods.mktod.labels import distant_label
from methods.mktod.losses import in_batch_contrastive
from methods.mktod.settings import RetrieverParams

Ids = list[int]
ENCODED = 64  # texts per forward pass without gradient


class Base(NamedTuple):
    """All records that any turn may use, each content once.

    Attributes:
        records: with their ids in `ids`.
        places: id -> index.
    """

    records: list[Record]
    ids: list[str]
    places: dict[str, int]

    @classmethod
    def of(cls, records: Sequence[Record]) -> Base:
        found = {record_id(record): record for record in records}
        return cls(list(found.values()), list(found), {id: n for n, id in enumerate(found)})

    def allowed(self, records: Sequence[Record]) -> list[int]:
        """Indices of the records that a turn may use."""
        return sorted({self.places[record_id(record)] for record in records})


def base_of(turns: Sequence[Row], shared: Sequence[Record], knowledge: str) -> Base:
    """The shared base, or the union of all sessions."""
    if knowledge == "shared":
        return Base.of(shared)
    return Base.of([record for turn in turns for record in turn["kb"]])


def label_of(turn: Row, base: Base, knowledge: str, params: RetrieverParams) -> int | None:
    """Index of the record that a turn and its reply are about; None if the rule gives none."""
    own = base.allowed(turn["kb"]) if knowledge == "session" else range(len(base.records))
    found = distant_label(
        " ".join(turn["context"]),
        turn["reference"],
        [base.records[place] for place in own],
        params.min_count,
        params.unique,
    ).label
    return None if found is None else own[found]


@dataclass(frozen=True)
class DistantSupervision(Objective):
    """Softmax over the labels of a batch, or over all records.

    An example is (token ids of a context, index of its label).

    Attributes:
        records: token ids of all records.
    """

    records: Sequence[Ids]
    params: RetrieverParams
    pad: int

    def prepare(self, model: nn.Module) -> None:
        """Nothing: an encoder has no output head."""

    def collate(self, examples: Sequence[tuple[Ids, int]]) -> Batch:
        width = max(len(ids) for ids, _ in examples)
        return {
            "input_ids": torch.tensor([[*ids, *[-1] * (width - len(ids))] for ids, _ in examples]),
            "labels": torch.tensor([label for _, label in examples]),
        }

    def counts(self, batch: Batch) -> Counts:
        return {"contrastive": torch.tensor(len(batch["labels"]))}

    def sums(
        self, model: nn.Module, batch: Batch, scheduled: Mapping[str, float]
    ) -> tuple[Sums, Sums]:
        labels, texts = batch["labels"], rows_of(batch["input_ids"])
        # In float64: a low temperature would multiply the rounding of the scores (and autocast's).
        queries = pooled(model, texts, self.pad).double()
        count = torch.tensor(float(len(labels)), device=labels.device)
        if self.params.negatives == "base":
            records = pooled(model, self.records, self.pad).double()
            scores = queries @ records.T / self.params.temperature
            loss = nn.functional.cross_entropy(scores, labels)
        else:
            own = labels.tolist()
            records = pooled(model, [self.records[place] for place in own], self.pad).double()
            ids = None if self.params.same_record_negatives else labels
            loss = in_batch_contrastive(queries, records, ids, self.params.temperature)
        return {"contrastive": (loss.float() * count, count)}, {}


def rows_of(ids: Tensor) -> list[Ids]:
    """Token ids of each row, without the padding of -1."""
    return [[id for id in row if id >= 0] for row in ids.tolist()]


class Index:
    """Vectors of all records, encoded anew when the retriever has changed.

    Args:
        texts: token ids of the records.
    """

    def __init__(self, texts: Sequence[Ids], pad: int) -> None:
        self.texts, self.pad = texts, pad
        self.vectors = np.zeros((0, 1), dtype=np.float32)

    def refresh(self, encoder: Any) -> None:
        self.vectors = encoded(encoder, self.texts, self.pad)

    def scores(self, queries: Tensor) -> np.ndarray[Any, Any]:
        """Scores (n, records) of unit vectors (n, d)."""
        found: np.ndarray[Any, Any] = queries.detach().float().cpu().numpy() @ self.vectors.T
        return found


@torch.no_grad()
def encoded(encoder: Any, texts: Sequence[Ids], pad: int) -> np.ndarray[Any, Any]:
    """Unit vectors (n, d) float32, in evaluation mode; short texts first, which pads less."""
    if not texts:
        return np.zeros((0, 1), dtype=np.float32)
    training = encoder.training
    encoder.eval()
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    parts = [
        pooled(encoder, [texts[place] for place in order[start : start + ENCODED]], pad)
        for start in range(0, len(order), ENCODED)
    ]
    encoder.train(training)
    found = torch.empty_like(torch.cat(parts))
    found[torch.tensor(order)] = torch.cat(parts)
    vectors: np.ndarray[Any, Any] = found.cpu().numpy()
    return vectors


def retrieved(
    scores: np.ndarray[Any, Any], allowed: Sequence[Sequence[int] | None], k: int
) -> list[tuple[list[int], int | None]]:
    """Per row the k best records, and the worst that is not among them, or None.

    Args:
        scores: (n, records); allowed: indices that a row may use, None for all.
    """
    found = []
    for row, own in zip(scores, allowed, strict=True):
        chosen = np.arange(len(row)) if own is None else np.asarray(own, dtype=int)
        (best,) = top_k(row[chosen], k)
        lowest = lowest_index(row[chosen])
        negative = None if lowest is None or lowest in best else int(chosen[lowest])
        found.append(([int(chosen[place]) for place in best], negative))
    return found
