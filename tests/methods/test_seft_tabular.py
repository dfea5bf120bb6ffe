"""The laws of self-evolution (section 3.6 of the method's derivation) on tabular worlds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from harness.core.errors import BadData
from methods.seft.tabular import accepted_kernel, evolve, expected_rewards, is_improving
from tests.golden_vectors import vectors

Floats = NDArray[np.float64]
seeds, steps = st.integers(0, 10_000), st.floats(0.05, 1.0)


def world(seed: int, *, improving: bool) -> tuple[Floats, Floats, Floats]:
    """Policy, kernel and rewards of two to six answers; an improving kernel moves mass upward."""
    rng = np.random.default_rng(seed)
    size = int(rng.integers(2, 7))
    rewards = np.sort(rng.normal(size=size))
    kernel = rng.dirichlet(np.ones(size), size=size)
    if improving:
        kernel = np.triu(kernel)
        kernel /= kernel.sum(axis=1, keepdims=True)
    return rng.dirichlet(np.ones(size)), kernel, rewards


def test_golden_evolution(golden: Callable[[str], Path]) -> None:
    for case in vectors(golden("seft/tabular_evolution.json"))["cases"]:
        expected, kernel = np.array(case["policies"]), np.array(case["reviser_kernel"])
        rewards = np.array(case["rewards"])
        found = evolve(expected[0], kernel, len(expected) - 1, step=case["step"])
        np.testing.assert_allclose(found, expected, atol=1e-12)
        np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-9)
        values = expected_rewards(found, rewards)
        np.testing.assert_allclose(values, case["expected_reward"], atol=1e-9)
        assert is_improving(kernel, rewards) == case["reviser_is_improving"]


@given(seeds, steps)
def test_an_improving_reviser_never_lowers_the_expected_reward(seed: int, step: float) -> None:
    policy, kernel, rewards = world(seed, improving=True)
    assert is_improving(kernel, rewards)
    values = expected_rewards(evolve(policy, kernel, 4, step=step), rewards)
    assert (np.diff(values) >= -1e-12).all()
    gains = kernel @ rewards - rewards
    assert values[1] - values[0] == pytest.approx(step * policy @ gains, abs=1e-12)


def test_improvement_on_average_over_other_answers_is_not_enough() -> None:
    """Law 2 asks for every answer: this kernel gains 0.5 on average over answers drawn evenly."""
    rewards, kernel = np.array([0.0, 1.0]), np.array([[0.0, 1.0], [0.5, 0.5]])
    assert np.mean(kernel @ rewards - rewards) > 0
    assert not is_improving(kernel, rewards)
    values = expected_rewards(evolve(np.array([0.1, 0.9]), kernel, 1), rewards)
    assert values[1] < values[0]


@given(seeds, st.floats(0, 0.5))
def test_a_round_fitted_with_an_error_loses_at_most_range_times_error(
    seed: int, error: float
) -> None:
    """Law 3, over three rounds, with total variation `error` in each."""
    policy, kernel, rewards = world(seed, improving=True)
    rng, span = np.random.default_rng(seed), float(np.ptp(rewards))
    current = policy
    for _ in range(3):
        fitted = evolve(current, kernel, 1)[1]
        wrong = rng.dirichlet(np.ones(len(rewards)))
        moved = (1 - error) * fitted + error * wrong
        distance = 0.5 * np.abs(moved - fitted).sum()
        assert moved @ rewards >= fitted @ rewards - span * distance - 1e-12
        current = moved
    assert current @ rewards >= policy @ rewards - 3 * span * error - 1e-9


@given(seeds, steps)
def test_the_identity_reviser_changes_nothing(seed: int, step: float) -> None:
    """Law 4, and the expected gradient of fine-tuning on own samples, which is zero."""
    policy, _, _ = world(seed, improving=True)
    policies = evolve(policy, np.eye(len(policy)), 5, step=step)
    np.testing.assert_allclose(policies, policies[:1].repeat(6, axis=0), atol=1e-12)
    gradient = sum(p * (np.eye(len(policy))[y] - policy) for y, p in enumerate(policy))
    np.testing.assert_allclose(gradient, 0, atol=1e-12)


@given(seeds)
def test_the_always_best_reviser_is_fine_tuning_on_the_best_answer(seed: int) -> None:
    policy, _, rewards = world(seed, improving=True)
    kernel = np.zeros((len(policy), len(policy)))
    kernel[:, rewards.argmax()] = 1
    policies = evolve(policy, kernel, 2)
    np.testing.assert_allclose(policies[1], np.arange(len(policy)) == rewards.argmax(), atol=1e-12)
    assert expected_rewards(policies, rewards)[1:] == pytest.approx([rewards.max()] * 2)


@given(seeds)
def test_the_policy_reaches_the_absorbing_answers_at_the_stated_speed(seed: int) -> None:
    """Law 6: mass outside shrinks at least by 1 - a per round."""
    policy, kernel, _ = world(seed, improving=True)
    reach = kernel[:-1, -1]
    assume(reach.min() > 1e-3)
    policies = evolve(policy, kernel, 6)
    outside = 1 - policies[:, -1]
    bound = outside[0] * (1 - reach.min()) ** np.arange(7)
    assert (outside <= bound + 1e-12).all()


@given(seeds, st.floats(0, 1))
def test_a_gate_makes_any_reviser_improving(seed: int, gain: float) -> None:
    _, kernel, rewards = world(seed, improving=False)
    for drop in (False, True):
        gated = accepted_kernel(kernel, rewards, gain, drop=drop)
        np.testing.assert_allclose(gated.sum(axis=1), 1, atol=1e-9)
        assert is_improving(gated, rewards)
    kept, dropped = (
        accepted_kernel(kernel, rewards, gain, drop=drop) @ rewards for drop in (False, True)
    )
    assert (dropped >= kept - 1e-12).all()  # law 8, for every source


def test_dropping_rejected_rows_can_lose_the_good_sources() -> None:
    """Law 8 holds per source only: over a mixture, good answers are rejected most and vanish."""
    rewards, policy = np.array([0.0, 1.0, 10.0]), np.array([0.5, 0.0, 0.5])
    kernel = np.array([[0.0, 1.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    on_source = policy @ accepted_kernel(kernel, rewards, 0.0, drop=False) @ rewards
    accepted = policy[0] * kernel[0]  # the revision of the third answer is rejected
    dropped = accepted @ rewards / accepted.sum()
    assert (on_source, dropped) == (5.5, 1.0)


@pytest.mark.parametrize(
    ("policy", "kernel", "step"),
    [
        ([0.5, 0.6], np.eye(2), 1.0),
        ([0.5, 0.5], np.eye(3), 1.0),
        ([0.5, 0.5], [[0.5, 0.2], [0.0, 1.0]], 1.0),
        ([0.5, 0.5], np.eye(2), 1.5),
    ],
)
def test_tables_that_are_no_distributions_are_refused(policy, kernel, step) -> None:
    with pytest.raises(BadData, match="expected"):
        evolve(np.array(policy), np.array(kernel), 1, step=step)
