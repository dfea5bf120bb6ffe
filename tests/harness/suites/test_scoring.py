"""What the cells of all suites share."""

from __future__ import annotations

import numpy as np
import pytest

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
