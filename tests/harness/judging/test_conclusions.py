"""The verdict is what the judge concludes: options, formats and hypotheticals are none."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from harness.judging.conclusions import tidied
from harness.judging.verdicts import parse_arena_label, parse_pairwise, parse_rating

OPTIONS = "[[A>>B]], [[A>B]], [[A=B]], [[B>A]], [[B>>A]]"
CASES = Path(os.environ.get("CRUCIBLE_CASES") or Path(__file__).parents[4] / "shared" / "cases")

ARENA = [
    ("My final verdict is: Assistant A is slightly better: [[A>B]]", "A>B"),
    ("At first sight [[A>B]]. But A never closes <think>. My final verdict is: [[B>>A]]", "B>>A"),
    ("I initially considered [[A=B]], but A is better: [[A>B]]", "A>B"),
    ("[[A>B]]. Initially I thought [[A=B]].", "A>B"),
    ("The verdict [[A>B]] is tempting, but the verdict is [[B>A]].", "B>A"),
    ("My final verdict is tie: [[A=B]]. If style were ignored, it would be [[A>B]].", "A=B"),
    ("Not [[B>A]] but [[A>B]].", "A>B"),
    (f"[[A>B]]\n(Scale: {OPTIONS})", "A>B"),
    (f"Options: {OPTIONS}. Mine: [[A=B]]", "A=B"),
    (f"The scale is {OPTIONS}.\nBased on this, my choice: [[A>>B]]", "A>>B"),
    (OPTIONS, None),
    (f"{OPTIONS} {OPTIONS}", None),
    ("[[B>>A]], [[B>A]], [[A=B]], [[A>B]], [[A>>B]]", None),
    ("I cannot choose. For example, [[A>B]] would mean A is better.", None),
    ("[[**A>B**]]", "A>B"),
    ("『A>B』", "A>B"),
    ("[[ A ≫ B ]]", "A>>B"),
    ("[[Assistant A>>Assistant B]]", "A>>B"),
    ("Verdict: [A>B]", "A>B"),
    ("The label [A>B] of the paper and more words", None),
    ("`x[[0]]` fails. [[A>B]]", "A>B"),
    ("```\nMy final verdict is: [[B>A]]\n```", "B>A"),
    ('```json\n{"verdict": "[[A>B]]", "why": "it is better"}\n```', "A>B"),
    ("~~[[A=B]]~~ [[B>A]]", "B>A"),
]
RATINGS = [
    ('Rating: [[2]] (in the asked form "Rating: [[5]]")', 2.0),
    ("I cannot rate this. An example of a rating is [[5]].", None),
    ("On a scale from [[1]] to [[10]], rating: [[3]]", 3.0),
    ("Rating: [[3]]. With sources it would have been [[9]].", 3.0),
    ("Its first half alone would deserve [[9]]. Rating: [[3]]", 3.0),
    ("I would rate this answer [[7]].", 7.0),
    ("I'd give it a [[7]].", 7.0),
    ("[[7]] is my rating.", 7.0),
    ("Good answer. [[7]]", 7.0),
    ("### Rating\n[[8]]", 8.0),
    ("Rating: **[[8]]**/10", 8.0),
    ("Accuracy: [[2]], depth: [[4]]. Overall rating: [[3]]", 3.0),
    ("Accuracy: [[2]], depth: [[4]].", None),
    ("The code prints [[3]].", None),
    ("The user wanted [[2]] as output and got it", None),
    ("[[8 out of 10]]", 8.0),
    ("[[Rating: 8]]", 8.0),
    (r"\[\[8\]\]", 8.0),
    ("[[7½]]", 7.5),
    ("[[85/100]]", None),
    ("[[7-8]]", None),
]
PAIRS = [
    ("My verdict is [[A]]. (Format: [[A]], [[B]] or [[C]].)", "A"),
    ("Assistant [[A]] is better than assistant [[B]].", "A"),
    ("I choose [[B]] over [[A]].", "B"),
    ("Is it [[A]] or [[B]]? It is [[B]].", "B"),
    ("Final Verdict: [[B]]\n\n[[A]] would be chosen if correctness did not matter.", "B"),
    ("one of [[A]] or [[B]]: I cannot decide", "error"),
    ("[[A]], [[B]] or [[C]]? I must say [[A]], [[B]] or [[C]].", "error"),
    ("[[A]] since `x[[c]]` in the other fails.", "A"),
    ("```r\nx[[c]]\n```\n[[B]]", "B"),
]


@pytest.mark.parametrize(("reply", "expected"), ARENA)
def test_arena_labels(reply: str, expected: str | None) -> None:
    assert parse_arena_label(reply) == expected


@pytest.mark.parametrize(("reply", "expected"), RATINGS)
def test_ratings(reply: str, expected: float | None) -> None:
    assert parse_rating(reply) == expected


@pytest.mark.parametrize(("reply", "expected"), PAIRS)
def test_pairwise_verdicts(reply: str, expected: str) -> None:
    assert parse_pairwise(reply) == expected


def test_a_cut_reply_has_a_verdict_only_where_it_was_announced() -> None:
    assert parse_rating("I lean to [[9]]. But wait", cut=True) is None
    assert parse_arena_label("A is fine [[A>B]]. However B", cut=True) is None
    assert parse_pairwise("So far [[A]]. But", cut=True) == "error"
    assert parse_rating("Rating: [[8]]. It misses the", cut=True) == 8.0
    assert parse_arena_label("My final verdict is: [[A>B]]\n\nTo explain", cut=True) == "A>B"


def test_replies_of_real_judges() -> None:
    """At least 97 % of the collected replies, and no verdict where there is none."""
    path = CASES / "judging" / "replies.jsonl"
    if not path.is_file():
        pytest.skip(f"collected replies are absent: no {path}")
    parsers = {"arena": parse_arena_label, "rating": parse_rating, "pair": parse_pairwise}
    wrong, invented = [], []
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for row in rows:
        found = parsers[row["kind"]](row["reply"])
        found = None if found == "error" else found
        if found != row["expected"]:
            wrong.append(row)
            invented += [row] if row["expected"] is None else []
    assert invented == []
    assert len(wrong) <= 0.03 * len(rows), wrong


def test_one_spelling() -> None:
    assert tidied("A\u200b B\u00a0C") == "A B C"
    assert tidied("$[[A\\gg B]]$") == "$[[A>>B]]$"
    assert tidied('{"v": "[[A\\u003eB]]"}') == '{"v": "[[A>B]]"}'
