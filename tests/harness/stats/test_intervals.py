"""Intervals against closed forms, and their coverage in simulated samples.

An interval that is labelled with another level than it has is wrong in every test of this file.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as scipy_stats

from harness.stats.agreement import estimate
from harness.stats.bootstrap import (
    paired_difference,
    percentile_interval,
    replicate_means,
    resample_counts,
    seeds_interval,
)

LEVELS = [0.5, 0.8, 0.9, 0.95, 0.99]
LINE = np.random.default_rng(0).permutation(10_001).astype(float)  # quantile q is 10,000 q


def ends(interval: object) -> tuple[float, float]:
    return interval.low, interval.high  # type: ignore[attr-defined]


@pytest.mark.parametrize("level", LEVELS)
def test_plain_quantiles_leave_half_of_the_rest_on_each_side(level: float) -> None:
    found = percentile_interval(LINE, level, kind="of a test")
    assert ends(found) == pytest.approx((5000 * (1 - level), 5000 * (1 + level)), abs=1e-6)
    assert (found.level, found.kind) == (level, "of a test")
    between = percentile_interval([0.0, 1.0, 10.0], level)  # quantiles between two replicates
    assert ends(between) == pytest.approx(
        np.quantile([0.0, 1.0, 10.0], [(1 - level) / 2, (1 + level) / 2])
    )


def test_a_level_left_out_is_95_per_cent() -> None:
    assert ends(percentile_interval(LINE)) == pytest.approx((250, 9750))
    assert ends(seeds_interval([5000.0], [LINE])) == pytest.approx((250, 9750))
    assert ends(paired_difference(LINE, 0 * LINE, 5000, 0).interval) == pytest.approx((250, 9750))
    assert ends(estimate([5000.0, *LINE]).interval) == pytest.approx((250, 9750))
    assert percentile_interval(LINE).level == 0.95


@pytest.mark.parametrize("units", [8, 20, 300])
@pytest.mark.parametrize("level", LEVELS)
def test_the_quantiles_of_known_units_are_hesterbergs(level: float, units: int) -> None:
    t = scipy_stats.t.ppf((1 + level) / 2, units - 1)
    tail = scipy_stats.norm.cdf(-np.sqrt(units / (units - 1)) * t)
    expected = pytest.approx((10_000 * tail, 10_000 * (1 - tail)), abs=1e-3)
    assert ends(percentile_interval(LINE, level, units=units)) == expected
    assert ends(estimate([5000.0, *LINE], level, units=units).interval) == expected
    found = paired_difference(LINE, 0 * LINE, 5000, 0, level=level, units=units).interval
    assert ends(found) == expected
    assert found.level == level


@pytest.mark.parametrize("level", LEVELS)
def test_below_eight_units_the_t_interval_decides(level: float) -> None:
    """Replicates -1 and 1: no quantile reaches farther, their standard deviation is 1."""
    two = np.tile([-1.0, 1.0], 500)
    assert ends(percentile_interval(two, level, units=8)) == (-1, 1)
    half = scipy_stats.t.ppf((1 + level) / 2, 6) * np.sqrt(7 / 6)
    expected = (min(-1, -half), max(1, half))
    assert ends(percentile_interval(two, level, units=7)) == pytest.approx(expected)
    moved = percentile_interval(two, level, units=7, point=0.5)
    assert ends(moved) == pytest.approx((min(-1, 0.5 - half), max(1, 0.5 + half)))
    within = percentile_interval(two, level, units=7, span=(-1.5, 1.25))
    assert ends(within) == pytest.approx((max(-1.5, expected[0]), min(1.25, expected[1])))


@pytest.mark.parametrize("level", LEVELS)
def test_units_that_are_all_equal_leave_room_for_the_share_that_may_be_missing(
    level: float,
) -> None:
    other = 1 - (1 - level) ** (1 / 20)
    won = percentile_interval(np.full(9, 100.0), level, units=20, span=(0.0, 100.0))
    assert ends(won) == pytest.approx((100 - 100 * other, 100))
    lost = percentile_interval(np.full(9, 0.0), level, units=20, span=(0.0, 100.0))
    assert ends(lost) == pytest.approx((0, 100 * other))
    inside = percentile_interval(np.full(9, 30.0), level, units=20, span=(0.0, 100.0))
    assert ends(inside) == (30, 30)
    ten = np.full(9, 10.0)
    gap = paired_difference(ten, 0 * ten, 10, 0, level=level, units=20, span=(0.0, 100.0))
    assert ends(gap.interval) == pytest.approx((10 - 110 * other, 10 + 90 * other))
    same = paired_difference(ten, ten, 10, 10, level=level, units=20, span=(0.0, 100.0))
    assert ends(same.interval) == (0, 0)


@pytest.mark.parametrize("level", LEVELS)
def test_seeds_add_students_t_in_quadrature_on_each_side(level: float) -> None:
    values = np.array([4990.0, 5000.0, 5040.0, 5010.0])
    error = values.std(ddof=1) / 2
    half = scipy_stats.t.ppf((1 + level) / 2, 3) * error
    table = np.tile(LINE, (4, 1))
    below, above = 5010 - 5000 * (1 - level), 5000 * (1 + level) - 5010
    expected = (5010 - np.hypot(below, half), 5010 + np.hypot(above, half))
    found = seeds_interval(values, table, level)
    assert ends(found) == pytest.approx(expected, abs=1e-6)
    assert found.level == level
    apart = paired_difference(
        LINE, 0 * LINE, 5010, 0, level=level, seeds=(values, np.array([1.0, 7.0]))
    )
    other = scipy_stats.t.ppf((1 + level) / 2, 1) * 3
    assert apart.interval.high == pytest.approx(5010 + np.sqrt(above**2 + half**2 + other**2))


@pytest.mark.parametrize("level", LEVELS)
def test_the_interval_of_a_mean_is_that_of_students_t(level: float) -> None:
    values = np.random.default_rng(1).normal(10, 3, size=200)
    replicates = replicate_means(values, resample_counts("a mean", 200, 10_000))
    found = percentile_interval(replicates, level, point=values.mean(), units=200)
    half = scipy_stats.t.ppf((1 + level) / 2, 199) * values.std(ddof=1) / np.sqrt(200)
    assert ends(found) == pytest.approx(
        (values.mean() - half, values.mean() + half), abs=0.05 * half
    )


def test_a_difference_says_its_error_its_share_and_its_p_value() -> None:
    gaps = np.linspace(-1, 3, 4001)  # a quarter below 0
    found = paired_difference(gaps + 7, np.full(4001, 7.0), 8, 7)
    assert found.difference == 1
    assert found.standard_error == pytest.approx(gaps.std(ddof=1))
    assert found.share_above == pytest.approx(3000.5 / 4001, abs=2e-4)
    assert found.p_value == pytest.approx(0.5, abs=1e-3)
    back = paired_difference(np.full(4001, 7.0), gaps + 7, 7, 8)
    assert back.p_value == pytest.approx(found.p_value, abs=1e-5)
    assert back.share_above == pytest.approx(1 - found.share_above, abs=2e-4)
    sure = paired_difference(gaps + 5, 0 * gaps, 6, 0)
    assert sure.p_value == pytest.approx(2 / 4002)
    assert (sure.share_above, sure.rounds) == (1.0, 4001)
    assert paired_difference([1.0], [0.0], 1, 0).standard_error == 0


TRIALS, ROUNDS = 1000, 500


@pytest.mark.parametrize("units", [5, 30])
def test_intervals_of_means_cover_as_often_as_they_say(units: int) -> None:
    """A thousand samples of a normal distribution whose mean is known."""
    generator = np.random.default_rng(units)
    counts = resample_counts("coverage", units, ROUNDS)
    covered = dict.fromkeys((0.8, 0.95), 0)
    for _ in range(TRIALS):
        values = generator.normal(0.3, 1, units)
        replicates = replicate_means(values, counts)
        for level in covered:
            found = percentile_interval(replicates, level, point=values.mean(), units=units)
            covered[level] += found.low <= 0.3 <= found.high
    shares = {level: count / TRIALS for level, count in covered.items()}
    assert 0.77 < shares[0.8] < 0.85
    assert 0.93 < shares[0.95] < 0.98


def test_intervals_of_paired_differences_over_seeds_cover_as_often_as_they_say() -> None:
    """Two systems answer the same prompts; each seed moves a whole system."""
    generator = np.random.default_rng(3)
    counts = resample_counts("coverage", 30, ROUNDS)
    covered, wrong = 0, 0
    for _ in range(TRIALS):
        prompts = generator.normal(0, 5, 30)  # common, so that they cancel
        moves = generator.normal(0, 0.5, (2, 3, 1))
        scores = prompts + moves + generator.normal(0, 1, (2, 3, 30))
        means = scores.mean(axis=2)
        replicates = [replicate_means(system.mean(axis=0), counts) for system in scores]
        found = paired_difference(
            *replicates, *means.mean(axis=1), units=30, seeds=(means[0] - means[1],)
        )
        covered += found.interval.low <= 0 <= found.interval.high
        wrong += found.p_value < 0.05
    assert 0.94 < covered / TRIALS <= 0.99  # a little too wide, as the module says
    assert wrong == TRIALS - covered
