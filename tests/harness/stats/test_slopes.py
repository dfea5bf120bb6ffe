"""Least-squares slopes as weighted sums, and intervals of weighted sums."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.errors import BadData
from harness.stats.bootstrap import contrast, paired_difference
from harness.stats.slopes import slope_weights

doses = st.lists(st.floats(-100, 100), min_size=2, max_size=6).filter(lambda d: np.ptp(d) > 1e-3)


@given(x=doses, seed=st.integers(0, 99))
def test_the_weighted_sum_is_the_slope_of_the_fitted_line(x: list[float], seed: int) -> None:
    y = np.random.default_rng(seed).normal(50, 10, len(x))
    slope = np.polyfit(x, y, 1)[0]
    assert slope_weights(x) @ y == pytest.approx(slope, rel=1e-6, abs=1e-6)
    assert slope_weights(x).sum() == pytest.approx(0, abs=1e-6)


def test_two_points_give_their_difference_per_dose() -> None:
    assert slope_weights([0.1, 0.5]) @ [40.0, 42.0] == pytest.approx(5.0)


@pytest.mark.parametrize("same", [[], [1.0], [0.1, 0.1, 0.1]])
def test_one_dose_has_no_slope(same: list[float]) -> None:
    with pytest.raises(BadData, match="at least two distinct doses"):
        slope_weights(same)


def test_a_difference_is_the_contrast_with_weights_of_one() -> None:
    generator = np.random.default_rng(0)
    a, b = generator.normal(52, 2, 400), generator.normal(50, 2, 400)
    seeds = (generator.normal(2, 1, 3),)
    more = {"units": 40, "span": (0.0, 100.0), "seeds": seeds}
    assert contrast((a, b), (1.0, -1.0), 2.0, **more) == paired_difference(a, b, 52, 50, **more)


def test_scores_without_spread_are_bounded_within_the_span() -> None:
    """Three scores of which each is certain: the rule of three, from the extremes of the sum."""
    rows = [np.full(200, value) for value in (0.0, 50.0, 100.0)]
    found = contrast(rows, (-0.5, 0.0, 0.5), 50.0, units=20, span=(0.0, 100.0))
    other = 1 - 0.05 ** (1 / 20)
    assert found.interval is not None
    assert found.interval.high == pytest.approx(50.0)
    assert found.interval.low == pytest.approx(50.0 - other * 100.0)


def test_scores_of_different_draws_are_refused() -> None:
    with pytest.raises(BadData, match="10 and 10 and 9 replicates"):
        contrast([np.zeros(10), np.zeros(10), np.zeros(9)], (-1.0, 0.0, 1.0), 0.0)
