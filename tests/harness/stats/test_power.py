"""Minimum detectable effects: the closed form, and the power that simulated tests have there."""

from __future__ import annotations

import numpy as np
import pytest

from harness.stats.bootstrap import paired_difference, replicate_means, resample_counts
from harness.stats.power import minimum_detectable_effect, standard_error


def test_closed_form():
    assert minimum_detectable_effect(1.0) == pytest.approx(1.959964 + 0.841621, abs=1e-6)
    assert minimum_detectable_effect(2.0, alpha=0.1, power=0.9) == pytest.approx(
        2 * (1.644854 + 1.281552), abs=1e-5
    )
    # The mean of n paired differences with standard deviation s has the error s / sqrt(n).
    gaps = np.random.default_rng(0).normal(0, 3.0, 400)
    draws = replicate_means(gaps, resample_counts("p", 400, 4000))
    assert minimum_detectable_effect(standard_error(draws)) == pytest.approx(
        2.8016 * gaps.std(ddof=1) / 20, rel=0.05
    )


def test_seeds_add_their_error_in_quadrature():
    draws = np.random.default_rng(1).normal(0, 3.0, 1000)
    own = draws.std(ddof=1)
    assert standard_error(draws, [[5.0]]) == pytest.approx(own)
    assert standard_error(draws, [[1.0, 3.0]]) == pytest.approx(np.hypot(own, 1.0))
    both = standard_error(draws, [[1.0, 3.0], [0.0, 0.0, 6.0]])
    assert both == pytest.approx(np.sqrt(own**2 + 1.0 + 4.0))
    assert standard_error([7.0]) == 0.0


def test_a_difference_of_that_size_is_found_four_times_in_five():
    """Verdicts by the intervals of boards, at the effect computed from an own sample."""
    n, runs, rng = 200, 400, np.random.default_rng(2)
    counts = resample_counts("power", n, 300)
    pilot = replicate_means(rng.normal(0, 3.0, n), counts)
    effect = minimum_detectable_effect(float(np.mean([standard_error(pilot), 3 / np.sqrt(n)])))
    found = 0
    for _ in range(runs):
        gaps = rng.normal(effect, 3.0, n)
        draws = replicate_means(gaps, counts)
        result = paired_difference(draws, np.zeros(300), float(gaps.mean()), 0.0, units=n)
        assert result.interval is not None
        found += result.interval.low > 0
    assert found / runs == pytest.approx(0.8, abs=0.08)
