"""Refusals found by rule."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.suites.hallucination.refusals import SENTENCE, refusal
from tests.golden_vectors import vectors

NAMES = {True: "refused", False: "answered", "partial": "partial", "empty": "empty"}


def test_levels_match_the_vectors(golden: Callable[[str], Path]) -> None:
    rows = vectors(golden("kca/refusal_detection.json"))
    assert rows[0]["answer"] == SENTENCE
    for row in rows:
        answer = row["answer"]
        assert (refusal(answer, "exact") == "refused") == row["reference_dropped"], answer
        assert refusal(answer) == NAMES[row["expected_refusal"]], answer


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("I don't know.", "refused"),
        ("I’m sorry, but I cannot answer this question. Please ask something else.", "refused"),
        ("Unfortunately, I do not have information about that.", "refused"),
        ("I don't know, but it may be Lisbon. The river there is the Tagus.", "partial"),
        ("I cannot provide the date. It was built in 1889.", "partial"),
        ("I don't know why people say that, but cats land on their feet.", "partial"),
        ("I don't know, but you may ask a librarian.", "refused"),
        ("I can answer that: Lisbon.", "answered"),
        ('He said "I don\'t know" and left.', "answered"),
        ("私は知りません。", "answered"),
        ("  \n", "empty"),
    ],
)
def test_phrases(answer: str, expected: str) -> None:
    assert refusal(answer) == expected


@given(st.text())
def test_exactly_the_sentence_is_refused_at_every_level(text: str) -> None:
    assert refusal(SENTENCE, "exact") == refusal(SENTENCE, "normalised") == "refused"
    assert refusal(text) in ("refused", "partial", "empty", "answered")
    if text.strip():
        assert refusal(f"{SENTENCE} The year was {text}.") in ("refused", "partial")
