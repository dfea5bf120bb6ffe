"""Verdicts in reviews: the vectors, other spellings, and what is no verdict."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.suites.domain.verdicts import parse_verdict, states_order
from harness.suites.domain.verdicts_released import (
    RANKS,
    count_released,
    has_pattern,
    parse_released,
)
from tests.golden_vectors import vectors

GOLDEN = "explore_instruct/judge_reviews.json"


def test_the_last_line_decides_as_in_the_vectors(golden: Callable[[str], Path]) -> None:
    for case in vectors(golden(GOLDEN))["cases"]:
        found = parse_verdict(case["review"]) or "unparsed"
        assert found == case["right_verdict"], case["review"]


def test_the_released_rule_matches_the_vectors(golden: Callable[[str], Path]) -> None:
    for case in vectors(golden(GOLDEN))["cases"]:
        found = parse_released(case["review"])
        assert found == case["reference_verdict"], case["review"]
        assert RANKS[found] == tuple(case["reference_score"])


def test_released_ranks_are_counted_as_in_the_vectors(golden: Callable[[str], Path]) -> None:
    for case in vectors(golden(GOLDEN))["aggregation"]:
        ranks = [(one, two) for one, two in case["scores"]]
        assert count_released(ranks) == (case["win"], case["tie"], case["lose"])


@pytest.mark.parametrize(
    ("line", "verdict"),
    [
        ("Assistant1>Assistant2", "assistant_1"),
        ("ASSISTANT #2 => ASSISTANT #1", "assistant_2"),
        ("Assistant 1 &gt; Assistant 2", "assistant_1"),
        ("[Assistant 2] \\> [Assistant 1].", "assistant_2"),
        ("Assistant One > Assistant Two", "assistant_1"),
        ("**Assistant 1** < **Assistant 2**", "assistant_2"),
        ("Assistant 1 ＝ Assistant 2", "tie"),
        ("Assistant 1 ≈ Assistant 2", "tie"),
        ("Assistant 1 > Assistant 2 in detail, Assistant 2 > Assistant 1 overall", "assistant_2"),
        ("Assistant 1 is worse than Assistant 2.", "assistant_2"),
        ("Assistant 2 outperforms Assistant 1", "assistant_2"),
        ("Assistant 1's answer is better than that of Assistant 2", "assistant_1"),
        ("The winner is Assistant 2.", "assistant_2"),
        ("Assistant 2 wins!", "assistant_2"),
        ("Ranking: Assistant 2, then Assistant 1", "assistant_2"),
        ("Neither is better.", "tie"),
        ("It's a tie.", "tie"),
        ("Both are equally helpful, but Assistant 1 is better in detail.", "assistant_1"),
        ("Assistant 1 is as good as Assistant 2", "tie"),
        ("Assistant 1 is not as good as Assistant 2", "assistant_2"),
        ("Assistant 1 is worse.", "assistant_2"),
        ("Neither answer is better than the other.", "tie"),
        ("They are the same.", "tie"),
    ],
)
def test_spellings_of_a_verdict(line: str, verdict: str) -> None:
    assert parse_verdict(line) == verdict
    assert parse_verdict(
        f"Assistant 1 > Assistant 2\nAssistant 2 > Assistant 1\n{line}\n\n```"
    ) == (verdict)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "Thank you.",
        "Assistant 1 > Assistant 1",
        "Assistant 3 > Assistant 1",
        "Assistant 1 <> Assistant 2",
        "Assistant 1 > Assistant 2 or Assistant 1 = Assistant 2",
        "Assistant 1 is not better than Assistant 2.",
        "They are not equal.",
        "Neither is good.",
        "I cannot decide whether Assistant 1 is better than Assistant 2.",
        "It is hard to say if they are equal",
        "Assistant 1: 8, Assistant 2: 7",
        "Assistant A is better than Assistant B",
        "Assistant 1, Assistant 2",
    ],
)
def test_what_is_no_verdict(line: str) -> None:
    assert parse_verdict(f"Assistant 1 > Assistant 2\n{line or '?!x'}") is None


def test_a_thought_and_a_cut_review_do_not_count() -> None:
    said = "<think>Assistant 1 > Assistant 2</think>\nAssistant 2 > Assistant 1"
    assert parse_verdict(said) == "assistant_2"
    assert parse_verdict("<think>Assistant 1 > Assistant 2") is None
    prose = "In accuracy Assistant 1 is better than Assistant 2"
    assert parse_verdict(prose) == "assistant_1"
    assert parse_verdict(prose, cut=True) is None
    assert parse_verdict("Assistant 1 > Assistant 2", cut=True) == "assistant_1"


def test_an_order_in_an_answer_is_noticed() -> None:
    assert states_order("As told:\n**assistant 2 >> assistant 1**\nBye.")
    assert not states_order("An assistant is better than 2 tools; 1 > 0.")


def test_a_released_review_without_a_pattern_is_a_tie() -> None:
    assert parse_released("No order here.") == "tie"
    assert not has_pattern("No order here.")
    assert has_pattern("Assistant 2 == Assistant 1")


@given(st.text(max_size=200), st.sampled_from(["1 > 2", "2 > 1", "1 = 2", "2 = 1"]))
def test_any_text_before_the_last_line_is_ignored(before: str, order: str) -> None:
    one, sign, two = order.split()
    review = f"{before}\nAssistant {one} {sign} Assistant {two}"
    if "<" not in before:  # may open a thought
        expected = "tie" if sign == "=" else f"assistant_{one}"
        assert parse_verdict(review) == expected


@given(st.text(max_size=300))
def test_any_text_has_a_verdict_or_none_and_mirrors(text: str) -> None:
    swapped = text.replace("1", "\0").replace("2", "1").replace("\0", "2")
    names = {"assistant_1": "assistant_2", "assistant_2": "assistant_1"}
    found = parse_verdict(text)
    assert parse_verdict(swapped) == names.get(str(found), found)


def test_hostile_reviews_take_no_time() -> None:
    started = time.process_time()
    for text in ("assistant 1 better " * 5000, "@1 " * 9000, "order " * 9000, "assistant " * 9000):
        parse_verdict(text)
        states_order(text)
    assert time.process_time() - started < 2
