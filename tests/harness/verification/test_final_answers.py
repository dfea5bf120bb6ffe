"""Final answers in responses: boxes, announced answers, and the released rule."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.verification.final_answers import braced, final_answer, last_boxed
from harness.verification.final_answers_released import released_answer, released_equal
from tests.golden_vectors import vectors

EXTRACTION = "explore_instruct/math_answer_extraction.json"
EQUIVALENCE = "explore_instruct/math_equivalence.json"


def test_boxes_and_released_predictions_match_the_vectors(golden: Callable[[str], Path]) -> None:
    for case in vectors(golden(EXTRACTION))["cases"]:
        assert last_boxed(case["text"]) == case["boxed"], case["text"]
        assert released_answer(case["text"]) == case["used_prediction"], case["text"]


def test_released_equality_matches_the_vectors(golden: Callable[[str], Path]) -> None:
    for case in vectors(golden(EQUIVALENCE))["cases"]:
        found = released_equal(case["prediction"], case["gold"])
        assert found == case["reference"], (case["prediction"], case["gold"])


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ("\\text{ a }\\text{ b }", "1", False),  # several units: plain texts are compared
        ("\\frac", "\\frac", True),
        ("-3/4", "\\frac{-3}{4}", True),
        ("03/4", "\\frac{03}{4}", False),
        (".50", "0.50", True),
        ("\\sqrt2 + 1", "\\sqrt{2}+1", True),
    ],
)
def test_corners_of_the_released_rule(one: str, other: str, equal: bool) -> None:
    assert released_equal(one, other) is equal


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("First \\boxed{3}, then \\boxed{\\frac{1}{2}}.", "\\frac{1}{2}"),
        ("Open \\boxed{3, closed \\fbox{7}", "7"),
        ("\\boxed 9", "9"),
        ("\\boxed{\\{1, 2\\}}", "\\{1, 2\\}"),
        ("The answer is 42.", "42"),
        ("The final answer is: $\\frac12$. I hope so.", "\\frac12"),
        ("**Answer:** 3.5 cm", "3.5 cm"),
        ("Answer:\n\n$12$", "12"),
        ("So: 3+3=6. Answer: *15, odd*. Done.", "15, odd"),
        ("2 + 2 = 4\n#### 4", "4"),
        ("It is 2.75", "2.75"),
        ("Therefore $a + b = 3 + 4 = 7$.", "7"),
        ("\\[ x = 3.5 \\]", "3.5"),
        ("There are 12 ways.", "12 ways"),
        ("We counted 1,234 of them", "1,234"),
        ("\\boxed{}", None),
        ("This is", None),
        ("I do not know", None),
        ("", None),
    ],
)
def test_answers_are_found(response: str, answer: str | None) -> None:
    assert final_answer(response) == answer


def test_braces_that_are_escaped_do_not_count() -> None:
    assert braced("a\\}b}c", 0) == "a\\}b"
    assert braced("{a}", 0) is None


@given(st.text(alphabet="ab{}\\boxed1.$= is\n", max_size=60))
def test_any_response_has_an_answer_or_none(response: str) -> None:
    found = final_answer(response)
    assert found is None or found == found.strip() != ""
    assert final_answer(response + "\n\\boxed{17}") == "17"


def test_hostile_responses_take_no_time() -> None:
    started = time.process_time()
    for part in ("\\boxed{", "answer ", "$", "is ", "\\[", "answer to a "):
        final_answer(part * 20_000)
        released_answer(part * 20_000)
    assert time.process_time() - started < 3
