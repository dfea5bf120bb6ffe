"""Removal of the answer header."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from harness.suites.domain.answers import cleaned, cleaned_row
from harness.suites.domain.answers_released import strip_characters
from tests.golden_vectors import vectors


def test_both_rules_match_the_vectors(golden: Callable[[str], Path]) -> None:
    for case in vectors(golden("explore_instruct/response_strip.json"))["cases"]:
        assert cleaned(case["decoded"]) == case["right_answer"]
        assert cleaned(case["decoded"], "compat") == case["reference_answer"]
        assert strip_characters(case["decoded"]) == case["reference_answer"]


@given(st.text())
def test_one_header_is_removed_and_nothing_else(text: str) -> None:
    assert cleaned(f"### Response:{text}") == text.strip()
    assert cleaned(text, "none") == text
    if "#" not in text:
        assert cleaned(text) == text.strip()


def test_a_row_keeps_what_is_not_an_answer() -> None:
    row = {"id": "a", "responses": ["### response : Yes", "no"], "finish": ["stop", "stop"]}
    assert cleaned_row(row, "header") == {**row, "responses": ["Yes", "no"]}
    assert cleaned_row({"id": "a", "error": "long"}, "header")["responses"] == []
