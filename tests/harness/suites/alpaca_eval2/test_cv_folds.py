"""Folds of today's and older libraries."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from harness.suites.alpaca_eval2.cv_folds import (
    introsort_order_of_equals,
    legacy_folds,
    stable_folds,
)
from tests.golden_vectors import vectors


def test_golden_legacy_folds(golden: Callable[[str], Path]) -> None:
    legacy = vectors(golden("alpaca_eval2/cv_folds.json"))["legacy"]
    for size, digits in legacy.items():
        assert "".join(map(str, legacy_folds(int(size)))) == digits, size


@given(st.integers(1, 3000))
def test_orders_are_permutations_and_folds_are_balanced(n: int) -> None:
    assert sorted(introsort_order_of_equals(n).tolist()) == list(range(n))
    for folds in (stable_folds(n), legacy_folds(n)):
        sizes = np.bincount(folds, minlength=5)
        assert sizes.max() - sizes.min() <= 1
        assert sizes.sum() == n


def test_short_lists_are_left_as_they_are() -> None:
    assert introsort_order_of_equals(16).tolist() == list(range(16))
    assert np.array_equal(legacy_folds(16), stable_folds(16))
