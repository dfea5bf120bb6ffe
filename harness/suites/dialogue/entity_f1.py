"""Entity F1 in its three variants and a strict one: counts of turns, and scores of their sums.

    surface_micro   values extracted from the texts of both sides (MAKER, Q-TOD, MK-TOD)
    gold_micro      annotated values, matched with the tokens of the reply (DF-Net, GLMP)
    gold_macro      the same, averaged over turns with annotated values (CDNet)
    strict          surface_micro with the values of replies whose reference names none

    P = tp / (tp + fp),  R = tp / (tp + fn),  F1 = 2 P R / (P + R) = 2 tp / (2 tp + fp + fn)

Every reference value counts once for each time that it is listed; false positives are distinct
values. All variants but the strict one skip turns without a reference value: values invented there
cost nothing. Papers report different variants, which must not be compared.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


class Counts(NamedTuple):
    """True positives, false positives and false negatives of one turn."""

    tp: int
    fp: int
    fn: int


def surface_counts(
    predicted: Sequence[str], reference: Sequence[str], strict: bool = False
) -> Counts:
    """Counts of the values extracted from both sides.

    Args:
        strict: count the values of a reply whose reference has none as false positives.

    >>> surface_counts(["north", "cheap"], ["north", "food"])
    Counts(tp=1, fp=1, fn=1)
    """
    if not reference and not strict:
        return Counts(0, 0, 0)
    tp = sum(value in predicted for value in reference)
    fp = len(set(predicted) - set(reference))
    return Counts(tp, fp, len(reference) - tp)


def gold_counts(tokens: Sequence[str], gold: Sequence[str], known: Collection[str]) -> Counts:
    """Counts of annotated values.

    Args:
        tokens: of the reply; values of several words are one token, joined with underscores.
        gold: annotated values in the same form.
        known: values of the entity list and of the session's records; only they can be false
            positives.
    """
    if not gold:
        return Counts(0, 0, 0)
    said = set(tokens)
    tp = sum(value in said for value in gold)
    fp = sum(token in known for token in said - set(gold))
    return Counts(tp, fp, len(gold) - tp)


class F1(NamedTuple):
    """Scores in [0, 1], arrays of one shape."""

    f1: Floats
    precision: Floats
    recall: Floats


def scores(counts: ArrayLike) -> F1:
    """Scores of summed counts (..., 3); 0 where a denominator is 0.

    >>> float(scores([1, 1, 1]).f1)
    0.5
    """
    sums = np.asarray(counts, dtype=np.float64)
    tp, fp, fn = sums[..., 0], sums[..., 1], sums[..., 2]
    return F1(_share(2 * tp, 2 * tp + fp + fn), _share(tp, tp + fp), _share(tp, tp + fn))


def f1_percent(sums: ArrayLike) -> Floats:
    """F1 in per cent of summed counts (..., 3); 0 without true positives, as in reference code."""
    return 100 * scores(sums).f1


def _share(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
