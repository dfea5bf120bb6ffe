"""Parsers of judge replies: golden cases, laws, and hostile text in linear time."""

from __future__ import annotations

import builtins
import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from harness.core.errors import UnknownName
from harness.judging import verdicts
from harness.judging.labels import ARENA_LABELS, label_rows
from harness.models.thoughts import split_thought
from tests.golden_vectors import vectors

LABEL_ROWS = label_rows()

Golden = Callable[[str], Path]

TEXTS = st.one_of(
    st.text(),
    st.text(alphabet="[]ABCab<>=≫0123456789./,- \n"),
    st.lists(
        st.sampled_from(
            [
                "[[A]]",
                "[[B]]",
                "[[C]]",
                "[[7]]",
                "[3]",
                "[[A>B]]",
                "[[B>>A]]",
                "<think>",
                "</think>",
            ]
        )
    ).map(" ".join),
)


def cases(golden: Golden, group: str) -> list[dict]:
    return vectors(golden("judge_parsing/cases.json"))[group]


def same(found: object, expected: object) -> bool:
    return found is None if expected is None else found == expected


def check_compat(parse: Callable[[str, str], object], case: dict) -> None:
    expected = case["reference"]
    if isinstance(expected, str) and expected.startswith("RAISES "):
        with pytest.raises(getattr(builtins, expected.split()[1])):
            parse(case["reply"], "compat")
    else:
        assert same(parse(case["reply"], "compat"), expected), case


def test_golden_ratings(golden: Golden) -> None:
    for case in cases(golden, "mt_bench_single"):
        assert same(verdicts.parse_rating(case["reply"]), case["right"]), case
        check_compat(verdicts.parse_rating, case)


def test_golden_pairwise_verdicts(golden: Golden) -> None:
    for case in cases(golden, "mt_bench_pairwise"):
        assert verdicts.parse_pairwise(case["reply"]) == case["right"], case
        check_compat(verdicts.parse_pairwise, case)


def test_golden_arena_labels(golden: Golden) -> None:
    for case in cases(golden, "arena_hard"):
        assert same(verdicts.parse_arena_label(case["reply"]), case["right"]), case
        check_compat(verdicts.parse_arena_label, case)
        label = verdicts.parse_arena_label(case["reply"], "compat")
        rows = case["reference_row_scores_as_game2"]
        if rows == "record dropped":
            assert label is None, case
        elif isinstance(rows, str):
            with pytest.raises(getattr(builtins, rows.split()[1])):
                LABEL_ROWS[label]
        else:
            assert list(LABEL_ROWS[label]) == rows, case


def test_golden_logprob_preferences(golden: Golden) -> None:
    path = golden("alpaca_eval2/logprob_preferences.json")
    for case in vectors(path):
        top = [(item["token"], item["logprob"]) for item in case["top_logprobs"]]
        first = verdicts.probability_from_logprobs(top)
        assert first is not None
        model = first if case["is_switched"] else 1 - first
        assert 1 + model == pytest.approx(case["preference"], abs=1e-9), case


@pytest.mark.realdata
def test_switching_order_of_the_real_instructions(realdata: Callable[[str], Path]) -> None:
    import csv
    import gzip

    folder = realdata("alpaca_eval2")
    with gzip.open(folder / "instructions.jsonl.gz", "rt", encoding="utf-8") as lines:
        texts = {row["instruction_sha256_16"]: row["instruction"] for row in map(json.loads, lines)}
    with (folder / "instruction_table.csv").open(newline="") as table:
        for row in csv.DictReader(table):
            expected = row["is_switched_seed0"] == "True"
            assert verdicts.is_switched(texts[row["instruction_sha256_16"]]) == expected


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("Rating: [8]", 8.0),
        ("[8]", 8.0),
        ("**[8]**.", 8.0),
        ("See [3] for the proof. Fine.", None),
        ("x[4] is wrong, final rating missing", None),
        ("<think>[[3]]", None),
        ("[[3]]</think>Rating: [[9]]", 9.0),
        ("[[7/100]]", None),
        ("Rating[[7]]", 7.0),
        ("[[99999]] then [[2]]", 2.0),
        ("<THINK>a<think>[[1]]</think>[[2]]</THINK>[[3]]", 3.0),
    ],
)
def test_rating_examples(reply: str, expected: float | None) -> None:
    assert verdicts.parse_rating(reply) == expected


def test_decimal_comma_can_be_refused() -> None:
    assert verdicts.parse_rating("[[6,5]]", decimal_comma=False) is None


