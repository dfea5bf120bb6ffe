"""Shared resamples, intervals that contain their point, paired differences, nested seeds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from harness.core.errors import BadData
from harness.stats.bootstrap import (
    cluster_counts,
    combine_seeds,
    paired_difference,
    percentile_interval,
    replicate_means,
    resample_counts,
)

VALUES = arrays(np.float64, st.integers(2, 40), elements=st.floats(-1e3, 1e3))


def test_counts_depend_on_the_prompt_set_alone() -> None:
    first = resample_counts("set", 20, 50)
    resample_counts.cache_clear()
    assert np.array_equal(first, resample_counts("set", 20, 50))
    assert not np.array_equal(first, resample_counts("other", 20, 50))
    assert first.dtype == np.int32
    assert (first.sum(axis=1) == 20).all()
    with pytest.raises(ValueError, match="read-only"):
        first[0, 0] = 3


def test_counts_are_multinomial() -> None:
    counts = resample_counts("large", 50, 4000)
    assert counts.mean(axis=0) == pytest.approx(np.ones(50), abs=0.1)
    assert counts.var() == pytest.approx(1 - 1 / 50, abs=0.03)


@pytest.mark.parametrize(("n", "rounds"), [(0, 10), (3, 0)])
def test_nothing_to_resample_is_refused(n: int, rounds: int) -> None:
    with pytest.raises(BadData, match="at least 1"):
        resample_counts("set", n, rounds)


@given(VALUES, st.floats(0.05, 0.99))
def test_every_interval_contains_its_point(values: np.ndarray, level: float) -> None:
    replicates = replicate_means(values, resample_counts("set", len(values), 40))
    point = float(values.mean())
    interval = percentile_interval(replicates, level, point=point)
    assert interval.low <= point <= interval.high


@given(VALUES, st.randoms(use_true_random=False))
def test_permuting_prompts_with_their_draws_changes_nothing(values: np.ndarray, random) -> None:
    counts = resample_counts("set", len(values), 30)
    order = list(range(len(values)))
    random.shuffle(order)
    moved = replicate_means(values[order], counts[:, order])
    assert moved == pytest.approx(replicate_means(values, counts), rel=1e-9, abs=1e-7)


def test_equal_values_give_a_zero_width_interval() -> None:
    replicates = replicate_means(np.full(9, 0.1), resample_counts("set", 9, 20))
    assert set(replicates.tolist()) == {0.1}


def test_standard_error_of_a_mean() -> None:
    values = np.random.default_rng(0).normal(size=400)
    replicates = replicate_means(values, resample_counts("set", 400, 2000))
    assert replicates.std() == pytest.approx(values.std() / 20, rel=0.06)


def test_missing_values_leave_sum_and_count() -> None:
    values = np.array([1.0, np.nan, 3.0])
    counts = np.array([[1, 1, 1], [3, 0, 0], [0, 3, 0]], dtype=np.int32)
    assert replicate_means(values, counts).tolist() == [2.0, 1.0, 2.0]
    with pytest.raises(BadData, match="every judgment failed"):
        replicate_means(np.full(3, np.nan), counts)
    with pytest.raises(BadData, match="expected"):
        replicate_means(np.ones(4), counts)


def test_clusters_are_drawn_whole() -> None:
    counts = cluster_counts("set", ["a", "a", "b", "c", "b"], 100)
    assert (counts[:, 0] == counts[:, 1]).all()
    assert (counts[:, 2] == counts[:, 4]).all()
    assert (counts[:, [0, 2, 3]].sum(axis=1) == 3).all()
    assert np.array_equal(cluster_counts("set", list("abc"), 100), resample_counts("set", 3, 100))


def test_clusters_of_equal_rows_are_wider_than_single_rows() -> None:
    values = np.repeat(np.random.default_rng(1).normal(size=50), 2)
    single = replicate_means(values, resample_counts("set", 100, 2000)).std()
    whole = replicate_means(values, cluster_counts("set", np.arange(100) // 2, 2000)).std()
    assert whole / single == pytest.approx(2**0.5, rel=0.1)


@given(VALUES, st.floats(-5, 5))
def test_paired_difference_laws(values: np.ndarray, gap: float) -> None:
    counts = resample_counts("set", len(values), 50)
    a, b = replicate_means(values, counts), replicate_means(values - gap, counts)
    found = paired_difference(a, b, float(values.mean()), float((values - gap).mean()))
    # A constant gap has no sampling error, however noisy the scores are.
    assert found.interval.low == pytest.approx(gap, abs=1e-6)
    assert found.interval.high == pytest.approx(gap, abs=1e-6)
    back = paired_difference(b, a, float((values - gap).mean()), float(values.mean()))
    assert back.difference == -found.difference
    assert back.interval.low == pytest.approx(-found.interval.high, abs=1e-9)
    assert back.share_above == pytest.approx(1 - found.share_above)
    assert 0 < found.p_value <= 1


def test_paired_difference_needs_shared_rounds() -> None:
    with pytest.raises(BadData, match="expected equally many"):
        paired_difference([1.0, 2.0], [1.0], 1.0, 1.0)


def test_seeds_share_draws_between_systems() -> None:
    table = np.random.default_rng(2).normal(size=(3, 200))
    assert np.array_equal(combine_seeds(table, "x") + 1, combine_seeds(table + 1, "x")) or (
        combine_seeds(table, "x") + 1 == pytest.approx(combine_seeds(table + 1, "x"))
    )
    one = combine_seeds(table[:1], "x")
    assert one == pytest.approx(table[0])


def test_seeds_widen_the_interval() -> None:
    prompts = np.random.default_rng(3).normal(scale=0.1, size=1000)
    runs = np.array([[-1.0], [0.0], [1.0]])
    nested = combine_seeds(prompts + runs, "x")
    assert nested.std() == pytest.approx((0.01 + 2 / 3 / 3) ** 0.5, rel=0.1)


@pytest.mark.parametrize("replicates", [[], [1.0, float("nan")]])
def test_no_interval_without_replicates(replicates: list[float]) -> None:
    with pytest.raises(BadData, match="finite replicates"):
        percentile_interval(replicates)
    with pytest.raises(BadData, match="level"):
        percentile_interval([1.0], 95.0)
