"""ROUGE-L of each instruction with all others: the nearest one, and the mean.

The longest common subsequences of all pairs come from rapidfuzz (bit-parallel, in C++); F follows
from them by rouge-score's expression. A data set of n instructions has n (n - 1) / 2 pairs, and
each instruction is compared with all the others: of a large set, a random part of the instructions
is (`chosen_rows`), which leaves both statistics unbiased.

**Interval of the mean over pairs.** It is a mean over pairs, so that each instruction counts on
both sides. With h(i) the mean of instruction i against all others, minus that of all pairs,

    estimate - truth  =  sum over q chosen h / q  +  sum over all n h / n  + smaller terms

has the variance (1 + 3 q / n) var(h) / q (4 var(h) / n if all are chosen; Hoeffding 1948). The
bootstrap resamples h over instructions and widens by the root of that factor.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import MissingExtra
from harness.data.instructions.rouge_l import Tokenize, rouge_tokens, tokens_of

Floats = NDArray[np.float64]
COMPARED = 5000  # instructions that are compared with all others
WORK = 2 * 10**10  # steps of 64 tokens by one; about a minute
BLOCK = 32  # instructions compared at once
_SURROGATES = 0xD800, 0x800  # code points that text must not contain, and their number
_CODES = 0x110000 - _SURROGATES[1]


@dataclass(frozen=True)
class Overlap:
    """One instruction against all others.

    Attributes:
        nearest: index of the first other instruction with the highest F; None without another.
        rouge_l: that F.
        mean: mean F.
    """

    index: int
    nearest: int | None
    rouge_l: float | None
    mean: float | None


class Corpus:
    """Texts prepared for comparison.

    Raises:
        BadData: an element is no text.
        MissingExtra: rapidfuzz is not installed.
    """

    def __init__(self, texts: Sequence[str], tokenize: Tokenize = rouge_tokens) -> None:
        try:
            from rapidfuzz.distance import LCSseq
            from rapidfuzz.process import cdist
        except ImportError:
            raise MissingExtra("rapidfuzz", "analysis") from None
        self._cdist, self._scorer = cdist, LCSseq.similarity
        rows = tokens_of(texts, tokenize)
        self.lengths = np.array([len(row) for row in rows], dtype=np.int64)
        self._codes = _coded(rows)

    def f_measures(self, chosen: Sequence[int]) -> Floats:
        """F of the chosen texts with all texts: (len(chosen), n), rounded as by rouge-score."""
        picked = [self._codes[index] for index in chosen]
        lcs = self._cdist(picked, self._codes, scorer=self._scorer, dtype=np.int32, workers=1)
        own = np.maximum(self.lengths[np.asarray(chosen, dtype=np.int64)], 1)[:, None]
        precision, recall = lcs / own, lcs / np.maximum(self.lengths, 1)[None, :]
        both = precision + recall
        found: Floats = np.divide(
            2 * precision * recall, both, out=np.zeros_like(both), where=both > 0
        )
        return found

    def overlaps(self, chosen: Sequence[int]) -> Iterator[Overlap]:
        """Yield the chosen instructions against all others."""
        n = len(self.lengths)
        for start in range(0, len(chosen), BLOCK):
            block = list(chosen[start : start + BLOCK])
            if n < 2:
                yield from (Overlap(index, None, None, None) for index in block)
                continue
            table = self.f_measures(block)
            table[np.arange(len(block)), block] = 0.0
            means = table.sum(axis=1) / (n - 1)
            table[np.arange(len(block)), block] = -1.0
            nearest = table.argmax(axis=1)
            for place, index in enumerate(block):
                other = int(nearest[place])
                yield Overlap(index, other, float(table[place, other]), float(means[place]))


def _coded(rows: Sequence[Sequence[str]]) -> list[Any]:
    """Each text with one character per token; rapidfuzz compares such texts fastest."""
    numbers: dict[str, int] = {}
    coded = [[numbers.setdefault(token, len(numbers)) for token in row] for row in rows]
    if len(numbers) > _CODES:
        return coded
    first, width = _SURROGATES
    return ["".join(chr(k if k < first else k + width) for k in row) for row in coded]


def chosen_rows(lengths: Sequence[int], most: int = COMPARED, seed: int = 0) -> list[int]:
    """Indexes of the instructions to compare with all others, drawn at random and sorted.

    All if there are at most `most`; fewer if long texts would make that more than `WORK` steps.

    Args:
        lengths: number of tokens of each text.
    """
    n = len(lengths)
    words = sum(-(-length // 64) for length in lengths) / max(n, 1)
    affordable = int(WORK / max(words * sum(lengths), 1.0))
    count = min(n, most, max(affordable, 100))
    return sorted(random.Random(seed).sample(range(n), count))


def pairwise_mean(texts: Sequence[str], tokenize: Tokenize = rouge_tokens) -> float | None:
    """Mean ROUGE-L F of all pairs of different texts; None for fewer than two.

    >>> pairwise_mean(["Write a poem", "Write a song", "???"])
    0.2222222222222222
    """
    found = [each.mean for each in Corpus(texts, tokenize).overlaps(range(len(texts)))]
    means = [mean for mean in found if mean is not None]
    return math.fsum(means) / len(means) if means else None


def pair_replicates(means: Floats, counts: NDArray[np.int32], n: int) -> Floats:
    """Replicates (rounds,) of the mean over all pairs, see the module docstring.

    Args:
        means: of the q chosen instructions, each against all others.
        counts: (rounds, q), how often each of them is drawn.
        n: number of instructions.
    """
    q = len(means)
    point = means.mean()
    drawn = counts.astype(np.float64) @ (means - point) / q
    return np.asarray(point + math.sqrt(1 + 3 * q / n) * drawn)
