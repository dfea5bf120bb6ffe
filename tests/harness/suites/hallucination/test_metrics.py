"""What one answer counts, and the curve of confidence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.suites.hallucination.metrics import (
    judge_counts,
    most_confident,
    read_answer,
    risk_coverage,
)
from harness.suites.hallucination.refusals import SENTENCE


def row(text: str, score: float | None = None, **more: Any) -> dict[str, Any]:
    """A judged row."""
    value = None if score is None else {"score": score}
    outcome = {"value": value, "reply": "?", "attempts": 1, "failure": None if value else "no"}
    return {"id": "a", "responses": [text], "hallucination": outcome, **more}


def test_refused_and_empty_answers_contain_no_hallucination() -> None:
    assert read_answer(row("Lisbon.", 1)).hallucination == 1
    assert read_answer(row(SENTENCE, 1)).hallucination == 0
    assert read_answer(row("", None)).hallucination == 0
    assert read_answer(row("Lisbon.", None)).hallucination is None
    assert read_answer(row(f"{SENTENCE} It is Lisbon.", 1)).hallucination == 1


def test_a_quoted_refusal_is_one_only_at_the_released_level() -> None:
    quoted = row(f'"{SENTENCE}" is a template.', 1)
    assert read_answer(quoted).hallucination == 1
    assert read_answer(quoted, by="exact").hallucination == 0


def test_the_judge_may_decide_what_is_refused() -> None:
    said = row("Better ask a librarian.", 0, refusal={"value": True})
    assert read_answer(said, by="judge").kind == "refused"
    assert read_answer(said).kind == "answered"
    lost = row("I don't know.", 0, refusal={"value": None})
    assert read_answer(lost, by="judge").kind == "refused"


def test_a_failed_system_has_no_values() -> None:
    found = read_answer({"id": "a", "responses": [], "error": "too long"})
    assert found.failed
    assert (found.hallucination, found.helpfulness, found.refused_at("exact")) == (None,) * 3


def test_released_counting() -> None:
    assert read_answer(row("x", -100), parser="released").hallucination == 1
    assert read_answer(row("x", 0.5), parser="released").hallucination == 0.5
    assert read_answer(row(SENTENCE, 1), parser="released").hallucination == 1
    silent = row("x", -100)
    silent["hallucination"]["reply"] = ""
    assert read_answer(silent, parser="released").hallucination is None


def test_confidence_is_the_mean_probability_of_tokens() -> None:
    scored = row("x", 0, confidence_scores=[{"logp": -2.0, "tokens": 2, "error": None}])
    assert read_answer(scored).confidence == pytest.approx(np.exp(-1))
    assert read_answer(row("x", 0)).confidence is None


def test_replies_are_counted_by_status() -> None:
    rows = [row("x", 1), row("x"), row("x"), row("x"), {"id": "b", "responses": []}]
    rows[1]["hallucination"]["reply"] = "no idea"
    rows[2]["hallucination"]["reply"] = ""
    rows[3]["hallucination"] |= {"reply": "7", "attempts": 2}
    assert judge_counts(rows, "hallucination") == {
        "n_parsed": 1, "n_unparsed": 1, "n_empty": 1, "n_out_of_set": 1, "n_asked_again": 1,
    }  # fmt: skip


def test_the_area_under_the_curve() -> None:
    counts = np.ones((1, 4), np.int32)
    confidence, wrong = np.array([0.9, 0.8, 0.7, 0.6]), np.array([0.0, 0.0, 1.0, 1.0])
    areas, curve = risk_coverage(confidence, wrong, counts)
    assert curve.tolist() == pytest.approx([0, 0, 1 / 3, 1 / 2])
    assert areas[0] == pytest.approx(curve.mean())
    worst, _ = risk_coverage(-confidence, wrong, counts)
    assert worst[0] > areas[0]


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=12))
def test_a_resample_is_like_repeated_rows(answers: list[tuple[float, bool]]) -> None:
    confidence = np.array([number for number, _ in answers])
    wrong = np.array([float(flag) for _, flag in answers])
    twice = np.full((1, len(answers)), 1, np.int32)
    areas, curve = risk_coverage(confidence, wrong, twice)
    assert areas[0] == pytest.approx(curve.mean())
    assert 0 <= areas[0] <= 1
    assert curve[-1] == pytest.approx(wrong.mean())


def test_the_most_confident_answers() -> None:
    answers = [
        read_answer(row(text, 0, confidence_scores=[{"logp": logp, "tokens": 1, "error": None}]))
        for text, logp in (("a", -1.0), ("b", -0.1), (SENTENCE, 0.0), ("c", -2.0))
    ]
    assert most_confident(answers, 0.34) == [True, True, False, False]
    assert most_confident(answers, 1.0) == [True, True, False, True]
