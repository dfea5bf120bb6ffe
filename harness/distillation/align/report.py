"""Statistics and examples of the alignment of two tokenizers on a corpus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby

import numpy as np

from harness.core.errors import BadData
from harness.core.records import Record
from harness.distillation.align.offsets import EXACT, RELATIONS, Alignment, Reading

Block = tuple[str, tuple[str, ...], tuple[str, ...]]

_EXAMPLE_DOCUMENTS = 100  # examples are taken from the first documents only


class AlignmentReport(Record):
    """Shares of base positions by relation; the five relations sum to 1.

    Attributes:
        base, source: names of the two tokenizers.
        documents, positions: number of documents and of base tokens.
        exact, split, merged, crossed, unmatched: shares in [0, 1], defined in
            `harness.distillation.align.offsets`.
        transferable: share of positions that receive a source prediction.
        dtw: number of texts aligned by spelling, because offsets were missing.
        examples: (relation, base tokens, source tokens) of the most frequent blocks of each
            relation other than exact.
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
    examples: tuple[Block, ...] = ()

    def lines(self) -> list[str]:
        """The report as text lines; examples read "relation  base tokens | source tokens"."""
        shares = ", ".join(f"{name} {getattr(self, name):.1%}" for name in reversed(RELATIONS))
        spelled = f", {self.dtw} texts by spelling" if self.dtw else ""
        return [
            f"{self.positions:,} positions of {self.base} in {self.documents:,} documents, "
            f"{self.transferable:.1%} receive a prediction of {self.source}{spelled}",
            shares,
            *(f"{name:<10} {' '.join(a)} | {' '.join(b)}" for name, a, b in self.examples),
        ]


def alignment_report(
    aligned: Iterable[tuple[Reading, Reading, Alignment]], *, examples: int = 3
) -> AlignmentReport:
    """The report on (base, source, alignment) of each document.

    Args:
        examples: number of examples per relation.

    Raises:
        BadData: no base token in any document.
    """
    counts = np.zeros(len(RELATIONS), np.int64)
    documents = transferable = dtw = 0
    blocks: Counter[Block] = Counter()
    names = ("", "")
    for base, source, alignment in aligned:
        names = (base.vocabulary.name, source.vocabulary.name)
        counts += np.bincount(alignment.relation, minlength=len(RELATIONS))
        transferable += int((alignment.step >= 0).sum())
        dtw += alignment.mode == "dtw"
        documents += 1
        if documents <= _EXAMPLE_DOCUMENTS:
            blocks.update(_blocks(base, source, alignment))
    positions = int(counts.sum())
    if not positions:
        raise BadData(f"nothing to report on: no base token in {documents} documents")
    ranked = [block for block, _ in blocks.most_common()]
    return AlignmentReport(
        base=names[0],
        source=names[1],
        documents=documents,
        positions=positions,
        **{name: int(n) / positions for name, n in zip(RELATIONS, counts)},
        transferable=transferable / positions,
        dtw=dtw,
        examples=tuple(
            block for name in RELATIONS for block in [b for b in ranked if b[0] == name][:examples]
        ),
    )


def _blocks(base: Reading, source: Reading, alignment: Alignment) -> Iterator[Block]:
    last = alignment.last.tolist()
    shown = np.flatnonzero(alignment.relation != EXACT).tolist()
    # The last source position identifies a block; each unmatched token is a block by itself.
    for end, group in groupby(shown, key=lambda j: last[j] if last[j] >= 0 else -1 - j):
        places = list(group)
        theirs = source.ids[alignment.first[places[0]] : end + 1] if end >= 0 else source.ids[:0]
        yield (
            RELATIONS[alignment.relation[places[0]]],
            tuple(base.vocabulary.strings(base.ids[places])),
            tuple(source.vocabulary.strings(theirs)),
        )
