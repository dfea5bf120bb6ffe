"""The judge operations of MT-Bench: dialogues of both sides."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.core.errors import BadData
from harness.engine.operations import Artifact, Row
from harness.suites.mt_bench.judging import dialogue_of
from tests.judging_runs import judging

Run = Callable[..., Artifact]
Make = Callable[[list[Row]], Artifact]


def talk(id: str, *said: str, **more: object) -> Row:
    """A response row of the last turn, with earlier turns in its messages."""
    messages = [{"role": "user", "content": "One?"}]
    for answer in said[:-1]:
        messages += [
            {"role": "assistant", "content": answer},
            {"role": "user", "content": "And two?"},
        ]
    return {"id": id, "messages": messages, "responses": [said[-1]], **more}


def test_a_dialogue_is_its_questions_and_answers() -> None:
    row = talk("a", "first", "second")
    assert dialogue_of(row) == [("One?", "first"), ("And two?", "second")]
    assert dialogue_of({**row, "responses": []})[1] == ("And two?", None)
    lost = dialogue_of({**row, "first_error": "too long"})
    assert [answer for _, answer in lost] == [None, None]


def test_turns_are_compared_with_the_baselines(run_operation: Run, rows_artifact: Make) -> None:
    ours = rows_artifact([talk("a", "ours 1", "ours 2", category="math")])
    theirs = rows_artifact([talk("a", "theirs 1", "theirs 2")])
    asked = judging("pairwise")
    (row,) = run_operation("judge_mt_bench_pairwise", asked, responses=ours, baseline=theirs).rows()
    assert [turn["turn"] for turn in row["turns"]] == [1, 2]
    assert row["turns"][1]["answers"] == {"model": "ours 2", "baseline": "theirs 2"}
    assert [game["first"] for game in row["turns"][0]["games"]] == ["model", "baseline"]
    assert row["category"] == "math"
    short = rows_artifact([talk("a", "theirs 1")])
    with pytest.raises(BadData, match='answers fewer turns than "a" has'):
        run_operation("judge_mt_bench_pairwise", asked, responses=ours, baseline=short)


def test_ratings_of_a_turn_that_failed(run_operation: Run, rows_artifact: Make) -> None:
    rows = [{**talk("a", "one", "two"), "responses": [], "error": "no room"}]
    guide = rows_artifact([{"id": "a", "answers": ["right 1", "right 2"]}])
    made = run_operation(
        "judge_mt_bench", judging("rating"), responses=rows_artifact(rows), references=guide
    ).rows()
    first, second = made[0]["turns"]
    assert (first["answer"], first["guided"], first["attempts"] > 0) == ("one", True, True)
    assert second["failure"] == "no answer was generated: no room"
    assert (second["answer"], second["verdict"], second["attempts"]) == (None, None, 0)
