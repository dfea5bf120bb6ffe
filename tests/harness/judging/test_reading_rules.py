"""Bounds and branches of the verdict parsers, one by one."""

from __future__ import annotations

import math

import pytest

from harness.judging import verdicts
from harness.judging.verdicts import parse_arena_label, parse_pairwise, parse_rating

LISTED = "A is clearly better", "A is better", "a tie", "B is better", "B is clearly better"
LABELS = "A>>B", "A>B", "A=B", "B>A", "B>>A"


@pytest.mark.parametrize(
    ("reply", "rating"),
    [
        ("Rating: [[1]]", 1.0),
        ("Rating: [[10]]", 10.0),
        ("Rating: [[0.9]]", None),
        ("Rating: [[10.1]]", None),
        ("Rating: [[6,5]]", 6.5),
        ("Rating: [[6,]]", None),
        ("Rating: [[6.]]", 6.0),
        ("[[3]], [[5]]", None),  # a list
        ("a [[7]] b", None),
        ("a [[7]]", 7.0),
        ("[[7]] b", 7.0),
        ("a [[7]] as a fair mark", 7.0),
        ("a [7]", None),
        ("the mark is [7]", 7.0),
        ("a [7]/10", 7.0),
        ("The output earns it [[7]]", 7.0),
        ("It earns the output [[7]] or so", None),
        ("The output earns it [7]", None),
        ("[[7]] is the output", None),
        ("In [ [7]] we see it", None),
        ("A: [[4]], B: [[5]]", None),
        ("A: [[4]], B: [[4]]", 4.0),
        ("A: [[4]]", 4.0),
        ("A: [[4]], [[5]]", None),
        ("A: [[4]], in general [[5]]", 5.0),
        ("Rating: [[4]], depth: [[5]]", 4.0),
    ],
)
def test_which_number_is_the_rating(reply: str, rating: float | None) -> None:
    assert parse_rating(reply) == rating


def test_the_scale_and_the_comma_may_be_set() -> None:
    assert parse_rating("Rating: [[0.5]]", low=0.5) == 0.5
    assert parse_rating("Rating: [[11]]", high=11) == 11
    assert parse_rating("Rating: [[6,5]]", decimal_comma=False) is None
    assert parse_rating("Rating: [[6.5]]", decimal_comma=False) == 6.5


def test_ratings_as_the_original_reads_them() -> None:
    assert parse_rating("none", "compat") == -1
    assert parse_rating("[3] then [[99]] and [[5]]", "compat") == 99
    assert parse_rating("[3] then [4.5]", "compat") == 3


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ("[[A]] A was better\n[[B]] B was better\n[[C]] neither", "error"),
        ("[[A]], [[B]], [[C]], [[B]]", "B"),
        ("[[A]] is better than [[B]]. " + "There is more to say. " * 4 + "In the end: [[B]]", "B"),
        ("[[B]] it was. [[A]] is better than [[B]]", "A"),
        ("[[A]] is better than" + " x" * 32 + " [[B]]", "A"),  # 80 characters apart
        ("[[A]] is better than" + " x" * 32 + "x [[B]]", "B"),
        ("[[A]] is as good as [[B]] was", "B"),
    ],
)
def test_which_choice_is_the_verdict(reply: str, verdict: str) -> None:
    assert parse_pairwise(reply) == verdict


@pytest.mark.parametrize("brackets", ["[[{}]]", "[{}]"])
def test_a_described_list_of_labels_is_no_verdict(brackets: str) -> None:
    marks = [brackets.format(label) for label in LABELS]
    described = "\n".join(f"{mark} {what}" for mark, what in zip(marks, LISTED, strict=True))
    assert parse_arena_label(described) is None
    assert parse_arena_label(f"{described}\n\nMy verdict: {marks[2]}") == "A=B"
    assert parse_arena_label("\n".join(described.splitlines()[:4]) + "\n" + marks[3]) == "B>A"
    assert parse_arena_label(", ".join(marks)) is None


def test_labels_as_the_original_reads_them() -> None:
    assert parse_arena_label("[[A>B]] then [[B>A]]", "compat") == "B>A"
    assert parse_arena_label("[a>b] then [[A]]", "compat") == "A"
    assert parse_arena_label("nothing", "compat") is None


def test_of_a_token_twice_the_more_probable_counts() -> None:
    twice = [("m", -5.0), ("m", -1.0), ("m", -9.0), ("M", -1.0)]
    assert verdicts.probability_from_logprobs(twice) == 0.5
    assert verdicts.identifier_mass(twice) == pytest.approx(2 * math.exp(-1))
    assert verdicts.identifier_mass([("m", math.nan), ("M", -1.0)]) == pytest.approx(math.exp(-1))


def test_a_probability_is_the_logistic_of_the_gap() -> None:
    def share(first: float, second: float) -> float | None:
        return verdicts.probability_from_logprobs([("m", first), ("M", second)])

    assert share(-1.0, -3.0) == pytest.approx(1 / (1 + math.exp(-2)))
    assert share(-3.0, -1.0) == pytest.approx(1 / (1 + math.exp(2)))
    assert (share(0.0, -2000.0), share(-2000.0, 0.0)) == (1.0, 0.0)


def test_the_order_of_answers_depends_on_instruction_and_seed() -> None:
    """Random("is_switched_outputs" + instruction + seed) draws below or above one half."""
    instructions = ("Say hi.", "Who?", "one", "two", "three", "four", "five", "six")
    found = [verdicts.is_switched(instruction) for instruction in instructions]
    assert found == [False, True, True, True, True, False, False, False]
    seeds = [verdicts.is_switched("Say hi.", seed) for seed in range(8)]
    assert seeds == [False, False, False, True, True, False, True, True]
