"""Strengths from games: closed forms, exact optima, separation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.core.errors import BadData
from harness.stats import bradley_terry
from harness.stats.bradley_terry import RIDGE, fit_style, refit_cells, refit_style


def table(seed: int, models: int = 3, questions: int = 40, size: int = 2):
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(models, questions, size))
    rows = generator.integers(0, 7, size=(models, questions)).astype(float)
    rows[:, 0] = 4.0
    wins = rows * generator.choice([0.0, 0.5, 1.0], size=rows.shape)
    return features, wins, rows


def slopes(features, wins, rows, fit):
    z = fit.strengths[:, None] + features @ fit.coefficients
    residual = rows / (1 + np.exp(-z)) - wins
    return residual.sum(axis=1), np.einsum("mq,mqf->f", residual, features)


@settings(deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0, 1, 2, 4]))
def test_style_fits_are_stationary(seed: int, size: int) -> None:
    features, wins, rows = table(seed, size=size)
    fit = fit_style(features, wins, rows)
    own, shared = slopes(features, wins, rows, fit)
    assert own == pytest.approx(np.zeros(3), abs=1e-5)
    assert shared == pytest.approx(np.zeros(size), abs=1e-5)


def test_without_style_the_win_rate_is_the_mean() -> None:
    features, wins, rows = table(1, size=0)
    fit = fit_style(features, wins, rows)
    assert fit.win_rates == pytest.approx(wins.sum(axis=1) / rows.sum(axis=1), abs=1e-8)


def test_a_constant_feature_changes_nothing() -> None:
    features, wins, rows = table(2, size=1)
    fit = fit_style(np.zeros_like(features), wins, rows)
    assert fit.win_rates == pytest.approx(wins.sum(axis=1) / rows.sum(axis=1), abs=1e-8)
    assert fit.coefficients == pytest.approx([0.0])


def test_a_model_that_wins_everything_is_reported_as_one_hundred() -> None:
    features, wins, rows = table(3)
    wins[1] = rows[1]
    wins[2] = 0.0
    fit = fit_style(features, wins, rows)
    assert np.isfinite(fit.strengths).all()
    assert fit.win_rates[1] == pytest.approx(1.0, abs=1e-4)
    assert fit.win_rates[2] == pytest.approx(0.0, abs=1e-4)


def test_resampled_fits_equal_fits_of_the_resampled_table() -> None:
    features, wins, rows = table(4)
    point = fit_style(features, wins, rows)
    counts = np.random.default_rng(0).multinomial(40, np.full(40, 1 / 40), size=6).astype(np.int32)
    counts[:, 0] = 1
    many = refit_style(features, wins, rows, counts, point)
    for r, count in enumerate(counts):
        alone = fit_style(features, wins * count, rows * count)
        assert many.strengths[r] == pytest.approx(alone.strengths, abs=1e-6)
        assert many.coefficients[r] == pytest.approx(alone.coefficients, abs=1e-6)


def test_bad_tables_are_refused() -> None:
    features, wins, rows = table(5)
    with pytest.raises(BadData, match=r"expected \(M, Q, F\)"):
        fit_style(features, wins[:, 1:], rows)
    with pytest.raises(BadData, match="has no scored row"):
        fit_style(features, wins * 0, rows * 0)
    features[0, 0, 0] = np.nan
    with pytest.raises(BadData, match="finite"):
        fit_style(features, wins, rows)


def test_the_penalty_of_a_model_that_wins_everything_is_the_stated_one() -> None:
    """At the optimum RIDGE a = rows (1 - sigmoid a), which is about 18 for 80 rows."""
    rows = np.full((1, 20), 4.0)
    fit = fit_style(np.zeros((1, 20, 0)), rows.copy(), rows)
    (a,) = fit.strengths
    assert 17 < a < 20
    assert RIDGE * a == pytest.approx(80 / (1 + np.exp(a)), rel=1e-4)
    lost = fit_style(np.zeros((1, 20, 0)), 0 * rows, rows)
    assert lost.strengths == pytest.approx(-fit.strengths)


def test_one_feature_of_two_values_is_half_their_difference_of_logits() -> None:
    """Wins 3 of 4 where f = 1 and 2 of 8 where f = -1."""
    features = np.array([[[1.0], [-1.0]]])
    fit = fit_style(features, np.array([[3.0, 2.0]]), np.array([[4.0, 8.0]]))
    assert fit.coefficients == pytest.approx([np.log(9) / 2], abs=1e-7)
    assert fit.strengths == pytest.approx([0.0], abs=1e-7)
    assert fit.win_rates == pytest.approx([0.5])
    # A feature that is never different from 0 keeps the coefficient that it starts with.
    two = np.concatenate([features, 0 * features], axis=2)
    fit = fit_style(two, np.array([[3.0, 2.0]]), np.array([[4.0, 8.0]]))
    assert fit.coefficients == pytest.approx([np.log(9) / 2, 0.0], abs=1e-7)


def test_a_fit_that_needs_damped_steps_reaches_the_optimum() -> None:
    """Features of up to 50 with opposite effects: a full first step is far too long."""
    features = np.linspace(-50, 50, 40).reshape(1, 40, 1)
    rows = np.full((1, 40), 10.0)
    wins = rows / (1 + np.exp(-(2 + 0.4 * features[:, :, 0])))
    fit = fit_style(features, wins, rows)
    assert (fit.strengths[0], fit.coefficients[0]) == pytest.approx((2.0, 0.4), abs=1e-6)


@pytest.mark.parametrize("cells", [1, 2 * 120, 3 * 120 + 119])
def test_chunks_of_resamples_change_nothing(cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    features, wins, rows = table(6)
    point = fit_style(features, wins, rows)
    counts = np.random.default_rng(1).multinomial(40, np.full(40, 1 / 40), size=7)
    drawn = counts[:, None, :].astype(float)
    whole = refit_cells(features, wins * drawn, rows * drawn, point)
    monkeypatch.setattr(bradley_terry, "CHUNK_CELLS", cells)
    parts = refit_style(features, wins, rows, counts, point)
    assert parts.strengths == pytest.approx(whole.strengths, abs=1e-8)
    assert parts.coefficients == pytest.approx(whole.coefficients, abs=1e-8)
    assert parts.strengths.shape == (7, 3)


def test_a_fit_that_does_not_converge_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    features, wins, rows = table(7)
    monkeypatch.setattr(bradley_terry, "MAX_ITERATIONS", 1)
    with pytest.raises(BadData, match="did not converge in 1 steps"):
        fit_style(features, wins, rows)


def test_each_bad_table_has_its_reason() -> None:
    features, wins, rows = table(8)
    point = fit_style(features, wins, rows)
    for bad in (
        (features[0], wins, rows),
        (features, wins, rows[:, 1:]),
        (features, wins[:2], rows[:2]),
    ):
        with pytest.raises(BadData, match=r"expected \(M, Q, F\), \(M, Q\) and \(M, Q\)"):
            fit_style(*bad)
        with pytest.raises(BadData, match=r"expected \(M, Q, F\)"):
            refit_style(*bad, np.ones((1, 40), dtype=np.int32), point)
    one = rows.copy()
    one[1] = 0  # one model of three
    with pytest.raises(BadData, match="has no scored row"):
        fit_style(features, wins, one)
    few = rows * 0
    few[:, 0] = 0.5  # less than a whole row each is enough
    assert np.isfinite(fit_style(features[:, :, :0], few / 2, few).strengths).all()
