"""Length control: golden fits, the published board's laws, degenerate inputs, bootstrap."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.core.errors import BadData, UnknownName
from harness.stats.bootstrap import percentile_interval, resample_counts
from harness.suites.alpaca_eval2.cv_folds import stable_folds
from harness.suites.alpaca_eval2.l1_logistic import Design, cross_entropy, sigmoid, solve
from harness.suites.alpaca_eval2.length_bootstrap import bootstrap
from harness.suites.alpaca_eval2.length_control import (
    FORMULAS,
    STRENGTHS,
    Anchors,
    Rows,
    design_matrix,
    fit,
    fit_board,
    of_baseline,
)
from harness.suites.alpaca_eval2.metrics import read_reference, win_rate
from tests.golden_vectors import vectors

Finder = Callable[[str], Path]
N = 120


def rows_of(seed: int, n: int = N) -> Rows:
    generator = np.random.default_rng(seed)
    difficulty = generator.normal(size=n)
    baseline = generator.integers(100, 3000, n).astype(float)
    model = baseline * generator.lognormal(0.1, 0.5, n)
    logit = 0.6 * difficulty + (model - baseline) / 800 + generator.normal(size=n)
    return Rows(1 / (1 + np.exp(-logit)), np.floor(model), baseline, difficulty)


def anchors_of(seed: int, n: int = 2 * N) -> Anchors:
    generator = np.random.default_rng(seed)
    gaps = generator.normal(size=n)
    difficulty = generator.normal(size=n)
    return Anchors(1 / (1 + np.exp(1.5 * gaps - 0.7 * difficulty)), gaps, difficulty)


@pytest.fixture
def synthetic(golden: Finder, numbers: Finder) -> list[tuple[dict, Rows, Anchors]]:
    models = vectors(golden("alpaca_eval2/glm_synthetic.json"))
    reference = read_reference(numbers("alpaca_eval2"))
    cases = []
    for model in models:
        rows = Rows(
            np.array(model["preference"]) - 1,
            np.array(model["len_model"], dtype=float),
            np.array(model["len_baseline"], dtype=float),
            reference.difficulty,
        )
        cases.append((model, rows, reference.anchors))
    return cases


def test_golden_fits_in_compat_mode(synthetic: list[tuple[dict, Rows, Anchors]]) -> None:
    pytest.importorskip("sklearn")
    for model, rows, anchors in synthetic:
        for formula, expected in model["expected"].items():
            found = fit(rows, anchors=anchors, mode="compat-stable", formula=formula)
            where = model["name"], formula
            assert found.strength == pytest.approx(expected["C"]), where
            assert found.coefficients == pytest.approx(expected["coef"], abs=1e-9), where
            assert len(found.columns) == len(expected["columns"])
            lc, spread = expected["length_controlled_winrate"], expected["lc_standard_error"]
            assert found.lc_win_rate == pytest.approx(lc, abs=1e-6), where
            assert found.standard_error == pytest.approx(spread, abs=1e-6), where
            raw = win_rate(rows.preferences)
            for name in ("win_rate", "standard_error", "discrete_win_rate"):
                assert getattr(raw, name) == pytest.approx(expected[name], abs=1e-9), where
            for name in ("n_wins", "n_wins_base", "n_draws", "n_total"):
                assert getattr(raw, name) == expected[name], where


def test_golden_fits_of_the_exact_solver(synthetic: list[tuple[dict, Rows, Anchors]]) -> None:
    for model, rows, anchors in synthetic:
        for formula, expected in model["expected"].items():
            used = anchors if FORMULAS[formula].anchored else None
            found = fit(rows, anchors=used, formula=formula)
            near = 0.02 if found.strength == pytest.approx(expected["C"]) else 0.16
            lc = expected["length_controlled_winrate"]
            assert found.lc_win_rate == pytest.approx(lc, abs=near), (model["name"], formula)
        design = Design.of(*design_matrix(rows, anchors, FORMULAS["length_controlled_v1"]))
        for point in model["path_full_data_v1"]:
            w = solve([design], np.array([[point["C"]]]), np.zeros((1, 1, 3)))[0, 0]
            lc = 100 * sigmoid(design.features[-len(rows.preferences) :, 1:] @ w[1:]).mean()
            assert lc == pytest.approx(point["lc"], abs=0.02), (model["name"], point["C"])


def test_exact_mode_equals_a_plain_cross_validation() -> None:
    """The lockstep solver with its guesses against one cold fit for every fold and C."""
    rows, anchors = rows_of(0), anchors_of(1)
    features, labels, weights = design_matrix(rows, anchors, FORMULAS["length_controlled_v1"])
    folds = stable_folds(len(labels))
    scores = np.zeros(len(STRENGTHS))
    for fold in range(5):
        out = folds == fold
        design = Design.of(features[~out], labels[~out], weights[~out])
        for c, strength in enumerate(STRENGTHS):
            w = solve([design], np.array([[strength]]), np.zeros((1, 1, 3)))[0, 0]
            scores[c] -= (cross_entropy(features[out] @ w, labels[out]) * weights[out]).mean() / 5
    whole = Design.of(features, labels, weights)
    best = STRENGTHS[np.argmax(scores)]
    w = solve([whole], np.array([[best]]), np.zeros((1, 1, 3)))[0, 0]
    found = fit(rows, anchors=anchors)
    assert found.strength == pytest.approx(best)
    assert found.coefficients == pytest.approx(w, abs=1e-8)
    assert found.lc_win_rate == pytest.approx(100 * sigmoid(features[-N:, 1:] @ w[1:]).mean())


def test_a_board_equals_its_single_fits() -> None:
    models, anchors = [rows_of(seed, 60 + seed) for seed in range(11)], anchors_of(99)
    for rows, together in zip(models, fit_board(models, anchors=anchors)):
        alone = fit(rows, anchors=anchors)
        assert together.strength == alone.strength
        assert together.lc_win_rate == pytest.approx(alone.lc_win_rate, abs=1e-7)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000), st.randoms(use_true_random=False))
def test_permuting_joined_rows_only_reassigns_folds(seed: int, random) -> None:
    rows = rows_of(seed)
    order = list(range(N))
    random.shuffle(order)
    moved = rows.only(np.array(order))
    first, second = fit(rows), fit(moved)
    if first.strength == second.strength:
        assert second.lc_win_rate == pytest.approx(first.lc_win_rate, abs=1e-6)
    else:  # other folds may choose a neighbouring C
        assert second.lc_win_rate == pytest.approx(first.lc_win_rate, abs=3.0)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000))
def test_mirrored_preferences_and_lengths_give_the_complement(seed: int) -> None:
    rows = rows_of(seed)
    mirror = Rows(1 - rows.preferences, rows.baseline_lengths, rows.model_lengths, -rows.difficulty)
    flipped = Rows(
        mirror.preferences, mirror.model_lengths, mirror.baseline_lengths, rows.difficulty
    )
    first, second = fit(rows), fit(flipped)
    assert first.strength == second.strength
    assert first.lc_win_rate + second.lc_win_rate == pytest.approx(100.0, abs=1e-5)


def test_equal_lengths_do_not_crash_and_leave_the_win_rate() -> None:
    rows = rows_of(3)
    same = Rows(rows.preferences, rows.baseline_lengths, rows.baseline_lengths, rows.difficulty)
    found = fit(same)
    assert found.coefficients[0] == 0.0
    assert found.lc_win_rate == pytest.approx(win_rate(rows.preferences).win_rate, abs=1.0)
    fit(Rows(rows.preferences, rows.baseline_lengths + 5, rows.baseline_lengths, rows.difficulty))


def test_draws_everywhere_are_fifty() -> None:
    rows = rows_of(4)
    found = fit(Rows(np.full(N, 0.5), rows.model_lengths, rows.baseline_lengths, rows.difficulty))
    assert found.lc_win_rate == pytest.approx(50.0)
    assert not any(found.coefficients)


@pytest.mark.parametrize(("preference", "side"), [(0.0, 0.0), (1.0, 100.0)])
def test_separable_preferences_converge(preference: float, side: float) -> None:
    rows = rows_of(5)
    sure = Rows(np.full(N, preference), rows.model_lengths, rows.baseline_lengths, rows.difficulty)
    found = fit(sure, anchors=anchors_of(6))
    assert found.lc_win_rate == pytest.approx(side, abs=0.5)
    replicates = bootstrap(sure, found, resample_counts("s", N, 20), anchors=anchors_of(6))
    assert np.isfinite(replicates).all()


def test_failed_judgments_are_as_if_absent_in_the_exact_mode() -> None:
    rows = rows_of(7)
    holes = rows.preferences.copy()
    holes[::9] = np.nan
    holed = Rows(holes, rows.model_lengths, rows.baseline_lengths, rows.difficulty)
    found = fit(holed)
    assert found == fit(rows.only(~np.isnan(holes)))
    assert found.n_fitted == int((~np.isnan(holes)).sum()) == len(found.predictions)


def test_failed_judgments_stay_in_the_mean_of_the_compat_modes() -> None:
    pytest.importorskip("sklearn")
    rows = rows_of(7)
    holes = rows.preferences.copy()
    holes[::9] = np.nan
    holed = Rows(holes, rows.model_lengths, rows.baseline_lengths, rows.difficulty)
    found = fit(holed, mode="compat-legacy")
    assert len(found.predictions) == N
    assert found.n_fitted < N


def test_compat_and_exact_agree_at_the_same_strength() -> None:
    pytest.importorskip("sklearn")
    rows, anchors = rows_of(8), anchors_of(9)
    exact, compat = fit(rows, anchors=anchors), fit(rows, anchors=anchors, mode="compat-stable")
    if exact.strength == compat.strength:
        assert exact.lc_win_rate == pytest.approx(compat.lc_win_rate, abs=0.05)


def test_the_baseline_is_fifty_by_definition() -> None:
    found = of_baseline(805)
    assert (found.lc_win_rate, found.standard_error, found.strength) == (50.0, 0.0, None)
    assert (bootstrap(rows_of(1), found, resample_counts("s", N, 5)) == 50.0).all()


def test_bootstrap_equals_refits_of_repeated_rows() -> None:
    rows, anchors = rows_of(10), anchors_of(11)
    found = fit(rows, anchors=anchors)
    counts = resample_counts("set", N, 6)
    replicates = bootstrap(rows, found, counts, anchors=anchors)
    features, labels, weights = design_matrix(rows, anchors, FORMULAS["length_controlled_v1"])
    own = len(features) - N
    for row, replicate in zip(counts, replicates):
        place = np.concatenate([np.arange(own), own + np.repeat(np.arange(N), row)])
        design = Design.of(features[place], labels[place], weights[place])
        w = solve([design], np.array([[found.strength]]), np.zeros((1, 1, 3)))[0, 0]
        lc = 100 * sigmoid(features[place[own:], 1:] @ w[1:]).mean()
        assert replicate == pytest.approx(lc, abs=1e-4)


def test_bootstrap_interval_contains_the_point_and_beats_the_published_error() -> None:
    rows, anchors = rows_of(12), anchors_of(13)
    found = fit(rows, anchors=anchors)
    replicates = bootstrap(rows, found, resample_counts("set", N, 500), anchors=anchors)
    interval = percentile_interval(replicates, point=found.lc_win_rate)
    assert interval.low <= found.lc_win_rate <= interval.high
    assert replicates.mean() == pytest.approx(found.lc_win_rate, abs=0.5)
    ones = bootstrap(rows, found, np.ones((1, N), dtype=np.int32), anchors=anchors)
    assert ones[0] == pytest.approx(found.lc_win_rate, abs=1e-6)


def test_bad_input_is_named() -> None:
    rows = rows_of(14)
    with pytest.raises(BadData, match="equally long"):
        Rows(rows.preferences, rows.model_lengths[1:], rows.baseline_lengths)
    with pytest.raises(BadData, match="at least one"):
        Rows(np.full(3, np.nan), np.ones(3), np.ones(3))
    with pytest.raises(BadData, match="0 to 1"):
        Rows(np.array([0.2, 1.2]), np.ones(2), np.ones(2))
    with pytest.raises(BadData, match="difficulty"):
        fit(Rows(rows.preferences, rows.model_lengths, rows.baseline_lengths))
    with pytest.raises(UnknownName, match="exact"):
        fit(rows, mode="exakt")  # type: ignore[arg-type]
    with pytest.raises(UnknownName, match="length_controlled_v1"):
        fit(rows, formula="length_controlled")
    with pytest.raises(BadData, match="expected"):
        bootstrap(rows, fit(rows), resample_counts("s", N - 1, 5))


@pytest.mark.parametrize("n", [1, 2, 3, 4, 6])
def test_a_handful_of_rows_is_enough(n: int) -> None:
    for formula in FORMULAS:
        found = fit(rows_of(15, n), formula=formula)
        assert 0 <= found.lc_win_rate <= 100
