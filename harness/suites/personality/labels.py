"""Scores of binary labels with abstentions: accuracy, macro-F1, recall, balanced accuracy.

    F1_c = 2 TP_c / (gold_c + predicted_c), 0 where undefined; macro-F1 = (F1_0 + F1_1) / 2

Both classes always count, even one without true labels. Policies for an abstention:

    wrong        counts as the opposite of the true label
    third_class  counts as a third label, which is not averaged over
    drop         is left out; for diagnosis only, because it rewards abstaining
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.core.errors import BadData

Floats = NDArray[np.float64]
Policy = Literal["wrong", "third_class", "drop"]
POLICIES: tuple[Policy, ...] = ("wrong", "third_class", "drop")


@dataclass(frozen=True)
class LabelScores:
    """Scores of one trait in [0, 1], arrays (rounds,); pairs are for labels 0 and 1."""

    accuracy: Floats
    macro_f1: Floats
    balanced_accuracy: Floats
    f1: tuple[Floats, Floats]
    recall: tuple[Floats, Floats]


def label_scores(
    gold: ArrayLike,
    predicted: ArrayLike,
    policy: Policy = "wrong",
    counts: NDArray[np.int32] | None = None,
) -> LabelScores | None:
    """Scores of `predicted` (0, 1, or NaN for an abstention) against `gold` (0 or 1), both (n,).

    Args:
        counts: number of times each row is drawn in each resample, (rounds, n); default: one round
            with every row once. A resample without any row left gets the score of all rows.

    Returns:
        Scores (rounds,), or None if `drop` leaves no row.

    Raises:
        BadData: lengths differ, or a gold label is neither 0 nor 1.

    >>> float(label_scores([0, 1, 1], [1, 1, 1]).macro_f1[0])
    0.4
    """
    true, given = np.asarray(gold, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    if true.shape != given.shape or true.ndim != 1 or not np.isin(true, (0, 1)).all():
        raise BadData(
            f"gold labels {true.shape} and predictions {given.shape}; expected (n,) each, gold 0/1"
        )
    indicators = indicators_of(true, given, policy)
    whole = indicators.sum(axis=0, keepdims=True)
    if not whole[:, 2:4].any():
        return None
    drawn = whole if counts is None else counts.astype(np.float64) @ indicators  # (rounds, 6)
    empty = drawn[:, 2] + drawn[:, 3] == 0
    return _scores_of_sums(np.where(empty[:, None], whole, drawn))


def indicators_of(gold: Floats, predicted: Floats, policy: Policy) -> Floats:
    """Columns whose sums give the scores of a trait: (n, 6).

    Rows labelled c and right, rows whose true label is c, rows labelled c, each for c = 0 and 1.
    """
    silent = np.isnan(predicted)
    kept = ~silent if policy == "drop" else np.ones(len(gold), dtype=bool)
    given = np.where(silent, 1 - gold if policy == "wrong" else 2.0, predicted)
    masks = [kept & (gold == c) & (given == c) for c in (0, 1)]
    masks += [kept & (gold == c) for c in (0, 1)] + [kept & (given == c) for c in (0, 1)]
    return np.stack(masks, axis=1).astype(np.float64)


def macro_f1_percent(sums: ArrayLike) -> Floats:
    """Mean macro-F1 over traits in per cent, of sums (R, 6 traits) of their indicators: (R,)."""
    return 100 * _over_traits(sums, "macro_f1")


def accuracy_percent(sums: ArrayLike) -> Floats:
    """Mean accuracy over traits in per cent, of sums (R, 6 traits) of their indicators: (R,)."""
    return 100 * _over_traits(sums, "accuracy")


def worst_macro_f1(sums: ArrayLike, orders: int) -> Floats:
    """Minimum of `macro_f1_percent` over orders, of sums (R, 6 orders traits): (R,)."""
    return _by_order(sums, orders).min(axis=0)


def spread_of_macro_f1(sums: ArrayLike, orders: int) -> Floats:
    """Standard deviation (ddof 1) of `macro_f1_percent` over orders: (R,)."""
    return _by_order(sums, orders).std(axis=0, ddof=1)


def _by_order(sums: ArrayLike, orders: int) -> Floats:
    parts = np.split(np.asarray(sums, dtype=np.float64), orders, axis=-1)
    return np.array([macro_f1_percent(part) for part in parts])


def _over_traits(sums: ArrayLike, measure: Literal["macro_f1", "accuracy"]) -> Floats:
    """Mean over traits; NaN where a trait has no row."""
    array = np.asarray(sums, dtype=np.float64)
    found = []
    for trait in np.split(array, array.shape[-1] // 6, axis=-1):
        scores = _scores_of_sums(trait)
        values = scores.macro_f1 if measure == "macro_f1" else scores.accuracy
        found.append(np.where(trait[:, 2] + trait[:, 3] > 0, values, np.nan))
    mean: Floats = np.mean(found, axis=0)
    return mean


def _scores_of_sums(sums: Floats) -> LabelScores:
    """Scores of sums (rounds, 6) of the columns of `indicators_of`."""
    right, golden, chosen = np.split(sums.T, 3)
    f1 = _share(2 * right, golden + chosen)
    recall = _share(right, golden)
    present = (golden > 0).sum(axis=0)
    return LabelScores(
        accuracy=_share(right.sum(axis=0), golden.sum(axis=0)),
        macro_f1=f1.mean(axis=0),
        balanced_accuracy=_share(recall.sum(axis=0), present.astype(np.float64)),
        f1=(f1[0], f1[1]),
        recall=(recall[0], recall[1]),
    )


def _share(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
