"""Corpus BLEU of the Moses script multi-bleu.perl, without perl, and sacreBLEU beside it.

    BLEU = BP * exp(sum_n log(p_n) / 4),  n = 1..4
    p_n  = clipped n-gram matches / n-grams of the hypotheses
    BP   = exp(1 - r / h) if h < r, else 1; h and r are numbers of tokens

One reference per reply, tokens separated by whitespace, lower case, no smoothing: an order without
a match gives 0. Counts of turns add up, so that resamples of dialogues are sums of counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
ORDERS = (1, 2, 3, 4)
FIELDS = 2 * len(ORDERS) + 2  # matches and n-grams of each order, then h and r


def bleu_counts(hypothesis: str, reference: str) -> list[int]:
    """Counts (10,) of one reply: matches of n = 1..4, n-grams of n = 1..4, h, r."""
    said, wanted = hypothesis.lower().split(), reference.lower().split()
    matches, totals = [], []
    for n in ORDERS:
        own, known = _ngrams(said, n), _ngrams(wanted, n)
        matches.append(sum((own & known).values()))
        totals.append(max(0, len(said) - n + 1))
    return [*matches, *totals, len(said), len(wanted)]


def _ngrams(tokens: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))


def bleu(counts: ArrayLike) -> Floats:
    """BLEU in per cent of summed counts (..., 10), not rounded; shape (...).

    >>> float(bleu(bleu_counts("a b c d e", "a b c d e")))
    100.0
    """
    sums = np.asarray(counts, dtype=np.float64)
    matches, totals = sums[..., : len(ORDERS)], sums[..., len(ORDERS) : -2]
    said, wanted = sums[..., -2], sums[..., -1]
    scored = (matches > 0).all(axis=-1)
    safe = np.asarray(scored)[..., None]
    precisions = np.where(safe, matches, 1.0) / np.where(safe, totals, 1.0)
    geometric = np.exp(np.log(precisions).mean(axis=-1))
    longer = np.where(said > 0, said, 1.0)
    penalty = np.exp(np.minimum(0.0, 1.0 - wanted / longer))
    found: Floats = np.where(scored, 100.0 * penalty * geometric, 0.0)
    return found


class SacreBLEU(NamedTuple):
    """Counts (turns, 10) in the order of `bleu_counts`, and the signature of the settings."""

    counts: NDArray[np.int64]
    signature: str


def has_sacrebleu() -> bool:
    """Whether the package sacrebleu is installed (extra `dialogue`)."""
    return find_spec("sacrebleu") is not None


def sacrebleu_counts(hypotheses: Sequence[str], references: Sequence[str]) -> SacreBLEU:
    """Counts of sacreBLEU's defaults, in lower case: tokenizer 13a, exponential smoothing."""
    from sacrebleu.metrics import BLEU

    # Texts are tokenised already, of which sacreBLEU would warn.
    metric = BLEU(lowercase=True, force=True)
    of_sentences = BLEU(lowercase=True, force=True, effective_order=True)
    rows = []
    for said, wanted in zip(hypotheses, references, strict=True):
        score = of_sentences.sentence_score(said, [wanted])  # its counts alone are used
        rows.append([*score.counts, *score.totals, score.sys_len, score.ref_len])
    if hypotheses:
        metric.corpus_score(list(hypotheses), [list(references)])  # the signature knows the data
    signature = str(metric.get_signature()) if hypotheses else ""
    return SacreBLEU(np.array(rows, dtype=np.int64).reshape(-1, FIELDS), signature)


def sacrebleu(counts: ArrayLike) -> Floats:
    """sacreBLEU in per cent of summed counts (..., 10); shape (...)."""
    from sacrebleu.metrics import BLEU

    sums = np.asarray(counts, dtype=np.int64)
    flat = [
        BLEU.compute_bleu(row[:4], row[4:8], row[8], row[9], smooth_method="exp").score
        for row in sums.reshape(-1, FIELDS).tolist()
    ]
    return np.array(flat, dtype=np.float64).reshape(sums.shape[:-1])
