"""The original solver of length-controlled win rates: liblinear, called through scikit-learn.

Published figures are liblinear's solutions at tolerance 1e-4, up to 0.012 points from the exact
optimum, so agreement to 1e-6 needs the same library. Calls and random state follow scikit-learn's
LogisticRegressionCV (one generator per path, used for all values of C in turn).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import MissingExtra
from harness.suites.alpaca_eval2.l1_logistic import cross_entropy

Floats = NDArray[np.float64]

SEED = 123
TOLERANCE = 1e-4


@dataclass(frozen=True)
class CrossValidated:
    """Result of cross-validation: chosen C, coefficients (k,) refitted on all rows, all scores."""

    strength: float
    coefficients: Floats
    scores: Floats  # (folds, number of C)


def cross_validate(
    features: Floats,
    labels: Floats,
    weights: Floats,
    folds: NDArray[np.int64],
    strengths: Floats,
) -> CrossValidated:
    """Choose C by cross-validation and refit on all rows, as the original does.

    Args:
        features: (N, k).
        labels: (N,) in [0, 1].
        weights: (N,).
        folds: fold of each row (N,).
        strengths: values of C.

    Raises:
        MissingExtra: scikit-learn is not installed.
    """
    scores = []
    for fold in range(int(folds.max()) + 1):
        held = folds == fold
        path = fit_path(features[~held], labels[~held], weights[~held], strengths)
        loss = cross_entropy(path @ features[held].T, labels[held]) * weights[held]
        scores.append(-loss.mean(axis=1))
    table = np.stack(scores)
    best = strengths[int(np.argmax(table.sum(axis=0)))]
    refit = fit_path(features, labels, weights, np.array([best]))[0]
    return CrossValidated(float(best), refit, table)


def fit_path(features: Floats, labels: Floats, weights: Floats, strengths: Floats) -> Floats:
    """liblinear's L1 coefficients (number of C, k) for fractional labels, without intercept.

    A row with label p and weight s is passed as a positive row of weight s p and a negative row of
    weight s (1 - p).

    Raises:
        MissingExtra: scikit-learn is not installed.
    """
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        raise MissingExtra(
            "scikit-learn (for the compat modes of length control)", "alpaca"
        ) from None
    doubled = np.concatenate([features, features])
    sides = np.repeat([1, 0], len(labels))
    shares = np.concatenate([labels * weights, (1.0 - labels) * weights])
    state = np.random.RandomState(SEED)  # shared by all values of C, as in the original
    path = []
    for strength in strengths:
        model = LogisticRegression(
            penalty="l1",
            solver="liblinear",
            C=float(strength),
            fit_intercept=False,
            tol=TOLERANCE,
            random_state=state,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # `penalty` is deprecated, but required before 1.8
            model.fit(doubled, sides, sample_weight=shares)
        path.append(model.coef_[0])
    return np.array(path)
