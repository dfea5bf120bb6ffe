"""The exact solver: optimality conditions, sparsity, hard cases."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.core.errors import BadData
from harness.suites.alpaca_eval2.l1_logistic import (
    Design,
    cross_entropy,
    expand,
    expand_resampled,
    sigmoid,
    solve,
    third_order_guess,
)


def problem(seed: int, n: int = 200, k: int = 3, scale: float = 1.0) -> Design:
    generator = np.random.default_rng(seed)
    features = generator.normal(scale=scale, size=(n, k))
    labels = generator.uniform(size=n) ** generator.uniform(0.2, 5)
    return Design.of(features, labels, generator.uniform(0.05, 1.0, size=n))


def misfit(design: Design, w: np.ndarray, strength: float) -> float:
    """Largest violation of the optimality conditions of the L1 problem."""
    slope = (sigmoid(design.features @ w) - design.labels) @ design.weighted
    penalty = 1.0 / strength
    used = np.abs(slope + penalty * np.sign(w))
    return float(np.where(w != 0, used, np.maximum(np.abs(slope) - penalty, 0.0)).max())


@settings(deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([1, 2, 3]),
    st.sampled_from([2, 5, 40, 300]),
    st.floats(-4, 4),
    st.sampled_from([0.1, 1.0, 5.0]),
)
def test_solutions_satisfy_the_optimality_conditions(
    seed: int, k: int, n: int, power: float, scale: float
) -> None:
    design = problem(seed, n, k, scale)
    strength = 10.0**power
    found = solve([design], np.array([[strength]]), np.zeros((1, 1, k)))[0, 0]
    size = float(np.abs(design.weighted).sum()) + 1.0 / strength
    assert misfit(design, found, strength) < 1e-7 * size


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(-30, 30))
def test_any_start_ends_at_the_same_optimum(seed: int, start: float) -> None:
    design = problem(seed)
    strength = np.array([[3.0]])
    near = solve([design], strength, np.zeros((1, 1, 3)))
    far = solve([design], strength, np.full((1, 1, 3), start))
    assert far == pytest.approx(near, abs=1e-6)


def test_strong_penalties_give_zeros() -> None:
    found = solve([problem(0)], np.array([[1e-4, 1e-3]]), np.zeros((1, 2, 3)))
    assert not found.any()


@pytest.mark.parametrize("label", [0.0, 0.5, 1.0])
def test_separable_and_constant_labels_converge(label: float) -> None:
    features = np.column_stack([np.zeros(50), np.linspace(-1, 1, 50), np.ones(50)])
    design = Design.of(features, np.full(50, label), np.ones(50))
    found = solve([design], np.array([[1e4]]), np.zeros((1, 1, 3)))[0, 0]
    assert found[0] == 0.0
    assert misfit(design, found, 1e4) < 1e-5
    assert np.sign(found[2]) == np.sign(label - 0.5)


def test_designs_and_strengths_are_independent() -> None:
    designs = [problem(seed) for seed in range(3)]
    strengths = np.tile(np.logspace(-2, 3, 4), (3, 1))
    together = solve(designs, strengths, np.zeros((3, 4, 3)))
    for d, design in enumerate(designs):
        for c in range(4):
            alone = solve([design], strengths[d : d + 1, c : c + 1], np.zeros((1, 1, 3)))
            assert together[d, c] == pytest.approx(alone[0, 0], abs=1e-8)


def test_counts_equal_repeated_rows() -> None:
    design = problem(7, n=60)
    counts = np.random.default_rng(1).integers(0, 3, size=(5, 60)).astype(float)
    strength = np.full((1, 5), 2.0)
    found = solve([design], strength, np.zeros((1, 5, 3)), counts=[counts])[0]
    for row, w in zip(counts.astype(int), found):
        rows = np.repeat(np.arange(60), row)
        repeated = Design.of(design.features[rows], design.labels[rows], design.weights[rows])
        again = solve([repeated], np.array([[2.0]]), np.zeros((1, 1, 3)))[0, 0]
        assert w == pytest.approx(again, abs=1e-8)


def test_third_order_guesses_are_close_and_expansions_agree() -> None:
    design = problem(3, n=1000)
    base = solve([design], np.array([[5.0]]), np.zeros((1, 1, 3)))[0]
    counts = np.random.default_rng(2).multinomial(1000, np.full(1000, 1e-3), size=4).astype(float)
    local = expand_resampled(design, base[0], counts)
    whole = expand(design, base)
    ones = expand_resampled(design, base[0], np.ones((1, 1000)))
    assert ones.third == pytest.approx(whole.third)
    assert ones.hessian == pytest.approx(whole.hessian)
    reach = np.abs(design.features).max(axis=0)
    guess = third_order_guess(local, np.tile(base, (4, 1)), np.full(4, 0.2), reach)
    exact = solve([design], np.full((1, 4), 5.0), guess[None], counts=[counts])[0]
    assert np.abs(guess - exact).max() < 0.1 * np.abs(base - exact).max()


def test_not_a_number_is_reported() -> None:
    features = np.array([[1.0], [np.nan]])
    with pytest.raises(BadData, match="finite"):
        Design.of(features, np.ones(2), np.ones(2))


@given(st.floats(-60, 60), st.floats(0, 1))
def test_cross_entropy_is_the_clipped_loss(z: float, p: float) -> None:
    q = np.clip(1 / (1 + np.exp(-z)), 1e-15, 1 - 1e-15)
    expected = -p * np.log(q) - (1 - p) * np.log(1 - q)
    assert cross_entropy(np.array([z]), np.array([p]))[0] == pytest.approx(
        expected, rel=0.05, abs=1e-9
    )
