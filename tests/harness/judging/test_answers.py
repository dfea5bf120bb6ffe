"""Answers as the judge reads them: the baseline's must be of the same prompts."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.core.errors import BadData
from harness.engine.operations import Artifact, Row
from harness.judging.answers import (
    Baseline,
    answer_of,
    failed_by_baseline,
    judged_pair,
    open_games,
    open_pair,
)
from harness.judging.records import Game, Judged, JudgedTurn
from tests.judging_runs import judging

Run = Callable[..., Artifact]
Make = Callable[[list[Row]], Artifact]


def test_a_baseline_for_other_prompts_is_refused(
    pair: tuple[Artifact, Artifact], run_operation: Run, rows_artifact: Make
) -> None:
    good, baseline = pair
    rows = baseline.rows()
    with pytest.raises(BadData, match="no answer to prompt"):
        run_operation(
            "judge_arena", judging("arena"), generations=good, baseline=rows_artifact(rows[1:])
        )
    rows[0]["messages"] = rows[1]["messages"]
    with pytest.raises(BadData, match="answers another prompt"):
        run_operation(
            "judge_alpaca", judging("alpaca"), generations=good, baseline=rows_artifact(rows)
        )


def test_a_baseline_without_an_answer_is_refused(
    pair: tuple[Artifact, Artifact], rows_artifact: Make
) -> None:
    good, baseline = pair
    rows = [{**row, "responses": []} for row in baseline.rows()]
    with pytest.raises(BadData, match="has an empty row for prompt"):
        Baseline(rows_artifact(rows)).answer(good.rows()[0])


@pytest.mark.parametrize("kind", ["alpaca", "arena"])
def test_a_baseline_system_that_failed_to_answer_is_a_failed_judgment(
    kind: str, pair: tuple[Artifact, Artifact], run_operation: Run, rows_artifact: Make
) -> None:
    good, baseline = pair
    rows = baseline.rows()
    rows[0] |= {"responses": [], "error": "too long"}
    judged = run_operation(
        f"judge_{kind}", judging(kind), generations=good, baseline=rows_artifact(rows)
    ).rows()
    first, second = judged[:2]
    reason = "the baseline gave no answer: too long"
    assert {game["failure"] for game in first["games"]} == {reason}
    assert all(not game["failure"] for game in second["games"])


def test_games_that_a_baseline_did_not_answer() -> None:
    lost = Game("model", failure="no answer was generated")
    games = (Game("model"), lost)
    error = {"first_error": "first", "error": "later"}
    expected = (Game("model", failure="the baseline gave no answer: first"), lost)
    assert failed_by_baseline(games, error) == expected
    ours, other = {"responses": ["a"]}, {"responses": ["a"]}
    assert open_pair(("model",), ours, other, equal=False) == ()
    assert open_pair(("model",), ours, other) == (Game("model"),)


def test_an_empty_answer_is_an_answer_and_none_is_a_failure() -> None:
    assert answer_of({"responses": [""]}) == ""
    assert answer_of({"responses": []}) is None
    assert open_games(("model",), "", {}) == (Game("model"),)
    reason = "no answer was generated"
    assert open_games(("model",), None, {}) == (Game("model", failure=reason),)
    row = {"error": "later", "first_error": "first"}
    assert [game.failure for game in open_games(("a", "b"), None, row)] == [f"{reason}: first"] * 2


def test_two_missing_answers_are_a_failure_and_never_equal() -> None:
    empty: Row = {"responses": []}
    lost = (Game("model", failure="no answer was generated"),)
    assert open_pair(("model",), empty, {**empty, "error": "late"}, equal=False) == lost
    ours = {"responses": ["a"]}
    behind = (Game("model", failure="the baseline gave no answer: late"),)
    assert open_pair(("model",), ours, {**empty, "error": "late"}) == behind
    assert open_pair(("model",), ours, {"responses": ["b"]}, equal=False) == (Game("model"),)


def test_a_draft_has_the_prompt_both_answers_and_its_fields() -> None:
    messages = [{"role": "user", "content": "q"}]
    row: Row = {"id": "x", "messages": messages, "responses": ["a"], "category": "math", "odd": 1}
    made = judged_pair("arena", row, None, (Game("model"),))
    assert made == Judged(
        "arena", "x", "", (JudgedTurn("q", "a", "", (Game("model"),)),),
        prompt_fields={"category": "math"},
    )  # fmt: skip
    assert judged_pair("arena", {**row, "system": "s"}, "b", ()).system == "s"


def test_a_baseline_is_named_by_eight_characters(rows_artifact: Make) -> None:
    row: Row = {"id": "x", "messages": [{"role": "user", "content": "q"}], "responses": ["a"]}
    baseline = Baseline(rows_artifact([row]))
    assert baseline.answer(row) == "a"
    with pytest.raises(BadData, match=r"^baseline artifact has no answer to prompt \"y\""):
        baseline.row({**row, "id": "y"})
