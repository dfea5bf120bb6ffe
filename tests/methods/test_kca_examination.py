"""Exams: prompts, shifted options, scores and outcomes."""

from __future__ import annotations

from collections.abc import Callable
from math import log
from typing import Any

import pytest

from harness.engine.operations import Artifact, Row
from harness.nano.zoo import planting
from methods.kca.decisions import Outcome
from methods.kca.examination import (
    DEMONSTRATIONS,
    HEADER,
    ExamSettings,
    letter_prior,
    option_scores,
    outcomes,
    question_prompt,
    question_rows,
)
from tests.operation_runs import rows_artifact, run_operation

__all__ = ["rows_artifact", "run_operation"]

OPTIONS = ["red", "blue", "gold", "white"]


def instance(id: str, *answers: str) -> Row:
    tests = [
        {"question": f"Q{n}?", "options": OPTIONS, "answer": answer, "analysis": ""}
        for n, answer in enumerate(answers)
    ]
    value = {"tests": tests, "rejects": []} if tests else None
    failure = None if tests else "no valid question"
    asked = {"failure": None, "attempts": 1}
    return {
        "id": id,
        "requirement": {**asked, "value": {"need": True, "analysis": "", "queries": ""}},
        "knowledge": {**asked, "value": "K"},
        "exam": {**asked, "value": value, "failure": failure},
    }


def test_the_papers_prompt() -> None:
    (row,) = question_rows([instance("a", "B")], "letters", 1)
    head, *shots, last = question_prompt(row)
    assert head == {"role": "system", "content": HEADER}
    assert last["content"] == "Q0?\nA. red\nB. blue\nC. gold\nD. white\nAnswer:"
    assert [shot["content"][-3] for shot in shots] == list("DABBA")
    assert all(shot["content"].endswith("\n\n") for shot in shots)
    assert row["texts"] == [" A", " B", " C", " D"]
    assert len(question_prompt(row, shots=0)) == 2


def test_the_nano_layout_is_what_nano_models_were_trained_on() -> None:
    (row,) = question_rows([instance("a", "B")], "letters", 1)
    demonstration = DEMONSTRATIONS[0].model_dump(mode="json")
    head, shot, last = question_prompt(
        row, layout="value_first", shots=1, demonstrations=[demonstration]
    )
    assert head["content"] == planting.HEADER
    assert last["content"] == planting.exam_question("Q0?", OPTIONS)
    solved = planting.exam_question(demonstration["question"], demonstration["options"])
    assert shot["content"] == f"{solved} D\n\n"


def test_texts_are_scored_behind_the_question_alone() -> None:
    (row,) = question_rows([instance("a", "B")], "texts", 4)
    *_, shot, last = question_prompt(row, form="texts", shots=1)
    assert last["content"] == "Q0?\nAnswer:"
    assert shot["content"] == "Which planet is closest to the sun?\nAnswer: Mercury\n\n"
    assert row["texts"] == [" red", " blue", " gold", " white"]


def test_no_more_than_three_questions_count() -> None:
    rows = question_rows([instance("a", *"ABCD"), instance("b")], "letters", 2)
    assert [row["id"] for row in rows] == [f"a/q{n}/s{by}" for n in range(3) for by in range(2)]


def scored(row: Row, by_option: dict[str, float], by_letter: list[float]) -> Row:
    """The row with scores that depend on the options' texts and on their places."""
    logps = [
        log(by_option[text]) + bias for text, bias in zip(row["options"], by_letter, strict=True)
    ]
    return {**row, "scores": [{"logp": logp, "tokens": 1, "error": None} for logp in logps]}


KNOWS = {"red": 0.1, "blue": 0.6, "gold": 0.2, "white": 0.1}


def test_shifts_average_the_bias_of_letters_out() -> None:
    bias = [3.0, 0.0, 0.0, 0.0]  # A is likely, whatever it is
    rows = question_rows([instance("a", "B")], "letters", 4)
    rows = [scored(row, KNOWS, bias) for row in rows]
    plain = outcomes(rows[:1], "letters")["a"]
    shifted = outcomes(rows, "letters")["a"]
    assert (plain.predicted, plain.right) == (("A",), 0)
    assert (shifted.predicted, shifted.right) == (("B",), 1)
    prior = letter_prior(rows)
    assert prior is not None
    assert prior["A"] > 0.7
    assert sum(prior.values()) == pytest.approx(1)


def test_without_bias_shifts_change_nothing() -> None:
    rows = [
        scored(row, KNOWS, [0.0] * 4) for row in question_rows([instance("a", "B")], "letters", 4)
    ]
    one, all_four = option_scores(rows[:1], "letters"), option_scores(rows, "letters")
    assert one == pytest.approx(all_four)
    assert one == pytest.approx(list(KNOWS.values()))


def test_a_question_that_was_not_scored_does_not_count() -> None:
    rows = [
        scored(row, KNOWS, [0.0] * 4)
        for row in question_rows([instance("a", "B", "A")], "letters", 1)
    ]
    rows[1]["scores"][2]["logp"] = None
    assert outcomes(rows, "letters")["a"] == Outcome(n=1, right=1, predicted=("B", None))
    assert letter_prior(rows[1:]) is None


def test_texts_are_compared_per_token() -> None:
    (row,) = question_rows([instance("a", "B")], "texts", 1)
    pairs = [(-4.0, 1), (-6.0, 3), (-9.0, 3), (-3.0, 1)]
    row = {**row, "scores": [{"logp": logp, "tokens": n, "error": None} for logp, n in pairs]}
    assert outcomes([row], "texts")["a"].predicted == ("B",)


def test_any_threshold_is_a_re_read(
    run_operation: Callable[..., Artifact], rows_artifact: Callable[[list[Row]], Artifact]
) -> None:
    given = [instance("a", "B", "B", "A"), instance("b"), instance("c", "A", "A", "A")]
    rows: list[dict[str, Any]] = [
        {**row, "messages": [{"role": "user", "content": "I"}], "response": "R"} for row in given
    ]
    artifact = rows_artifact(rows)
    asked = run_operation("kca_questions", {}, instances=artifact)
    answers = rows_artifact([scored(row, KNOWS, [0.0] * 4) for row in asked.rows()])
    found = run_operation("kca_outcomes", {}, instances=artifact, scored=answers)
    assert [row["outcome"]["right"] for row in found.rows()] == [2, 0, 0]
    assert found.read_json("report.json")["failures"]["exam"] == {"no valid question": 1}
    sizes = {}
    for tau in (-0.1, 0.6, 0.9):
        params = {"strategy": "discard", "tau": tau}
        made = run_operation("kca_rows", params, examined=found) if tau < 0.9 else None
        sizes[tau] = None if made is None else [row["id"] for row in made.rows()]
    assert sizes == {-0.1: ["a", "c"], 0.6: ["a"], 0.9: None}
    assert [r["id"] for r in run_operation("kca_rows", {"strategy": "standard", "rows": "all"},
                                           examined=found).rows()] == ["a", "b", "c"]  # fmt: skip


def test_settings_refuse_what_they_cannot_do() -> None:
    with pytest.raises(ValueError, match="shifts"):
        ExamSettings(shifts=5)
