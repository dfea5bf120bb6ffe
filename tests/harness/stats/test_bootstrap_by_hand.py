"""Draws, means, ends and p-values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as scipy_stats

from harness.core.errors import BadData
from harness.stats.bootstrap import (
    cluster_counts,
    contrast,
    paired_difference,
    percentile_interval,
    replicate_means,
    resample_counts,
    seeds_interval,
)


def test_draws_are_those_of_past_releases() -> None:
    """Stored replicates are recomputed from their rows with these draws."""
    assert resample_counts("golden", 5, 3).tolist() == [
        [1, 1, 0, 1, 2], [2, 0, 2, 1, 0], [3, 0, 1, 1, 0]
    ]  # fmt: skip
    assert resample_counts("golden", 5, 4)[0].tolist() == [2, 2, 0, 1, 0]
    assert resample_counts("golden", 6, 3)[0].tolist() == [0, 1, 0, 1, 3, 1]
    assert resample_counts("golden", 2).shape == (1000, 2)
    assert cluster_counts("golden", [7, 7]).shape == (1000, 2)
    assert resample_counts("golden", 1, 1).tolist() == [[1]]


def test_clusters_are_numbered_as_they_appear() -> None:
    drawn = resample_counts("golden", 3, 9)
    found = cluster_counts("golden", ["z", "a", "z", "m"], 9)
    assert found.tolist() == drawn[:, [0, 1, 0, 2]].tolist()


def test_means_are_of_the_drawn_values_whatever_their_type() -> None:
    counts = np.array([[2, 0, 1], [0, 3, 0]], dtype=np.int32)
    assert replicate_means([True, False, True], counts).tolist() == [1.0, 0.0]
    assert replicate_means([6, 1, None], counts).tolist() == [6.0, 1.0]
    for values, drawn in (([[1.0, 2.0, 3.0]], counts), ([1.0, 2.0], counts), ([1.0], counts[0])):
        with pytest.raises(BadData, match=r"expected \(n,\), \(rounds, n\)"):
            replicate_means(values, drawn)


@pytest.mark.parametrize("level", [0.0, 1.0, -0.5, 95.0])
def test_a_level_is_between_nothing_and_everything(level: float) -> None:
    with pytest.raises(BadData, match="expected a value between 0 and 1"):
        percentile_interval([1.0, 2.0], level)


def test_few_units_without_a_point_take_the_mean_of_the_replicates() -> None:
    """Replicates 0 and 3, mean 1.5 and deviation 1.5; of five units Student's t has 4 degrees."""
    found = percentile_interval([0.0, 3.0] * 200, 0.99, units=5)
    half = scipy_stats.t.ppf(0.995, 4) * 1.5 * np.sqrt(5 / 4)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((1.5 - half, 1.5 + half))


def test_one_seed_adds_nothing_and_two_add_theirs() -> None:
    draws = np.linspace(-1, 1, 201)
    one = paired_difference(draws, 0 * draws, 0.0, 0.0, seeds=([4.0],)).interval
    assert one is not None
    assert (one.low, one.high) == pytest.approx((-0.95, 0.95))
    two = paired_difference(draws, 0 * draws, 0.0, 0.0, seeds=([4.0], [1, 3])).interval
    assert two is not None
    assert two.high == pytest.approx(np.hypot(0.95, scipy_stats.t.ppf(0.975, 1)))


@pytest.mark.parametrize(
    ("gaps", "share", "p"),
    [
        ([-1.0, 1.0] * 50, 0.5, 1.0),
        ([0.0, 0.0, 1.0, 1.0], 0.75, 2 / 3),  # an interval that ends at 0 does not exclude it
        ([0.0, 0.0, -1.0, -1.0], 0.25, 2 / 3),
        ([2.0, 3.0, 4.0], 1.0, 2 / 4),
        ([5.0], 1.0, 1.0),  # a single resample says nothing
        ([0.0], 0.5, 1.0),
        (np.linspace(-1, 9, 1001), 0.9, 0.2),
        (np.linspace(-9, 1, 1001), 0.1, 0.2),
    ],
)
def test_p_values_are_twice_the_share_beyond_zero(
    gaps: list[float], share: float, p: float
) -> None:
    row = np.asarray(gaps)
    found = paired_difference(row, 0 * row, float(row.mean()), 0.0)
    assert found.share_above == pytest.approx(share, abs=1e-3)
    assert found.p_value == pytest.approx(p, abs=2e-6)
    assert (found.p_value == 1.0) is (p == 1.0)


def test_a_p_value_takes_the_point_and_the_seeds_into_account() -> None:
    ones = np.ones(99)
    assert paired_difference(ones, 0 * ones, 0.0, 0.0).p_value == 1.0
    # 1 +- t s / sqrt 2 with s = sqrt 0.08 contains 0 up to the level of t = 5.
    found = paired_difference(ones, 0 * ones, 1.0, 0.0, seeds=([0.8, 1.2],))
    assert found.p_value == pytest.approx(2 * scipy_stats.t.sf(5, 1), abs=2e-6)


def test_a_contrast_weighs_its_scores() -> None:
    rows = [[1, 2, 3], [10, 20, 30], [5, 5, 5]]
    found = contrast(rows, (1.0, -0.5, -0.5), -6.5)
    assert found.difference == -6.5
    gaps = np.array([-6.5, -10.5, -14.5])
    assert found.standard_error == pytest.approx(gaps.std(ddof=1))
    assert found.interval is not None
    assert found.interval.low == pytest.approx(np.quantile(gaps, 0.025))
    assert found.interval.kind == "paired bootstrap over prompts"
    with pytest.raises(ValueError, match="zip"):
        contrast(rows, (1.0, -1.0), 0.0)


def test_a_certain_contrast_is_bounded_by_what_its_scores_could_be() -> None:
    """Weights -2 and 1 within [10, 20]: from -2 x 20 + 10 to -2 x 10 + 20."""
    rows = [np.full(9, 12.0), np.full(9, 19.0)]
    found = contrast(rows, (-2.0, 1.0), -5.0, units=20, span=(10.0, 20.0)).interval
    other = 1 - 0.05 ** (1 / 20)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((-5 - other * 25, -5 + other * 5))


def test_replicates_that_do_not_pair_are_refused() -> None:
    for rows in ([[], []], [[1.0, 2.0], [[1.0, 2.0]]]):
        with pytest.raises(BadData, match="expected equally many, not 0"):
            paired_difference(*rows, 0.0, 0.0)
    for values, table in (([1.0, 2.0], [[1.0]]), ([[1.0]], [[1.0]]), ([1.0], [1.0]), ([], [])):
        with pytest.raises(BadData, match=r"expected \(seeds,\) and \(seeds, rounds\)"):
            seeds_interval(values, table)


def test_what_cannot_be_an_interval_says_what_was_found() -> None:
    with pytest.raises(BadData, match="replicates: none; expected"):
        percentile_interval([])
    with pytest.raises(BadData, match="replicates: NaN among 2; expected"):
        percentile_interval([1.0, np.nan])
