"""Agreement statistics against scikit-learn and scipy, and their laws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.stats import agreement as stats
from harness.stats.bootstrap import resample_counts

ROUNDS = 40


def draws(units: int, rounds: int = ROUNDS) -> np.ndarray:
    return stats.with_point(resample_counts("test prompts", units, rounds))


labels = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=60)


@settings(max_examples=60, deadline=None)
@given(labels)
def test_kappas_and_agreement_equal_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    a, b = np.array(pairs).T
    units, counts = np.arange(len(a)), draws(len(a), 2)
    found = stats.tables(a, b, units, counts)
    assert stats.agreement(found)[0] == pytest.approx(np.mean(a == b))
    if len(set(a) | set(b)) == 1:
        assert stats.kappa(found)[0] == stats.quadratic_kappa(a, b, units, counts)[0] == 1.0
        return
    ours = stats.kappa(found)[0], stats.quadratic_kappa(a, b, units, counts)[0]
    scale = range(5)  # without it, scikit-learn weighs the ranks of the labels that occur
    theirs = [
        metrics.cohen_kappa_score(a, b, labels=scale, weights=weights)
        for weights in (None, "quadratic")
    ]
    assert ours == pytest.approx(theirs, abs=1e-12)


def test_a_replicate_is_the_figure_of_the_resample() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    generator = np.random.default_rng(0)
    n, prompts = 120, 40
    units = np.repeat(np.arange(prompts), 3)
    a = generator.integers(0, 4, n)
    b = np.where(generator.random(n) < 0.6, a, generator.integers(0, 4, n))
    counts = draws(prompts, 5)
    found = stats.tables(a, b, units, counts)
    for number in range(1, 6):
        weight = counts[number][units]
        for ours, theirs in (
            (stats.kappa(found)[number], metrics.cohen_kappa_score(a, b, sample_weight=weight)),
            (
                stats.quadratic_kappa(a, b, units, counts)[number],
                metrics.cohen_kappa_score(a, b, sample_weight=weight, weights="quadratic"),
            ),
            (
                stats.pearson(a, b, units, counts)[number],
                np.corrcoef(np.repeat(a, weight.astype(int)), np.repeat(b, weight.astype(int)))[
                    0, 1
                ],
            ),
        ):
            assert ours == pytest.approx(theirs, abs=1e-12)


vectors = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=3, max_size=12).filter(
    lambda pairs: all(len(set(side)) > 1 for side in zip(*pairs, strict=True))
)


@settings(max_examples=60, deadline=None)
@given(vectors)
def test_rank_correlations_equal_scipy_ties_included(pairs: list[tuple[int, int]]) -> None:
    scipy = pytest.importorskip("scipy.stats")
    a, b = np.array(pairs, dtype=float).T
    assert stats.spearman(a, b) == pytest.approx(scipy.spearmanr(a, b)[0], abs=1e-12)
    assert stats.kendall(a, b) == pytest.approx(scipy.kendalltau(a, b)[0], abs=1e-12)
    both = stats.kendall(np.stack([a, b]), np.stack([b, b]))
    assert both == pytest.approx([float(stats.kendall(a, b)), 1.0])


def test_correlations_without_spread_are_undefined() -> None:
    flat, other = np.ones(4), np.arange(4.0)
    assert np.isnan(stats.spearman(flat, other))
    assert np.isnan(stats.kendall(flat, other))
    assert np.isnan(stats.pearson(flat, other, np.arange(4), draws(4))).all()
    assert stats.estimate(stats.pearson(flat, other, np.arange(4), draws(4))).value is None


@pytest.mark.parametrize("systems", [1, 3])
def test_the_length_slope_is_that_of_logistic_regression(systems: int) -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    generator = np.random.default_rng(1)
    n = 300
    group = generator.integers(0, systems, n)
    lengths, others = generator.integers(50, 3000, (2, n))
    gaps = stats.standard_gaps(lengths, others)
    wins = (generator.random(n) < 1 / (1 + np.exp(-(group - 1 + 0.9 * gaps)))).astype(float)
    slopes = stats.length_slopes(wins, gaps, np.arange(n), draws(n, 3), group)
    # The prior's drawn rows: half a win and half a loss at either end, for every system.
    ends = np.tile([-1.0, 1.0, -1.0, 1.0], systems)
    own = np.concatenate([group, np.repeat(np.arange(systems), 4)])
    features = np.column_stack([np.eye(systems)[own], np.concatenate([gaps, ends])])
    labels_ = np.concatenate([wins, np.tile([0.0, 0.0, 1.0, 1.0], systems)])
    for number, counts in enumerate(draws(n, 3)):
        weights = np.concatenate([counts, np.full(4 * systems, stats.PRIOR / 2)])
        fit = linear.LogisticRegression(C=1e12, fit_intercept=False, tol=1e-10, max_iter=5000)
        fit.fit(features, labels_, weights)
        assert slopes[number] == pytest.approx(fit.coef_[0, -1], abs=1e-4)


def test_the_length_slope_finds_what_was_put_in_and_stays_finite() -> None:
    generator = np.random.default_rng(2)
    n = 4000
    gaps = stats.standard_gaps(generator.normal(size=n), np.zeros(n))
    chance = 1 / (1 + np.exp(-(0.3 + 1.5 * gaps)))
    slopes = stats.length_slopes(chance, gaps, np.arange(n), draws(n))
    found = stats.estimate(slopes)
    assert found.value == pytest.approx(1.5, abs=0.01)
    separated = stats.length_slopes((gaps > 0).astype(float), gaps, np.arange(n), draws(n, 3))
    assert np.isfinite(separated).all()
    assert separated[0] > 5
    equal = stats.length_slopes(chance, np.zeros(n), np.arange(n), draws(n, 3))
    assert np.isnan(equal).all()


def test_equal_and_missing_lengths() -> None:
    assert stats.standard_gaps([5, 5], [5, 5]).tolist() == [0.0, 0.0]
    assert np.isnan(stats.standard_gaps([np.nan, 4, 9], [1, 1, 1])).tolist() == [True, False, False]


@settings(max_examples=40, deadline=None)
@given(labels, st.randoms(use_true_random=False))
def test_laws(pairs: list[tuple[int, int]], random) -> None:
    a, b = np.array(pairs).T
    units, counts = np.arange(len(a)), draws(len(a))

    def figures(x: np.ndarray, y: np.ndarray, of: np.ndarray) -> list[stats.Estimate]:
        found = stats.tables(x, y, of, counts)
        return [
            stats.estimate(values)
            for values in (
                stats.agreement(found),
                stats.kappa(found),
                stats.quadratic_kappa(x, y, of, counts),
                stats.pearson(x, y, of, counts),
            )
        ]

    same = figures(a, a, units)
    assert [f.value for f in same[:3]] == pytest.approx([1.0, 1.0, 1.0])
    assert all(f.interval.low == pytest.approx(1.0) for f in same[:3] if f.interval)
    straight, swapped = figures(a, b, units), figures(b, a, units)
    order = random.sample(range(len(a)), len(a))
    shuffled = figures(a[order], b[order], units[order])
    for one, two, three in zip(straight, swapped, shuffled, strict=True):
        if one.value is None:
            assert two.value is None
            continue
        assert one.interval is not None
        assert two.interval is not None
        assert three.interval is not None
        assert one.interval.low <= one.value <= one.interval.high
        for other in (two, three):
            assert one.value == pytest.approx(other.value, abs=1e-9)
            assert one.interval.low == pytest.approx(other.interval.low, abs=1e-9)  # type: ignore[union-attr]
            assert one.interval.high == pytest.approx(other.interval.high, abs=1e-9)  # type: ignore[union-attr]


def test_missing_values_count_for_nothing() -> None:
    found = stats.means([1.0, np.nan, 0.0, 1.0], np.array([0, 0, 1, 2]), draws(3))
    assert found[0] == pytest.approx(2 / 3)
    assert stats.estimate(stats.means([np.nan], np.array([0]), draws(1))).value is None
