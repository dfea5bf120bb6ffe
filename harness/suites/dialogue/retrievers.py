"""Retrievers that need no training: rules, BM25, a frozen encoder, and their combination.

    build(knowledge, encode, **settings) -> rank;  rank(dialogues) -> scores (dialogues, records)

A table RETRIEVERS of a catalogue names them; "package.module:function" names any other. `encode`
is None without an encoder. Scores are comparable within a row; larger is better.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import MissingExtra, UserError
from harness.suites.dialogue.records import Dialogue, Knowledge, record_text, values_in
from harness.suites.dialogue.text import count_runs, plain_tokens

Floats = NDArray[np.float64]
Encode = Callable[[Sequence[str]], NDArray[np.float32]]  # texts -> unit vectors (n, d)
Rank = Callable[[Sequence[Dialogue]], Floats]


def tokens_of(dialogue: Dialogue) -> list[str]:
    """Tokens of the whole context."""
    return [token for said in dialogue.context for token in plain_tokens(said)]


def value_frequency(
    knowledge: Knowledge, encode: Encode | None = None, *, occurrences: bool = False
) -> Rank:
    """Number of a record's values that occur in the context as whole runs of tokens.

    Args:
        occurrences: count every occurrence of a value instead of the value once.
    """
    values = [[run for _, run in values_in(record)] for record in knowledge.records]
    distinct = {run for runs in values for run in runs}

    def rank(dialogues: Sequence[Dialogue]) -> Floats:
        table = np.zeros((len(dialogues), len(values)))
        for row, dialogue in enumerate(dialogues):
            counts = _counts(tokens_of(dialogue), distinct)
            for column, runs in enumerate(values):
                table[row, column] = sum(
                    counts[run] if occurrences else counts[run] > 0 for run in runs
                )
        return table

    return rank


def _counts(tokens: list[str], runs: set[tuple[str, ...]]) -> Counter[tuple[str, ...]]:
    """Occurrences of those runs that occur at all."""
    present = set(tokens)
    return Counter({run: n for run in runs if run[0] in present and (n := count_runs(tokens, run))})


def bm25(
    knowledge: Knowledge, encode: Encode | None = None, *, k1: float = 1.5, b: float = 0.75
) -> Rank:
    """BM25 of the context as the query and records as documents, by the package bm25s.

    Raises:
        MissingExtra: bm25s is not installed.
    """
    try:
        import bm25s
    except ImportError:
        raise MissingExtra("bm25s", "dialogue") from None
    documents = [
        [token for name, run in values_in(record) for token in (name.lower(), *run)]
        for record in knowledge.records
    ]
    vocabulary = {token for document in documents for token in document}
    index = bm25s.BM25(k1=k1, b=b)
    if documents:
        index.index(documents, show_progress=False)

    def rank(dialogues: Sequence[Dialogue]) -> Floats:
        table = np.zeros((len(dialogues), len(documents)))
        for row, dialogue in enumerate(dialogues):
            known = [token for token in tokens_of(dialogue) if token in vocabulary]
            if known:
                table[row] = index.get_scores(known)
        return table

    return rank


def dense(knowledge: Knowledge, encode: Encode | None = None) -> Rank:
    """Cosine of the frozen encoder's vectors of context and record, without training.

    Raises:
        UserError: no encoder.
    """
    if encode is None:
        raise UserError('the retriever "dense" needs an encoder; set encoder to a hub id or folder')
    texts = [record_text(record) for record in knowledge.records]
    vectors = encode(texts) if texts else np.zeros((0, 1), dtype=np.float32)

    def rank(dialogues: Sequence[Dialogue]) -> Floats:
        if not len(vectors):
            return np.zeros((len(dialogues), 0))
        asked = encode([" ".join(dialogue.context).replace("_", " ") for dialogue in dialogues])
        found: Floats = (asked @ vectors.T).astype(np.float64)
        return found

    return rank
