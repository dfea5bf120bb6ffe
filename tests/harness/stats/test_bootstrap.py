"""Shared resamples, intervals that contain their point, paired differences, seeds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from harness.core.errors import BadData
from harness.stats.bootstrap import (
    cluster_counts,
    expanded_tail,
    paired_difference,
    percentile_interval,
    replicate_means,
    resample_counts,
    seeds_interval,
    student,
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


def test_few_units_take_expanded_quantiles() -> None:
    """Hesterberg 2015: Phi(-sqrt(n / (n - 1)) t) in place of alpha / 2."""
    assert expanded_tail(0.95, 20) == pytest.approx(0.015881, abs=1e-6)
    assert expanded_tail(0.95, 10**7) == pytest.approx(0.025, abs=1e-6)
    replicates = np.random.default_rng(4).normal(size=4000)
    plain, few = percentile_interval(replicates), percentile_interval(replicates, units=20)
    assert few.low == pytest.approx(np.quantile(replicates, 0.015881), abs=1e-5)
    assert few.low < plain.low < plain.high < few.high


def test_very_few_units_contain_the_t_interval() -> None:
    values = np.array([1.0, 2.0, 4.0])
    replicates = replicate_means(values, resample_counts("set", 3, 1000))
    found = percentile_interval(replicates, units=3, point=values.mean())
    half = student(2, 0.95) * values.std(ddof=1) / 3**0.5
    assert found.high - values.mean() == pytest.approx(half, rel=0.05)


def test_one_unit_has_no_interval() -> None:
    assert percentile_interval(np.full(10, 100.0), units=1, span=(0, 100)) is None
    found = paired_difference(np.full(10, 100.0), np.zeros(10), 100, 0, units=1)
    assert (found.difference, found.interval, found.p_value) == (100, None, None)


@pytest.mark.parametrize(("value", "low", "high"), [(100, 86.09, 100), (0, 0, 13.91)])
def test_equal_units_leave_room_for_others(value: float, low: float, high: float) -> None:
    """20 of 20 won: at most 1 - 0.05^(1/20) of such prompts are lost, the rule of three."""
    found = percentile_interval(np.full(10, float(value)), units=20, span=(0.0, 100.0))
    assert (found.low, found.high) == (pytest.approx(low, abs=0.01), pytest.approx(high, abs=0.01))


def test_two_prompts_decide_nothing() -> None:
    found = paired_difference(np.full(99, 100.0), np.zeros(99), 100, 0, units=2, span=(0, 100))
    assert found.interval.low < 0 < found.interval.high
    assert found.p_value == pytest.approx(0.25, abs=1e-4)


def test_seeds_add_a_t_interval_in_quadrature() -> None:
    prompts = np.random.default_rng(3).normal(scale=0.1, size=1000)
    values = np.array([-1.0, 0.0, 1.0])
    found = seeds_interval(values, values[:, None] + prompts)
    over_prompts = percentile_interval(prompts, point=0.0)
    seeds = student(2, 0.95) / 3**0.5
    assert found.high == pytest.approx(np.hypot(over_prompts.high, seeds))
    assert found.low == pytest.approx(-np.hypot(over_prompts.low, seeds))
    alone = seeds_interval([0.5], [prompts + 0.5])
    assert alone == percentile_interval(prompts + 0.5, point=0.5)
    with pytest.raises(BadData, match="seeds, rounds"):
        seeds_interval([0.5, 1.0], [prompts])


def test_seeds_of_a_difference() -> None:
    """Equal seeds are paired, so that a common effect cancels; others add both systems' spread."""
    rounds = np.zeros(100)
    a, b = np.array([1.0, 2.0, 3.0]), np.array([0.9, 2.1, 3.0])
    paired = paired_difference(rounds, rounds, 2.0, 2.0, seeds=(a - b,))
    apart = paired_difference(rounds, rounds, 2.0, 2.0, seeds=(a, b))
    assert paired.interval.high == pytest.approx(student(2, 0.95) * 0.1 / 3**0.5)
    halves = [student(2, 0.95) * each.std(ddof=1) / 3**0.5 for each in (a, b)]
    assert apart.interval.high == pytest.approx(np.hypot(*halves))


@given(VALUES, st.floats(-3, 3), st.floats(0.5, 0.99), st.integers(0, 3))
def test_the_p_value_is_the_level_at_which_the_interval_excludes_zero(
    values: np.ndarray, shift: float, level: float, seeds: int
) -> None:
    counts = resample_counts("set", len(values), 40)
    replicates, point = replicate_means(values, counts) + shift, float(values.mean()) + shift
    groups = (np.linspace(point - 1, point + 1, seeds),) if seeds > 1 else ()
    found = paired_difference(
        replicates, np.zeros(40), point, 0, level=level, units=len(values), seeds=groups
    )
    excludes = found.interval.low > 0 or found.interval.high < 0
    if abs(found.p_value - (1 - level)) > 1e-5 and level < 1 - 2 / 41:
        assert excludes == (found.p_value < 1 - level)


@pytest.mark.parametrize("replicates", [[], [1.0, float("nan")]])
def test_no_interval_without_replicates(replicates: list[float]) -> None:
    with pytest.raises(BadData, match="finite replicates"):
        percentile_interval(replicates)
    with pytest.raises(BadData, match="level"):
        percentile_interval([1.0], 95.0)
