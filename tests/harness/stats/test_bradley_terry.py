"""Strengths from games: closed forms, exact optima, separation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.core.errors import BadData
from harness.stats.bradley_terry import fit_style, refit_style


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