def test_repeated_options_are_no_verdict_but_a_choice_after_them_is() -> None:
    options = " ".join(f"[[{label}]]" for label in ARENA_LABELS)
    assert verdicts.parse_arena_label(options) is None
    assert verdicts.parse_arena_label(options + " mine: [[A=B]]") == "A=B"
    assert verdicts.parse_pairwise("[[A]] if A, [[B]] if B, [[C]] for a tie") == "error"


def test_unknown_mode_is_named() -> None:
    with pytest.raises(UnknownName, match="strict"):
        verdicts.parse_rating("[[1]]", "strickt")  # type: ignore[arg-type]


@given(TEXTS)
def test_any_text_parses_to_something_legal(reply: str) -> None:
    rating = verdicts.parse_rating(reply)
    assert rating is None or 1 <= rating <= 10
    assert verdicts.parse_pairwise(reply) in ("A", "B", "tie", "error")
    assert verdicts.parse_pairwise(reply, "compat") in ("A", "B", "tie", "error")
    label = verdicts.parse_arena_label(reply)
    assert label is None or label in LABEL_ROWS
    verdicts.parse_arena_label(reply, "compat")
    assert len(split_thought(reply).answer or "") <= len(reply)


@given(TEXTS, st.sampled_from(["A", "B", "tie"]))
def test_a_final_marker_decides(reply: str, verdict: str) -> None:
    marker = {"A": "[[A]]", "B": "[[B]]", "tie": "[[C]]"}[verdict]
    text = (split_thought(reply).answer or "") + "\nI choose " + marker
    assume(split_thought(text).answer == text)  # what follows a thought may begin another
    found = verdicts.parse_pairwise(text)
    assert found == verdict or (verdict == "tie" and found == "error")


@given(st.floats(-50, 0), st.floats(-50, 0), st.floats(-5, 5), st.sampled_from(["The"]))
def test_probability_laws(a: float, b: float, shift: float, other: str) -> None:
    top = [("m", a), (other, -1.0), ("M", b)]
    found = verdicts.probability_from_logprobs(top)
    assert found is not None
    assert 0.0 <= found <= 1.0
    assert 1.0 - (1.0 - found) == found, "the loser's probability is exact"
    moved = [(token, logprob + shift) for token, logprob in top]
    assert verdicts.probability_from_logprobs(moved) == pytest.approx(found, abs=1e-12)
    mirrored = verdicts.probability_from_logprobs(top, first="M", second="m")
    assert mirrored is not None
    assert found + mirrored == pytest.approx(1.0, abs=1e-12)


def test_probability_of_missing_tokens() -> None:
    assert verdicts.probability_from_logprobs([("The", -0.1)]) is None
    assert verdicts.probability_from_logprobs([]) is None
    assert verdicts.probability_from_logprobs([("m", -9.0)]) == 1.0
    assert verdicts.probability_from_logprobs([("M", -9.0)]) == 0.0
    assert verdicts.probability_from_logprobs([("m", math.nan)]) is None
    pair = [("1", -0.2), ("2", -2.0)]
    custom = verdicts.probability_from_logprobs(pair, first="1", second="2")
    assert custom is not None
    assert custom > 0.5


@pytest.mark.parametrize(
    "attack",
    [
        "[" * 200_000,
        "[[" + "1" * 200_000,
        "[[1." + "1" * 200_000,
        "[1" * 100_000,
        "<think>" * 50_000,
        "</think>" * 50_000,
        "[[" + " " * 200_000,
        "[[A" * 70_000,
        "rating " * 40_000 + "[5]" * 20_000,
    ],
    ids=[
        "open",
        "digits",
        "decimals",
        "singles",
        "thinks",
        "unthinks",
        "blanks",
        "labels",
        "words",
    ],
)
def test_hostile_replies_take_linear_time(attack: str) -> None:
    started = time.process_time()
    verdicts.parse_rating(attack)
    verdicts.parse_pairwise(attack)
    verdicts.parse_arena_label(attack)
    verdicts.parse_arena_label(attack, "compat")
    verdicts.parse_pairwise(attack, "compat")
    if "[[1" not in attack:  # a literal of 200,000 digits is the original's own SyntaxError
        verdicts.parse_rating(attack, "compat")
    assert time.process_time() - started < 5.0


def test_the_mass_of_the_identifiers() -> None:
    assert verdicts.identifier_mass([("m", math.log(0.6)), ("M", math.log(0.3))]) == pytest.approx(
        0.9
    )
    assert verdicts.identifier_mass([(" m", -0.1), ("M", -3.0)]) == pytest.approx(math.exp(-3))
    assert verdicts.identifier_mass([("The", -0.1)]) == 0
    assert verdicts.identifier_mass([("m", 0.0), ("M", -9.0)]) == 1
