"""Judged records: the stored form of every kind, and what its games are worth."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.errors import BadData
from harness.engine.operations import Row
from harness.judging.frames import KINDS, Kind
from harness.judging.judge import Judgment
from harness.judging.records import (
    Game,
    Judged,
    JudgedTurn,
    kind_of_row,
    legal_rating,
    model_share,
    prompt_fields,
    read_judged,
)
from tests.hand_made import arena_row, game

TEXTS = st.text(st.characters(codec=None))  # lone surrogates too
LOGPROBS = st.none() | st.lists(st.tuples(TEXTS, st.floats(-9, 0)), max_size=3).map(tuple)
VERDICTS = {
    "alpaca": st.floats(0, 1),
    "arena": st.sampled_from(["A>>B", "A=B", "B<A"]),
    "pairwise": st.sampled_from(["A", "B", "tie"]),
    "rating": st.floats(1, 10) | st.integers(1, 10),
}


@st.composite
def judged_records(draw: Any, kind: Kind) -> Judged:
    def one(first: str) -> Game:
        if draw(st.booleans()):
            return Game(first, None, draw(TEXTS), draw(st.integers(0, 3)), draw(TEXTS))
        verdict = draw(VERDICTS[kind])
        return Game(first, verdict, draw(TEXTS), draw(st.integers(1, 3)), None, draw(LOGPROBS))

    def turn() -> JudgedTurn:
        answer = draw(st.none() | TEXTS)
        if kind == "rating":
            return JudgedTurn(draw(TEXTS), answer, None, (one(""),), draw(st.booleans()))
        return JudgedTurn(draw(TEXTS), answer, draw(TEXTS), (one("model"), one("baseline")))

    dialogue = kind in ("rating", "pairwise")
    return Judged(
        kind,
        draw(TEXTS),
        draw(TEXTS),
        tuple(turn() for _ in range(draw(st.integers(1, 2)) if dialogue else 1)),
        draw(st.none() | st.floats(0, 1)) if kind == "alpaca" else None,
        draw(TEXTS),
        {"category": "math", "difficulty": 2} if draw(st.booleans()) else {},
    )


@pytest.mark.parametrize("kind", KINDS)
@given(st.data())
def test_a_stored_row_is_read_back_exactly(kind: Kind, data: st.DataObject) -> None:
    judged = data.draw(judged_records(kind))
    row = judged.row()
    assert Judged.read(row, kind) == judged
    assert kind_of_row(row) == kind
    assert Judged.read(row) == judged
    assert Judged.read(row).row() == row


def test_the_stored_forms() -> None:
    """Rows of stores made before must be read, so no key may change."""
    said = {"reply": "r", "verdict": 0.75, "attempts": 1, "failure": None}
    pair: Row = {"answers": {"model": "m", "baseline": "b"}}
    alpaca: Row = {
        "id": "a",
        "system": "s",
        "category": "math",
        "suspicious": "why",
        "prompt": "p",
        **pair,
        "games": [{"first": "model", **said, "logprobs": [["m", -0.25]]}],
        "preference": 0.75,
    }
    assert Judged.read(alpaca, "alpaca").row() == alpaca
    game = {**alpaca["games"][0], "mass": 0.9, "served_by": "other"}
    assert Judged.read({**alpaca, "games": [game]}, "alpaca").row()["games"] == [game]
    label = {**said, "first": "baseline", "verdict": "A>B"}
    arena: Row = {"id": "b", "system": "", "prompt": "p", **pair, "games": [label]}
    assert Judged.read(arena, "arena").row() == arena
    lost = {**said, "verdict": None, "attempts": 0, "failure": "no answer was generated"}
    turn = {"turn": 1, "question": "q", "answer": None, "guided": True, **lost}
    rating: Row = {"id": "c", "system": "s", "turns": [turn, {**turn, "turn": 2}]}
    assert Judged.read(rating, "rating").row() == rating
    games = [{**said, "first": first, "verdict": "tie"} for first in ("model", "baseline")]
    choice: Row = {"turn": 1, "question": "q", **pair, "games": games}
    pairwise: Row = {"id": "d", "system": "s", "turns": [choice]}
    assert Judged.read(pairwise, "pairwise").row() == pairwise


@pytest.mark.parametrize(
    ("verdict", "share"),
    [
        *zip(("A>>B", "A>B", "B=A", "A<B", "A<<B"), (1.0, 0.75, 0.5, 0.25, 0.0)),
        *zip(("A", "tie", "B", 0.3), (1.0, 0.5, 0.0, 0.3)),
    ],
)
def test_any_verdict_gives_the_model_a_share_whichever_side_is_first(
    verdict: float | str, share: float
) -> None:
    assert Game("model", verdict).model_share == share
    assert Game("baseline", verdict).model_share == 1 - share


def test_a_rating_and_a_failure_have_no_share() -> None:
    assert Game("", 7.0).model_share is None
    assert Game("model", None).model_share is None


def test_a_prompt_is_worth_what_its_suite_says() -> None:
    def games(*said: float | str | None) -> list[Game]:
        return [Game(first, v) for first, v in zip(("baseline", "model"), said)]

    assert model_share("arena", games("B>>A", "B>A")) == 0.75
    assert model_share("arena", games("B>>A", "B>A"), weight=1) == 0.5
    assert model_share("pairwise", games("B", "A")) == 1.0
    assert model_share("pairwise", games("B", "tie")) == 0.5
    assert model_share("alpaca", games(0.2, 0.6)) == pytest.approx(0.7)
    for kind in ("alpaca", "arena", "pairwise"):
        assert model_share(kind, games("B", None)) is None  # type: ignore[arg-type]
        assert model_share(kind, []) is None  # type: ignore[arg-type]


def test_a_rating_counts_only_on_its_scale() -> None:
    assert legal_rating(7) == 7.0
    assert [legal_rating(found) for found in (None, 0.5, 11, -1, "A")] == [None] * 5
    turn = JudgedTurn("q", "a", None, (Game("", 11.0),))
    assert Judged("rating", "x", "s", (turn,)).value(turn) is None


def test_what_a_game_shows_and_what_guides_it() -> None:
    games = (Game("model"), Game("baseline"))
    turns = (JudgedTurn("q1", "a1", "b1", games), JudgedTurn("q2", None, "b2", games))
    judged = Judged("pairwise", "x", "s", turns).guided_by(["r1"])
    assert judged.shown(1, 0) == (["a1", ""], ["b1", "b2"])
    assert judged.shown(0, 1) == (["b1"], ["a1"])
    assert (judged.references(1), judged.references(0)) == (["r1"], ["r1"])
    assert "r1" not in str(judged.row()), "references are of another artifact"


def test_a_played_game_has_the_judges_reply() -> None:
    judgment = Judgment("q", "I say [[A]]", "A", 2, "late", (("A", -0.1),), 0.75, "other-judge")
    played = Game("model").judged(judgment)
    told = {f.name: getattr(judgment, f.name) for f in fields(Game) if f.name != "first"}
    assert played == Game("model", **told)
    assert (played.failure, played.mass, played.served_by) == ("late", 0.75, "other-judge")
    assert played.row()["logprobs"] == [["A", -0.1]]


def test_rows_that_are_no_judgments_are_named() -> None:
    rows = [arena_row("fine", ("A>B", "A>B")), {"id": "broken", "games": [{}], "prompt": "p"}]
    with pytest.raises(BadData, match=r'here, row "broken": no judgment .*KeyError'):
        read_judged(rows, "arena", "here")
    with pytest.raises(BadData, match="neither games nor turns"):
        Judged.read({"id": "x", "responses": ["a"]})
    assert kind_of_row({"id": "mt", "turns": ["one", "two"]}) is None
    assert kind_of_row({"id": "x", "games": [game("model", 0.5)]}) is None


def test_only_known_fields_of_a_prompt_are_kept() -> None:
    row = {"id": "x", "category": "math", "cluster": None, "messages": [], "difficulty": 0}
    assert prompt_fields(row) == {"category": "math", "difficulty": 0}


def test_a_game_and_a_turn_begin_open_and_without_guide() -> None:
    assert Game().row() == {"reply": "", "verdict": None, "attempts": 0, "failure": None}
    assert JudgedTurn("q", "a", None, (Game(),)).row("rating")["guided"] is False
    assert Game.read({"verdict": None}) == Game()


@pytest.mark.parametrize(
    "row",
    [
        {"turns": []},
        {"turns": 3},
        {"turns": [{"question": "q"}]},
        {"answers": {}},
        {"games": 3, "answers": {}},
    ],
)
def test_rows_of_other_forms_have_no_kind(row: Row) -> None:
    assert kind_of_row({"id": "x", **row}) is None


def test_the_ends_of_the_scale_are_ratings() -> None:
    assert [legal_rating(1), legal_rating(10), legal_rating(0.99), legal_rating(10.01)] == [
        1.0, 10.0, None, None
    ]  # fmt: skip


def test_a_rating_has_no_first_side_even_if_the_row_names_one() -> None:
    turn = {"question": "q", "answer": "a", "first": "model", "verdict": 7.0}
    (found,) = Judged.read({"id": "x", "turns": [turn]}).games
    assert (found.first, found.model_share) == ("", None)
