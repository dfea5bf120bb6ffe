"""The logistic function at both ends, and what it leaves of its argument."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from harness.stats.logistic import sigmoid, sigmoid_of_minus


def test_values_by_hand_without_overflow() -> None:
    z = np.array([-1000.0, -np.log(3), 0.0, np.log(3), 1000.0])
    before = z.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert sigmoid(z) == pytest.approx([0.0, 0.25, 0.5, 0.75, 1.0])
        assert z.tolist() == before.tolist()
        found = sigmoid_of_minus(z)
    assert found == pytest.approx([1.0, 0.75, 0.5, 0.25, 0.0])
    assert found is z  # in place
