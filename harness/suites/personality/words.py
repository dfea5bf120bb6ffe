"""Word counts as features; the most frequent words of each training part are selected.

The result equals that of scikit-learn's TfidfVectorizer(min_df=2, max_features=5000), except among
equally frequent words at the limit: scikit-learn's selection depends on an unstable sort that
differs between processors. Here they are selected in alphabetical order, so that labels are the
same on every machine.
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
    """Counts of each lower-case word in each text (texts, words), sorted by word.

    Raises:
        BadData: none of the texts contains a word.
    """
    try:
        return CountVectorizer().fit_transform(texts)
    except ValueError:  # "empty vocabulary"
        raise BadData(
            f"none of {len(texts)} texts contains a word of two or more letters"
        ) from None


class FrequentWords(SelectorMixin, BaseEstimator):  # type: ignore[misc]
    """Selects the `most` most frequent of the words that occur in at least `texts` texts."""

    def __init__(self, texts: int = 2, most: int = 5000) -> None:
        self.texts, self.most = texts, most

    def fit(self, counted: Any, labels: object = None) -> FrequentWords:
        """Select words by the counts of a training part (texts, words).

        Raises:
            BadData: no word occurs in enough texts.
        """
        self.n_features_in_ = counted.shape[1]
        total = np.asarray(counted.sum(axis=0)).ravel()
        known = np.flatnonzero(np.asarray((counted > 0).sum(axis=0)).ravel() >= self.texts)
        if not len(known):
            raise BadData(
                f"no word occurs in {self.texts} of {counted.shape[0]} training texts: give more "
                "authors"
            )
        kept = known[np.argsort(-total[known], kind="stable")[: self.most]]
        self.mask_ = np.isin(np.arange(len(total)), kept)
        return self

    def _get_support_mask(self) -> NDArray[np.bool_]:
        return self.mask_
