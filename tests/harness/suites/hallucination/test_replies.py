"""Replies of the hallucination and helpfulness judges."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.suites.hallucination.replies import Task, parse_reply
from harness.suites.hallucination.replies_released import average_released, parse_released
from tests.golden_vectors import vectors

TASKS: dict[str, Task] = {
    "hallucination_judge": "hallucination",
    "effectiveness_judge": "helpfulness",
}
EXECUTED = "h_code"  # the released value exists only by running the judge's text


def test_robust_parsing_matches_the_vectors(golden: Callable[[str], Path]) -> None:
    for row in vectors(golden("kca/judge_parsing.json")):
        found = parse_reply(row["raw"], TASKS[row["type"]])
        spans = None if found.spans is None else list(found.spans)
        expected = row["expected"]
        assert (found.status, found.score, spans, found.explanation) == (
            expected["status"], expected["score"], expected["spans"], expected["explain"],
        ), row["id"]  # fmt: skip


def test_released_parsing_matches_the_vectors(golden: Callable[[str], Path]) -> None:
    for row in vectors(golden("kca/judge_parsing.json")):
        expected: dict[str, Any] = row["reference"]
        if "raises" in expected:
            with pytest.raises(ValueError):
                parse_released(row["raw"], TASKS[row["type"]])
            continue
        found = parse_released(row["raw"], TASKS[row["type"]])
        score = "nan" if math.isnan(found.score) else found.score
        spans = [] if row["id"] == EXECUTED else expected["spans"]
        assert (score, found.spans, found.explanation) == (
            expected["score"], spans, expected["explain"],
        ), row["id"]  # fmt: skip


def test_released_means_match_the_vectors(golden: Callable[[str], Path]) -> None:
    for case in vectors(golden("kca/judge_aggregation.json")):
        scores = [row["judge_score"] for row in case["rows"]]
        replies = [row["judge_result"] for row in case["rows"]]
        found = average_released(scores, replies, TASKS[case["type"]])
        if case["reference"]:
            assert found.mean == pytest.approx(case["reference"]["all_scores"])
            assert found.skipped == case["reference"]["error_cnt"]
        else:
            assert found.mean is None


@pytest.mark.parametrize(
    ("reply", "score"),
    [
        ("**Score:** 1\nWrong.", 1),
        ("Hallucination score (0 or 1): 0", 0),
        ("The score is 1.\n[]", 1),
        ("[[1]]", 1),
        ("１\n[]", 1),
        ("```text\n0\n[]\nFine.\n```", 0),
        ("1/10", 1),
        ("1st of all, it is wrong", None),
        ("five", None),
        ("0,5", None),
        ("-1", None),
        ("2", None),
        ("I would say 1", None),
        ("infinity", None),
    ],
)
def test_a_score_is_read_in_the_forms_judges_write(reply: str, score: float | None) -> None:
    assert parse_reply(reply, "hallucination").score == score


@pytest.mark.parametrize(
    ("reply", "spans", "explanation", "readable"),
    [
        ('1\nSpans: ["a"]\nx', ("a",), "x", True),
        ('1\n["a",\n "b"]\nx', ("a", "b"), "x", True),
        ("1\n[1912]\nx", ("1912",), "x", True),
        ('1 ["a]b"] x', ("a]b",), "x", True),
        ("1\nNone\nx", (), "x", True),
        ("1\nos.system('true')\nx", (), "x", False),
        ("1\n[os.system('true')]\nx", (), "x", False),
        ('1\n["a"', (), "", False),
        ("0\nNothing is wrong [see 3].", (), "Nothing is wrong [see 3].", True),
    ],
)
def test_spans_are_read_and_never_executed(
    reply: str, spans: tuple[str, ...], explanation: str, readable: bool
) -> None:
    found = parse_reply(reply, "hallucination")
    assert (found.spans, found.explanation, found.spans_ok) == (spans, explanation, readable)


def test_half_a_point_counts_only_on_request() -> None:
    assert parse_reply("0.5\n[]", "hallucination").status == "score_out_of_set"
    assert parse_reply("0.5\n[]", "hallucination", half=True).score == 0.5


_PIECES = st.sampled_from(
    ["1", "0", "7.5", "nan", "-", "[", "]", '"', "'", "\n", "\r\n", "Score", ":", "/10", "**",
     "```", "None", "(", ")", "１", "“", "\\x", " ", "{", "'" * 3]
)  # fmt: skip


@given(st.one_of(st.text(), st.lists(_PIECES).map("".join)), st.sampled_from(list(TASKS.values())))
def test_no_text_breaks_the_parser(text: str, task: Task) -> None:
    found = parse_reply(text, task)
    assert (found.score is not None) == (found.status == "ok")
    if found.score is not None:
        assert found.score in (0, 1) if task == "hallucination" else 1 <= found.score <= 10


@given(st.text())
def test_what_follows_a_record_does_not_change_its_score(text: str) -> None:
    assert parse_reply(f'1\n["x"]\n{text}', "hallucination").score == 1
    assert parse_reply(f"8\n{text}", "helpfulness").score == 8


def test_deep_nesting_is_refused_quietly() -> None:
    assert parse_reply("1\n" + "[" * 100_000 + "]" * 100_000, "hallucination").spans == ()
