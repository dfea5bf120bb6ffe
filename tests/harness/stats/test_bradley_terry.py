"""Strengths from games: closed forms, exact optima, separation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.core.errors import BadData
from harness.stats.bradley_terry import (
    elo_rating,
    fit_pairs,
    fit_style,
    refit_style,
    win_rate_of_elo,
)


@given(st.floats(1e-6, 1 - 1e-6))
def test_elo_and_win_rate_are_inverse(share: float) -> None:
    assert win_rate_of_elo(elo_rating(share)) == pytest.approx(share, abs=1e-12)


def test_elo_of_a_clean_sweep_is_infinite() -> None:
    assert elo_rating(1.0) == math.inf
    assert elo_rating(0.0) == -math.inf
    with pytest.raises(BadData):
        elo_rating(1.1)


@given(st.lists(st.floats(0.05, 0.95), min_size=1, max_size=5))
def test_pairs_against_one_baseline_have_a_closed_form(shares: list[float]) -> None:
    n = len(shares)
    found = fit_pairs(np.arange(1, n + 1), np.zeros(n, int), shares, np.full(n, 100.0), n + 1)
    expected = [math.log(p / (1 - p)) for p in shares]
    assert found[0] == 0.0
    assert found[1:] == pytest.approx(expected, abs=1e-6)


def test_pairs_recover_known_strengths_without_noise() -> None:
    truth = np.array([0.0, 1.0, -0.5, 2.0])
    first, second = np.triu_indices(4, 1)
    shares = 1 / (1 + np.exp(truth[second] - truth[first]))
    found = fit_pairs(first, second, shares, np.full(6, 50.0), 4)
    assert found == pytest.approx(truth, abs=1e-6)


def test_pairs_report_bad_games() -> None:
    with pytest.raises(BadData, match="player indexes"):
        fit_pairs([0], [5], [1.0], [1.0], 2)
    with pytest.raises(BadData, match="equally long"):
        fit_pairs([0, 1], [1], [1.0], [1.0], 2)


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
    with pytest.raises(BadData, match="do not fit"):
        fit_style(features, wins[:, 1:], rows)
    with pytest.raises(BadData, match="without a single scored row"):
        fit_style(features, wins * 0, rows * 0)
    features[0, 0, 0] = np.nan
    with pytest.raises(BadData, match="finite"):
        fit_style(features, wins, rows)
