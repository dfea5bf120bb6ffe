"""Letters of multiple-choice answers: the original's reading exactly, and ours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.verification.letters import LETTERS, chosen_letter, released_letter
from tests.golden_vectors import vectors


def test_golden_letters_are_read_as_by_the_original(golden: Callable[[str], Path]) -> None:
    cases = vectors(golden("fusechat3/mc_answer_extraction.json"))["cases"]
    assert cases
    for case in cases:
        assert released_letter(case["text"]) == case["extracted"], case["text"]


# Each difference that the module names: text, the original's letter, ours.
@pytest.mark.parametrize(
    ("text", "released", "chosen"),
    [
        ("the answer is H\nthe answer is I", "H", "I"),
        ("Options H and I are close", "I", None),
        ("I think it is a good one", "I", None),
        ("answer is A cat; final letter C", "A", None),
        ("The answer is h", None, "H"),
        ("答案是B", None, "B"),
        ("答案\uff1aC", "C", "C"),
        ("The best answer is [B].", "B", "B"),
        ("The correct answer is: **(D) Paris**", "D", "D"),
        ("so \\boxed{\\text{B}}", "B", "B"),
        ("Reasoning about A.\n\n(D)", "D", "D"),
        ("Option A is wrong.", "A", None),
        ("The answer is not B", "B", None),
        ("", None, None),
    ],
)
def test_where_the_readings_differ(text: str, released: str | None, chosen: str | None) -> None:
    assert (released_letter(text), chosen_letter(text)) == (released, chosen)


def test_only_letters_of_options_are_chosen() -> None:
    assert chosen_letter("The answer is E.", 4) is None
    assert chosen_letter("The answer is B. The answer is E.", 4) == "B"


@given(st.sampled_from(LETTERS), st.text(alphabet="xyz .\n", max_size=40))
def test_the_closing_sentence_decides(letter: str, before: str) -> None:
    text = f"The answer is A.\n{before}\nThe best answer is {letter}."
    assert chosen_letter(text) == chosen_letter(text + "\n\n") == letter


def test_a_statement_comes_before_a_letter_alone() -> None:
    assert chosen_letter("The answer is B\n\nC\n") == "B"
    assert chosen_letter("A\n\nC\n") == "C"
    assert chosen_letter("\\boxed{d} but the answer is (a)") == "A"
    assert chosen_letter("the answer is (a), \\boxed{d}") == "D"
    assert chosen_letter("The answer is J") == "J"
    assert chosen_letter("The answer is A", 0) is None
    assert released_letter("Answer: C or the answer is (B") == "B"
