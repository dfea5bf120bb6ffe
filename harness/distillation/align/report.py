"""How well two tokenizers agree on a corpus: what an alignment can carry over, with examples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby

import numpy as np

from harness.core.errors import BadData
from harness.core.records import Record
from harness.distillation.align.offsets import EXACT, RELATIONS, Alignment, Reading

Block = tuple[str, tuple[str, ...], tuple[str, ...]]

_LOOKED_AT = 100  # documents that examples are taken from


class AlignmentReport(Record):
    """Shares of base positions; the five relations (see `harness.distillation.align.offsets`) sum
    to 1.

    Attributes:
        transferable: positions that take a prediction over.
        dtw: texts that had to be aligned by spelling.
        examples: (relation, base tokens, source tokens) of blocks that are not exact, the most
            frequent of each relation.
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
        """For reading: shares, then examples as "relation  base tokens | source tokens"."""
        shares = ", ".join(f"{name} {getattr(self, name):.1%}" for name in reversed(RELATIONS))
        spelled = f", {self.dtw} texts by spelling" if self.dtw else ""
        return [
            f"{self.positions:,} positions of {self.base} in {self.documents:,} documents, "
            f"{self.transferable:.1%} take over a prediction of {self.source}{spelled}",
            shares,
            *(f"{name:<10} {' '.join(a)} | {' '.join(b)}" for name, a, b in self.examples),
        ]


def alignment_report(
    aligned: Iterable[tuple[Reading, Reading, Alignment]], *, examples: int = 3
) -> AlignmentReport:
    """Report on (base, source, alignment) of each document.

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
        if documents <= _LOOKED_AT:
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
    # A block is known by its last source position; an unmatched token is one of its own.
    for end, group in groupby(shown, key=lambda j: last[j] if last[j] >= 0 else -1 - j):
        places = list(group)
        theirs = source.ids[alignment.first[places[0]] : end + 1] if end >= 0 else source.ids[:0]
        yield (
            RELATIONS[alignment.relation[places[0]]],
            tuple(base.vocabulary.strings(base.ids[places])),
            tuple(source.vocabulary.strings(theirs)),
        )
