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
    silent = np.isnan(given)
    kept = ~silent if policy == "drop" else np.ones(len(true), dtype=bool)
    if not kept.any():
        return None
    given = np.where(silent, 1 - true if policy == "wrong" else 2.0, given)
    masks = [kept & (true == c) & (given == c) for c in (0, 1)]
    masks += [kept & (true == c) for c in (0, 1)] + [kept & (given == c) for c in (0, 1)]
    indicators = np.stack(masks, axis=1).astype(np.float64)  # (n, 6)
    whole = indicators.sum(axis=0, keepdims=True)
    drawn = whole if counts is None else counts.astype(np.float64) @ indicators  # (rounds, 6)
    empty = drawn[:, 2] + drawn[:, 3] == 0
    right, golden, chosen = np.split(np.where(empty[:, None], whole, drawn).T, 3)
    f1 = _share(2 * right, golden + chosen)
    recall = _share(right, golden)
    present = (golden > 0).sum(axis=0)
    return LabelScores(
        accuracy=_share(right.sum(axis=0), golden.sum(axis=0)),
        macro_f1=f1.mean(axis=0),
        balanced_accuracy=recall.sum(axis=0) / present,
        f1=(f1[0], f1[1]),
        recall=(recall[0], recall[1]),
    )


def _share(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
