"""Rank ranges: counting, the simultaneous factor, and coverage of the true ranks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.stats.bootstrap import replicate_means, resample_counts
from harness.stats.ranks import expanded_factor, rank_ranges, simultaneous_factor


def test_shown_differences_narrow_the_ranges() -> None:
    assert rank_ranges(3, []) == [(1, 3)] * 3
    assert rank_ranges(3, [(0, 1), (0, 2), (1, 2)]) == [(1, 1), (2, 2), (3, 3)]
    assert rank_ranges(4, [(0, 3), (0, 3)]) == [(1, 3), (1, 4), (1, 4), (2, 4)]


@given(st.permutations(range(6)), st.integers(0, 15))
def test_ranges_contain_every_order_that_agrees(order: list[int], kept: int) -> None:
    pairs = [(order[a], order[b]) for a in range(6) for b in range(a + 1, 6)][:kept]
    for place, system in enumerate(order, 1):
        low, high = rank_ranges(6, pairs)[system]
        assert low <= place <= high


def test_the_factor_is_that_of_the_largest_difference() -> None:
    draws = np.random.default_rng(1).normal(size=(100, 2000))
    one, many = simultaneous_factor(draws[:1]), simultaneous_factor(draws)
    assert one == pytest.approx(1.96, abs=0.15)
    # Of 100 independent differences, the largest is below c with probability (2 Phi(c) - 1)^100.
    assert many == pytest.approx(3.48, abs=0.2)
    assert simultaneous_factor([np.ones(2000), draws[0]]) == one  # a pair that never varies
    assert simultaneous_factor([]) == 0.0
    assert simultaneous_factor([[2.0, 2.0]]) == 0.0


def test_few_units_widen_the_factor() -> None:
    assert expanded_factor(1.96, 10**6) == pytest.approx(1.96, abs=0.001)
    assert expanded_factor(1.96, 10) == pytest.approx(math.sqrt(10 / 9) * 2.262, abs=0.01)
    assert expanded_factor(1.96, 1) == math.inf
    assert expanded_factor(40.0, 10) < math.inf


def test_all_true_ranks_are_covered_at_least_as_often_as_stated() -> None:
    """Ten systems on 100 prompts, in 100 runs; two pairs of them are truly equal."""
    truth = np.array([0.0, 0.0, 0.2, 0.3, 0.3, 0.5, 0.6, 0.8, 1.0, 1.4])
    generator = np.random.default_rng(3)
    runs, kept, widths = 100, 0, []
    for run in range(runs):
        shared = generator.normal(size=100)
        values = truth[:, None] + shared + generator.normal(size=(10, 100))
        counts = resample_counts(f"prompts {run}", 100, 300)
        draws = [replicate_means(row, counts) for row in values]
        pairs = [(j, k) for j in range(10) for k in range(j + 1, 10)]
        gaps = [draws[j] - draws[k] for j, k in pairs]
        factor = expanded_factor(simultaneous_factor(gaps), 100)
        above = []
        for (j, k), gap in zip(pairs, gaps, strict=True):
            value = float(values[j].mean() - values[k].mean())
            if abs(value) > factor * gap.std():
                above.append((j, k) if value > 0 else (k, j))
        ranges = rank_ranges(10, above)
        # Equal systems have all of their common ranks.
        best = [1 + int((truth > own).sum()) for own in truth]
        worst = [int((truth >= own).sum()) for own in truth]
        kept += all(
            low <= least and high >= most
            for (low, high), least, most in zip(ranges, best, worst, strict=True)
        )
        widths += [high - low for low, high in ranges]
    assert kept / runs >= 0.9
    assert np.mean(widths) < 5
