"""Replies about authors: golden cases, every trap by example, and laws for any text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.suites.personality.questionnaires import load
from harness.suites.personality.replies import Answer, read_all, read_choice, read_score
from tests.golden_vectors import vectors

AB = {"A": "High Extraversion", "B": "Low Extraversion"}
ABC = {"A": "Facts-based courses", "B": "Theory-based courses", "C": "Not sure"}
ABCD = {"A": "makes lists", "B": "starts at once", "C": "starts late", "D": "Not sure"}
OPTIONS = {"choice_ab": AB, "choice_abc": ABC, "choice_abcd": ABCD}
REFUSED, UNCLEAR, OUTSIDE, UNREAD = "refusal", "ambiguous", "out_of_range", "unparsed"


def check(found: Answer, expected: int | str) -> None:
    """A value is expected as itself, its absence by its status."""
    if isinstance(expected, int) or len(expected) == 1:
        assert found == Answer(expected, "ok")
    else:
        assert found == Answer(None, expected)  # type: ignore[arg-type]


def test_golden_replies(golden: Callable[[str], Path]) -> None:
    for case in vectors(golden("psycot/replies.json"))["cases"]:
        kind, reply = case["kind"], case["reply"]
        found = read_score(reply) if kind == "score" else read_choice(reply, OPTIONS[kind])
        expected = (case["expected_value"], case["expected_status"])
        assert (found.value, found.status) == expected, case


SCORES: list[tuple[str, int | str]] = [
    # tags, markup, scripts
    ("4.", 4),
    ("**4**", 4),
    ("__4__", 4),
    ("`4`", 4),
    ("<b>4</b>", 4),
    ("<answer>4</answer>", 4),
    ("SCORE: <answer>", UNREAD),
    ("4<|im_end|>", 4),
    ("4</s>", 4),
    ("> 4", 4),
    ("# SCORE: 4", 4),
    ("- 4", 4),
    ("SCORE: five", 5),
    ("Score: Three", 3),
    ("SCORE:\n4", 4),
    ("SCORE - 4", 4),
    ("Score=4", 4),
    ("Score is 4", 4),
    ("The score is: 4", 4),
    ("Final Answer: 2", 2),
    ("My rating: 2.", 2),
    ("The answer is 2", 2),
    ("SCORE: ４", 4),
    ("ＳＣＯＲＥ：５", 5),
    ("SCORE: ٤", 4),
    ("४", 4),
    ("③", 3),
    ("4️⃣", 4),
    ("评分：4", 4),
    ("4分", 4),
    ("四", 4),
    ("Bewertung: 2", 2),
    ("PUNTUACIÓN: 3", 3),
    ('{"score": 4}', 4),
    ('```json\n{"score": "4", "reason": "2 friends"}\n```', 4),
    ("{'rating': 5}", 5),
    ('{"S3": 4}', 4),
    (r"\boxed{4}", 4),
    (r"$\boxed{\text{4}}$", 4),
    (r"\[\boxed{3}\]", 3),
    ("SCORE: [4]", 4),
    ("SCORE: (4)", 4),
    ('SCORE: "4"', 4),
    ("SCORE: 4.0", 4),
    ("SCORE: +4", 4),
    ("SCORE: 4 / 5", 4),
    ("SCORE: 4 of 5", 4),
    ("three out of five", 3),
    ("4/5 because of 2 remarks", 4),
    # prose
    ("I'd say 4 (agree a little)", 4),
    ("I would go with 3.", 3),
    ("I'd give it a four.", 4),
    ("I would rate it as a 5", 5),
    ("Based on the text, my rating would be 2.", 2),
    ("It seems to be a 4.", 4),
    ("The author is kind, so 4.", 4),
    ("Hmm... 2?", 2),
    ("Sure! 4", 4),
    ("Not sure, but I would say 2", 2),
    ("It is not a 2, it is a 4", 4),
    ("Not 5. SCORE: 4", 4),
    ("4, because she mentions 3 friends and 2 cats.", 4),
    ("On a scale of 1 to 5, I'd say 2.", 2),
    ("From 1 (disagree strongly) to 5 (agree strongly): 4", 4),
    ("1. She is kind.\n2. She helps.\nSCORE: 5", 5),
    ("1. She is kind.\n2. She helps.\nSo I would say 4.", 4),
    ("SCORE: 4\n\nExplanation: S2 and S3 were rated 2.", 4),
    ("<think>Maybe 2? SCORE: 2</think>\nSCORE: 4", 4),
    ("<think>SCORE: 2", "empty"),
    # words of the scale
    ("Strongly agree", 5),
    ("Agree strongly.", 5),
    ("slightly disagree", 2),
    ("Neutral", 3),
    ("SCORE: agree a little", 4),
    ("Neither agree nor disagree", 3),
    ("I somewhat agree with this statement", 4),
    ("I do not agree strongly", UNREAD),
    ("Agree", UNCLEAR),
    ("SCORE: 4 (disagree a little)", 4),
    # several answers
    ("4-5", UNCLEAR),
    ("SCORE: 4-5", UNCLEAR),
    ("3 or 4", UNCLEAR),
    ("2 or maybe 3", UNCLEAR),
    ("2~3", UNCLEAR),
    ("2…3", UNCLEAR),
    ("SCORE: 2 or 3", UNCLEAR),
    ("SCORE: 2, 3", UNCLEAR),
    ("I would say 3 to 4.", UNCLEAR),
    ("Somewhere between three and four", UNCLEAR),
    ("SCORE: 2. No, SCORE: 4", UNCLEAR),
    ("SCORE: 4\nSCORE: 4", 4),
    ("SCORE: 3/4", UNCLEAR),
    # outside
    ("6", OUTSIDE),
    ("0", OUTSIDE),
    ("-1", OUTSIDE),
    ("SCORE: -2", OUTSIDE),
    ("SCORE: 45", OUTSIDE),
    ("SCORE: 8/10", OUTSIDE),
    ("7 out of 10", OUTSIDE),
    ("SCORE: 3,5", OUTSIDE),
    ("3½", OUTSIDE),
    ("SCORE: 80%", UNREAD),
    ("I'd give it a 7.", OUTSIDE),
    ("SCORE: ten", OUTSIDE),
    # no answer
    ("SCORE: 1-5", UNREAD),
    ("SCORE: <1/2/3/4/5>", UNREAD),
    ("SCORE: 1 to 5", UNREAD),
    ("SCORE:", UNREAD),
    ("SCORE: N/A", UNREAD),
    ("?", UNREAD),
    ("The writer helps 3 friends.", UNREAD),
    ("She was born in 1999 and has 2 sisters", UNREAD),
    ("This is the 3rd statement.", UNREAD),
    ("no one knows", UNREAD),
    ("Human: S4: \"is kind\"", UNREAD),
    ("As an AI language model, I cannot rate people.", REFUSED),
    ("I can't assign a score from 1 to 5.", REFUSED),
    ("There is not enough information to give a score of 4 or 5.", REFUSED),
    ("I'm unable to pick one.", REFUSED),
    ("I am sorry, I won't do that.", REFUSED),
    ("I cannot decide whether this is a 3.", REFUSED),
    ("\ufeff \u200b\n", "empty"),
    # the dialogue goes on
    ("4\nHuman: S4: \"is kind\"\nAssistant: 2", 4),
    ("Assistant: 4", 4),
    ("4 Human: S5", 4),
    ("S3: 4\nS4: 2\nS5: 1", 4),
    ("S3 - SCORE: 2\nS4 - SCORE: 4", 2),
]  # fmt: skip


@pytest.mark.parametrize(("reply", "expected"), SCORES)
def test_scores(reply: str, expected: int | str) -> None:
    check(read_score(reply), expected)


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("S3: 4", 4),
        ("S7: 2", UNREAD),
        ("SCORE for S7: 2", UNREAD),
        ("S2: 5\nS3: 4\nS4: 1", 4),
        ("4\nS7: 2", 4),
        ("As in S2, I would say 4", 4),
    ],
)
def test_another_items_answer_is_not_read(reply: str, expected: int | str) -> None:
    check(read_score(reply, slot=3), expected)


CHOICES_AB: list[tuple[str, str]] = [
    ("Answer: (B) because of the parties", "B"),
    ("Answer: (A) High Extraversion", "A"),
    ("Answer is B", "B"),
    ("The answer is: A.", "A"),
    ("Final choice: B", "B"),
    ("CHOICE：Ｂ", "B"),
    ("CHOICE: В", "B"),  # Cyrillic
    ("CHOICE:\nB", "B"),
    ("CHOICE: Option A", "A"),
    ("CHOICE: [A]", "A"),
    ("CHOICE: 'B'", "B"),
    ("CHOICE: low extraversion", "B"),
    ("CHOICE: A high extraversion", "A"),
    ("CHOICE: A, not B", "A"),
    ("CHOICE: A (not B)", "A"),
    ("CHOICE: A rather than B", "A"),
    ("B rather than A", "B"),
    ("b", "B"),
    ("a", "A"),
    ("a.", "A"),
    ("A.", "A"),
    ("**B**", "B"),
    ("B\n\nThe author avoids parties.", "B"),
    ("- B", "B"),
    ("3. B", "B"),
    ("S8: B", "B"),
    ('{"choice": "B"}', "B"),
    ('{"answer": "A", "reason": "A lively author"}', "A"),
    (r"\boxed{B}", "B"),
    (r"\boxed{\text{A}}", "A"),
    ("<think>A or B? A.</think>CHOICE: B", "B"),
    ("I think it's B.", "B"),
    ("I choose A", "A"),
    ("I would go with option B.", "B"),
    ("Between A and B, I choose B", "B"),
    ("It's A, I believe", "A"),
    ("A is more likely.", "A"),
    ("The author is more likely A", "A"),
    ("The author is more likely B: \"Low Extraversion\".", "B"),
    ("A quiet author with few friends. CHOICE: B", "B"),
    ("A quiet author, so B.", "B"),
    ("It is not B. It is A.", "A"),
    ("The author has low extraversion", "B"),
    ("Low Extraversion rather than High Extraversion", "B"),
    ("More likely to be Low Extraversion than High Extraversion.", "B"),
    ("Not High Extraversion; Low Extraversion", "B"),
    ("Low", "B"),
    ("High.", "A"),
    ("Both signs point to A.", "A"),
    ("Not sure, but I'd go with A", "A"),
    ("I'm sorry if this is wrong. CHOICE: A", "A"),
    ("B\nHuman: Thanks!\nAssistant: A", "B"),
    ("A or B", UNCLEAR),
    ("both", UNCLEAR),
    ("Both A and B", UNCLEAR),
    ("Neither", UNCLEAR),
    ("Neither A nor B", UNCLEAR),
    ("CHOICE: Neither", UNCLEAR),
    ("CHOICE: both", UNCLEAR),
    ("CHOICE: A and B", UNCLEAR),
    ("CHOICE: A, B", UNCLEAR),
    ("CHOICE: A|B", UNCLEAR),
    ("It could be either.", UNCLEAR),
    ("Not sure whether A or B", UNCLEAR),
    ("I am not sure.", UNCLEAR),
    ("CHOICE: A. CHOICE: B", UNCLEAR),
    ("High Extraversion or Low Extraversion", UNCLEAR),
    ("CHOICE: A - Low Extraversion", UNCLEAR),
    ("The author is not High Extraversion", UNREAD),
    ("I don't think it is A.", UNREAD),
    ("A person who writes a lot", UNREAD),
    ("I see a careful author", UNREAD),
    ("CHOICE:", UNREAD),
    ("CHOICE: <your answer>", UNREAD),
    ("CHOICE: E", OUTSIDE),
    ("D", OUTSIDE),
    ("CHOICE: 1", OUTSIDE),
    ("I cannot choose between A and B.", REFUSED),
    ("As an AI, I can't say whether a person is A.", REFUSED),
    ("I apologize, but there is insufficient information.", REFUSED),
    ("It is impossible to judge this.", REFUSED),
]  # fmt: skip


@pytest.mark.parametrize(("reply", "expected"), CHOICES_AB)
def test_choices_of_a_pole(reply: str, expected: str) -> None:
    check(read_choice(reply, AB), expected)


@pytest.mark.parametrize(
    ("reply", "options", "expected"),
    [
        ("I'm not sure", ABC, "C"),
        ("Not sure.", ABC, "C"),
        ("CHOICE: Not sure", ABC, "C"),
        ("C: Not sure", ABC, "C"),
        ("unsure", ABC, "C"),
        ("Hard to say.", ABC, "C"),
        ("I am not sure if it is A or B.", ABC, "C"),
        ("I'm not sure, but I would choose B", ABC, "B"),
        ("theory-based courses", ABC, "B"),
        ("They would not like facts-based courses", ABC, UNREAD),
        ("CHOICE: A or B", ABC, UNCLEAR),
        ("As an AI I am unable to answer.", ABC, REFUSED),
        ("CHOICE: C. starts late", ABCD, "C"),
        ("D) Not sure", ABCD, "D"),
        ("not sure whether A, B, or C", ABCD, "D"),
        ("CHOICE: <A/B/C/D>", ABCD, UNCLEAR),
        ("E", ABCD, OUTSIDE),
        ("Q: 7\nCHOICE: B", ABCD, "B"),
        ("option b", ABC, "B"),
        ("Q: B", ABC, "B"),
        ("CHOICE: B\nQ: At a party?\nCHOICE: A", ABC, "B"),
        ("A: Facts-based courses, B: Theory-based courses, C: Not sure", ABC, UNCLEAR),
        ("They prefer theory-based courses over facts-based courses", ABC, "B"),
    ],
)
def test_choices_with_not_sure(reply: str, options: dict[str, str], expected: str) -> None:
    check(read_choice(reply, options), expected)


@pytest.mark.parametrize(
    ("reply", "values"),
    [
        ("S0: 4\nS1: 5\nS2: 2\nCHOICE: A", [4, 5, 2]),
        ("S0: 4, S1: five; S2 - 2. CHOICE: A", [4, 5, 2]),
        ('{"S0": 4, "S1": 5, "S2": 2, "CHOICE": "A"}', [4, 5, 2]),
        ("S2: 2\nS0: 4\nS1: 5\nCHOICE: A", [4, 5, 2]),
        ("4\n5\n2\nCHOICE: A", [4, 5, 2]),
        ("S0: 4\nS2: 9\nCHOICE: A", [4, None, None]),
        ("S0: 4\nS0: 3\nS1: 5\nS2: 2\nS3: 1\nCHOICE: A", [None, 5, 2]),
        ("**S0:** 4\n**S1:** 5\n**S2:** 2\n\nCHOICE: <A>", [4, 5, 2]),
    ],
)
def test_all_items_in_one_reply(reply: str, values: list[int | None]) -> None:
    answers, rest = read_all(reply, load("bfi44").of("agr", 3))
    assert [answer.value for answer in answers] == values
    check(read_choice(rest, AB), "A")


def test_all_choice_items_in_one_reply() -> None:
    answers, rest = read_all("S0: A\nS1: C\nS2: b\nCHOICE: B", load("mbti50").of("ei", 3))
    assert [answer.value for answer in answers] == ["A", "C", "B"]
    check(read_choice(rest, AB), "B")


def test_nothing_in_the_reply_to_all_items() -> None:
    answers, rest = read_all("", load("bfi44").of("agr", 2))
    assert [answer.status for answer in answers] == ["empty", "empty"]
    assert not rest


WORDS = [
    "SCORE:", "CHOICE:", "S3:", "4", "2", "A", "B", "C", "or", "and", "/", "-", "not", "but",
    "<1-5>", "Human:", "Assistant:", "<think>", "</think>", "High", "Low",
    "Extraversion", "sure", "four",
    "agree", "strongly", "½", "４", ".", ",", "(", ")", "{", "}", "sorry", "cannot", "\n",
]  # fmt: skip
PIECES = st.lists(
    st.one_of(
        st.sampled_from(WORDS),
        st.text(max_size=6),
    ),
    max_size=14,
).map(" ".join)  # fmt: skip


@given(PIECES, st.sampled_from([AB, ABC, ABCD, {}, {"A": "", "B": ""}]))
def test_never_raises_and_never_leaves_what_was_offered(
    reply: str, options: dict[str, str]
) -> None:
    score, choice = read_score(reply), read_choice(reply, options)
    assert score.value in ((1, 2, 3, 4, 5) if score.status == "ok" else (None,))
    assert choice.value in (options if choice.status == "ok" else (None,))
    read_all(reply, load("bfi44").of("agr", 3))


@given(PIECES)
def test_canonical_output_of_a_reading_reads_the_same(reply: str) -> None:
    score, choice = read_score(reply), read_choice(reply, ABC)
    if score.status == "ok":
        assert read_score(f"SCORE: {score.value}") == score
    if choice.status == "ok":
        assert read_choice(f"CHOICE: {choice.value}", ABC) == choice


@pytest.mark.parametrize("unit", ["not ", "1", "1/", "A or ", "S1: ", "score ", "<b>", "\\", " \n"])
def test_long_replies_take_linear_time(unit: str) -> None:
    read_score(unit * 5_000)
    read_choice(unit * 5_000, ABC)
