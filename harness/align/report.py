"""How well two tokenizers agree on a corpus: what an alignment can carry over, with examples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby

import numpy as np

from harness.align.offsets import EXACT, RELATIONS, UNMATCHED, Alignment, Reading
from harness.errors import BadData
from harness.records import Record

_LOOKED_AT = 100  # documents that examples are taken from


class AlignmentExample(Record):
    """The tokens of one block, in both vocabularies' strings."""

    relation: str
    base: tuple[str, ...]
    source: tuple[str, ...]


class AlignmentReport(Record):
    """Shares of base positions; the five relations sum to 1. See `harness.align.offsets`.

    Attributes:
        transferable: positions that take a prediction over.
        dtw: documents that had to be aligned by spelling.
        examples: blocks of each relation but the exact one, the most frequent ones first.
    """

    base: str
    source: str
    documents: int
    positions: int
    exact: float
    split: float
    merged: float
    crossed: float
    unmatched: float
    transferable: float
    dtw: int
    examples: tuple[AlignmentExample, ...] = ()


def alignment_report(
    aligned: Iterable[tuple[Reading, Reading, Alignment]], *, examples: int = 3
) -> AlignmentReport:
    """Report on (base, source, alignment) of each document.

    Raises:
        BadData: no base token in any document.
    """
    counts = np.zeros(len(RELATIONS), np.int64)
    documents = transferable = dtw = 0
    blocks: Counter[AlignmentExample] = Counter()
    names = ("", "")
    for base, source, alignment in aligned:
        names = (base.vocabulary.name, source.vocabulary.name)
        counts += np.bincount(alignment.relation, minlength=len(RELATIONS))
        transferable += int((alignment.step >= 0).sum())
        dtw += alignment.mode == "dtw"
        documents += 1
        if documents <= _LOOKED_AT:
            blocks.update(_blocks(base, source, alignment))
    positions = int(counts.sum())
    if not positions:
        raise BadData(f"nothing to report on: no base token in {documents} documents")
    shown: list[AlignmentExample] = []
    for relation in RELATIONS:
        ranked = [block for block, _ in blocks.most_common() if block.relation == relation]
        shown += ranked[:examples]
    return AlignmentReport(
        base=names[0],
        source=names[1],
        documents=documents,
        positions=positions,
        **{name: int(n) / positions for name, n in zip(RELATIONS, counts)},
        transferable=transferable / positions,
        dtw=dtw,
        examples=tuple(shown),
    )


def _blocks(base: Reading, source: Reading, alignment: Alignment) -> Iterator[AlignmentExample]:
    first, last = alignment.first.tolist(), alignment.last.tolist()
    relations = alignment.relation.tolist()
    shown = [j for j, relation in enumerate(relations) if relation != EXACT]
    # A block is known by its last source position, an unmatched token is one of its own.
    for _, group in groupby(shown, key=lambda j: last[j] if last[j] >= 0 else -1 - j):
        places = list(group)
        theirs = (
            []
            if relations[places[0]] == UNMATCHED
            else range(first[places[0]], last[places[0]] + 1)
        )
        yield AlignmentExample(
            relation=RELATIONS[relations[places[0]]],
            base=tuple(base.vocabulary.strings(base.ids[places].tolist())),
            source=tuple(source.vocabulary.strings(source.ids[list(theirs)].tolist())),
        )
