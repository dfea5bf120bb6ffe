"""The words of texts as features: counts, of which each training part keeps its most frequent.

scikit-learn's TfidfVectorizer(min_df=2, max_features=5000) does the same but for one thing: which
of the equally frequent words at the cut it keeps is up to an unstable sort, whose result differs
between processors. Here they are kept in alphabetical order, so that a label is the same on every
machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.feature_selection import SelectorMixin

from harness.core.errors import BadData


def counts(texts: Sequence[str]) -> Any:
    """How often each lower-case word stands in each text, (texts, words), words in order.

    Raises:
        BadData: none of the texts has a word.
    """
    try:
        return CountVectorizer().fit_transform(texts)
    except ValueError:  # "empty vocabulary"
        raise BadData(f"none of {len(texts)} texts has a word of two letters or more") from None


class FrequentWords(SelectorMixin, BaseEstimator):  # type: ignore[misc]
    """Keeps the `most` frequent of the words that stand in at least `texts` texts."""

    def __init__(self, texts: int = 2, most: int = 5000) -> None:
        self.texts, self.most = texts, most

    def fit(self, counted: Any, labels: object = None) -> FrequentWords:
        """Choose the words by the texts of a training part."""
        self.n_features_in_ = counted.shape[1]
        total = np.asarray(counted.sum(axis=0)).ravel()
        known = np.flatnonzero(np.asarray((counted > 0).sum(axis=0)).ravel() >= self.texts)
        if not len(known):
            raise BadData(
                f"no word stands in {self.texts} of the {counted.shape[0]} texts to learn from: "
                "give more authors"
            )
        kept = known[np.argsort(-total[known], kind="stable")[: self.most]]
        self.mask_ = np.isin(np.arange(len(total)), kept)
        return self

    def _get_support_mask(self) -> NDArray[np.bool_]:
        return self.mask_
