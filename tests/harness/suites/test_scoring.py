"""What the cells of all suites share."""

from __future__ import annotations

from harness.judging.records import Game, Judged, JudgedTurn
from harness.suites.scoring import failures, prompt_set_hash, suspicious


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
