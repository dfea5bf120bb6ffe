"""Exact search: the records with the largest scores, ties to the smaller index.

`search` multiplies queries with blocks of record vectors and keeps, per query, the best k so far;
a record of a later block must be strictly better than the k-th best, because ties go to the smaller
index. Nothing is sorted but the few candidates, so that the cost is that of the multiplication.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.core.errors import BadData
from harness.core.hashing import digest

Floats = NDArray[np.floating]
Ints = NDArray[np.int64]
BLOCK = 16_384  # records per multiplication: a block of 64 scores each fits into the cache
GROUP = 64  # scores whose largest one bounds the k-th largest of all from below


def top_k(scores: ArrayLike, k: int) -> list[list[int]]:
    """Indices of the k largest scores of each row, best first; ties to the smaller index.

    Args:
        scores: (n, records), or (records,) for one row; no NaN.
        k: a larger number than that of the records returns all of them.

    Raises:
        BadData: k is below 0, or a score is not a number.

    >>> top_k([0.5, 0.9, 0.9], 2)
    [[1, 2]]
    """
    table = np.atleast_2d(np.asarray(scores))
    if k < 0:
        raise BadData(f"k is {k}; expected a number of records")
    if k == 0 or table.shape[1] == 0:
        return [[] for _ in table]
    if np.isnan(table).any():
        raise BadData("a score is not a number; expected finite scores of records")
    floor = _lower_bound(table, min(k, table.shape[1]))
    return [_best(row, least, k) for row, least in zip(table, floor, strict=True)]


def _lower_bound(table: Floats, k: int) -> Floats:
    """At most the k-th largest score of each row: the k-th largest maximum of groups of scores."""
    groups = table.shape[1] // GROUP
    if groups < k:
        return np.full(len(table), -np.inf)
    maxima = table[:, : groups * GROUP].reshape(len(table), groups, GROUP).max(axis=2)
    found: Floats = np.partition(maxima, groups - k, axis=1)[:, groups - k]
    return found


def _best(row: Floats, least: float, k: int) -> list[int]:
    candidates = np.flatnonzero(row >= least)
    order = np.argsort(-row[candidates], kind="stable")[:k]
    return [int(index) for index in candidates[order]]


def lowest_index(scores: ArrayLike) -> int | None:
    """Index of the smallest score, ties to the larger index; None without records."""
    row = np.asarray(scores)
    return int(len(row) - 1 - np.argmin(row[::-1])) if len(row) else None


@dataclass(frozen=True)
class Index:
    """Vectors of records and the digest of these records.

    Attributes:
        vectors: (records, d) float32.
        base: digest of the records, see `records.base_digest`.
    """

    vectors: NDArray[np.float32]
    base: str

    @classmethod
    def of(cls, vectors: ArrayLike, ids: Sequence[str]) -> Index:
        """Index of the records with these ids, in this order."""
        return cls(np.asarray(vectors, dtype=np.float32), digest(list(ids)))

    def search(self, queries: ArrayLike, k: int, ids: Sequence[str]) -> tuple[Ints, Floats]:
        """See `search`.

        Args:
            ids: of the records that the caller means.

        Raises:
            BadData: the index is of other records.
        """
        if digest(list(ids)) != self.base or len(ids) != len(self.vectors):
            raise BadData(
                f"an index of {len(self.vectors)} other records (digest {self.base[:12]}) was "
                f"asked about {len(ids)} records; build the index of this knowledge base again"
            )
        return search(self.vectors, queries, k)


def search(
    vectors: NDArray[np.float32], queries: ArrayLike, k: int, block: int = BLOCK
) -> tuple[Ints, Floats]:
    """Indices and scores (n, k) of the records with the largest dot products, best first.

    Args:
        vectors: (records, d); queries: (n, d). With fewer than k records, all are returned.

    Raises:
        BadData: a vector is not finite.
    """
    asked = np.atleast_2d(np.asarray(queries, dtype=vectors.dtype))
    k, n = min(k, len(vectors)), len(asked)
    if not k:
        return np.empty((n, 0), dtype=np.int64), np.empty((n, 0), dtype=vectors.dtype)
    best = np.full((n, k), -np.inf, dtype=vectors.dtype)
    where = np.full((n, k), len(vectors), dtype=np.int64)
    for start in range(0, len(vectors), block):
        scores = asked @ vectors[start : start + block].T
        floor = np.maximum(best[:, -1], _below(_lower_bound(scores, min(k, scores.shape[1]))))
        rows, columns = np.nonzero(scores > floor[:, None])
        if len(rows):
            best, where = _merged(
                best, where, rows, columns.astype(np.int64) + start, scores[rows, columns]
            )
    if (where == len(vectors)).any():
        raise BadData("a score is not a number; expected finite vectors of records and queries")
    return where, best


def _below(values: Floats) -> Floats:
    """The next smaller numbers, so that `>` lets the values themselves pass."""
    lowest = np.array(-np.inf, dtype=values.dtype)
    found: Floats = np.nextafter(values, lowest)
    return found


def _merged(
    best: Floats, where: Ints, rows: Ints, found: Ints, scores: Floats
) -> tuple[Floats, Ints]:
    """The best k of each row among those so far and the candidates."""
    n, k = best.shape
    every_row = np.concatenate([np.repeat(np.arange(n), k), rows])
    every_index = np.concatenate([where.ravel(), found])
    every_score = np.concatenate([best.ravel(), scores])
    order = np.lexsort((every_index, -every_score, every_row))
    starts = np.searchsorted(every_row[order], np.arange(n))
    chosen = order[starts[:, None] + np.arange(k)]
    return every_score[chosen], every_index[chosen]
