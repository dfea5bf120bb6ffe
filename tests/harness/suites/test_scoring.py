"""What the cells of all suites share."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as scipy_stats

from harness.judging.records import Game, Judged, JudgedTurn
from harness.suites.scoring import (
    CellMaker,
    CellParams,
    failures,
    prompt_set_hash,
    sample_of,
    suspicious,
)


def test_the_prompt_set_is_ids_and_texts_whatever_their_order() -> None:
    forward = {"a": ["x"], "b": ["y", "z"]}
    assert prompt_set_hash(forward) == prompt_set_hash(dict(reversed(forward.items())))
    assert prompt_set_hash(forward) != prompt_set_hash({"a": ["x"], "b": ["y"]})
    assert prompt_set_hash(forward) != prompt_set_hash({"b": ["x"], "a": ["y", "z"]})


def test_lost_games_are_counted_by_reason_and_suspicious_answers_by_prompt() -> None:
    games = (Game("model", 0.5), Game("model", None, failure="x" * 99), Game("", None, failure="y"))
    rows = [Judged("alpaca", str(n), "s", (JudgedTurn("q", "a", "b", games),)) for n in range(2)]
    assert failures(rows) == {"failed: " + "x" * 60: 2, "failed: y": 2}
    assert suspicious(rows) == {}
    odd = Judged("alpaca", "odd", "s", (), suspicious="it holds a chat mark")
    assert suspicious([*rows, odd]) == {"n_suspicious": 1}


def test_small_masses_and_other_models_are_counted_where_there_are_some() -> None:
    games = (
        Game("model", 0.9, mass=0.95),
        Game("model", 0.9, mass=0.7, served_by="other"),
        Game("model", 0.9, mass=0.1),
        Game("model", None, failure="no", mass=0.1, served_by="other"),
    )
    turn = JudgedTurn("question", "answer", "baseline", games)
    assert suspicious([Judged("alpaca", "a", "s", (turn,))]) == {
        "identifiers' mass 0.5 to 0.9": 1,
        "identifiers' mass below 0.5": 1,
        "judged by other": 2,
    }


def test_a_sample_counts_the_units_that_have_a_value() -> None:
    sample = sample_of(np.array([1.0, np.nan, 2.0, np.nan]), ["a", "b", "a", "c"], span=(0, 2))
    assert (sample.units, sample.clusters) == (1, (0, 1, 0, 2))
    assert sample.values == (1.0, None, 2.0, None)
    assert sample_of(np.ones(3), "abc").clusters == ()


def test_mean_cells_hold_their_rows() -> None:
    maker = CellMaker(CellParams(suite="s", system="m", scale="nano", rounds=50), "set", {})
    cell = maker.mean_cell("share", [1.0, None, 0.0, 0.5], list("aabc"), factor=100)
    assert cell.resampled is not None
    assert (cell.resampled.units, cell.resampled.span) == (3, (0.0, 100.0))
    assert cell.resampled.values == (100.0, None, 0.0, 50.0)
    assert cell.value == pytest.approx(50.0)
    single = maker.mean_cell("share", [1.0], ["a"], factor=100)
    assert single.interval is None
    assert single.value == 100


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.99])
def test_the_interval_of_a_mean_is_students_at_the_level_of_the_stage(level: float) -> None:
    values = np.random.default_rng(3).uniform(size=300)
    params = CellParams(suite="s", system="m", scale="nano", rounds=6000, level=level)
    cell = CellMaker(params, "set", {}).mean_cell("share", values.tolist(), range(300), factor=100)
    half = scipy_stats.t.ppf((1 + level) / 2, 299) * 100 * values.std(ddof=1) / np.sqrt(300)
    assert cell.value == pytest.approx(100 * values.mean())
    found = (cell.interval.low - cell.value, cell.interval.high - cell.value)
    assert found == pytest.approx((-half, half), abs=0.06 * half)
    assert (cell.interval.level, cell.interval.kind) == (level, "bootstrap over prompts")
    assert len(cell.replicates) == 6000


def test_failed_prompts_of_a_metric_are_counted_and_bounded_by_the_ends_of_its_span() -> None:
    maker = CellMaker(CellParams(suite="s", system="m", scale="nano", rounds=20), "set", {})
    values, among = [1.0, None, 0.25, 0.5, None], [True, True, False, True, False]
    share = maker.mean_cell("share", values, list("abcde"), among, factor=100)
    assert (share.n_expected, share.n_scored, share.n_failed) == (3, 2, 1)
    assert share.value == 75
    assert share.bounds == pytest.approx((50, 100 * 2.5 / 3))
    assert share.resampled.values == (100, None, None, 50, None)
    lead = maker.mean_cell("lead", values, list("abcde"), among, span=(-2.0, 10.0))
    assert lead.bounds == pytest.approx(((1.5 - 2) / 3, (1.5 + 10) / 3))
    assert lead.resampled.span == (-2, 10)
    whole = maker.mean_cell("share", [1.0, 0.0], list("ab"))
    assert (whole.value, whole.bounds) == (0.5, None)
    none = maker.mean_cell("share", values, list("abcde"), [False, True, False, False, True])
    assert (none.value, none.interval, none.n_expected, none.n_failed) == (None, None, 2, 2)
