"""Equality of answers: the vectors, other pairs, symmetry, blanks, and the limit of time."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.verification.equal_answers import equal_answers
from harness.verification.mathematics import MathChecker
from tests.golden_vectors import vectors

needs_algebra = pytest.mark.skipif(find_spec("math_verify") is None, reason="needs math-verify")
GOLDEN = "explore_instruct/math_equivalence.json"
MOST_WRONG = 3
PAIRS = [
    ("\\frac{2}{3}", "0.6667", False),
    ("0.333333", "\\frac13", False),
    ("0.\\overline{12}", "\\frac{4}{33}", True),
    ("3.14159265", "\\pi", False),
    ("0.5\\pi", "\\frac{\\pi}{2}", True),
    ("(1,2)", "\\{1,2\\}", False),
    ("3,4", "(3,4)", False),
    ("\\{1,1,2\\}", "\\{2,1\\}", True),
    ("(1,2),(3,4)", "(3,4),(1,2)", True),
    ("(1,2),(3,4)", "(2,1),(3,4)", False),
    ("[1,2]", "(1,2)", False),
    ("\\emptyset", "\\{\\}", True),
    ("50%", "0.5", False),
    ("385_9", "320", True),
    ("385_9", "385", False),
    ("\\text{Even}", "even", True),
    ("\\text{Yes}", "No.", False),
    ("\\$32,\\!348", "32348", True),
    ("x=3", "y=3", False),
    ("2x+z=1", "1", False),
    ("y=2x+1", "2x+1", True),
    ("y-2x=1", "y=2x+1", True),
    ("\\pm 2", "2,-2", True),
    ("3\\pm\\sqrt2", "3-\\sqrt{2}, 3+\\sqrt{2}", True),
    ("x\\ge 3", "[3,\\infty)", True),
    ("x>3", "[3,\\infty)", False),
    ("(-\\infty,-8)\\cup(8,\\infty)", "(8,\\infty)\\cup(-\\infty,-8)", True),
    ("\\begin{pmatrix}3/5\\\\2\\end{pmatrix}", "\\begin{bmatrix}0.6\\\\2\\end{bmatrix}", True),
    ("\\begin{pmatrix}1&2\\end{pmatrix}", "\\begin{pmatrix}1\\\\2\\end{pmatrix}", False),
    ("2ab", "2", False),
    ("2ab", "2ba", True),
    ("p-q", "q-p", False),
    ("\\sec x", "\\frac{1}{\\cos x}", True),
    ("5!", "120", True),
    ("1:2", "\\frac12", True),
    ("five", "5", False),
    ("-\\infty", "\\infty", False),
    ("15, even", "15, odd", False),
    ("\\frac{1}{0}", "5", False),
    ("\\cos 13^\\circ", "\\sin 77^\\circ", True),
    ("\\cos 13^\\circ", "\\cos 13", False),
    ("e^{i\\pi}", "-1", True),
    ("0.333...", "\\frac{1}{3}", True),
    ("\\$1,250.50", "1250.5", True),
    ("B)", "\\textbf{(B)}", True),
    ("(-\\infty,\\infty)", "\\mathbb{R}", True),
    ("2 < x \\le 5", "(2,5]", True),
]


@pytest.fixture(scope="module")
def checker() -> Iterator[MathChecker]:
    with MathChecker(timeout_s=20) as made:
        yield made


@needs_algebra
def test_the_vectors_but_for_a_few(golden: Callable[[str], Path], checker: MathChecker) -> None:
    wrong = [
        (case["prediction"], case["gold"])
        for case in vectors(golden(GOLDEN))["cases"]
        if bool(checker.check_answer(case["gold"] or "", case["prediction"]).correct)
        is not case["right"]
    ]
    assert len(wrong) <= MOST_WRONG, wrong


@needs_algebra
@pytest.mark.parametrize(("one", "other", "equal"), PAIRS)
def test_pairs_in_both_directions(one: str, other: str, equal: bool, checker: MathChecker) -> None:
    for pair in ((one, other), (other, one)):
        assert bool(checker.check_answer(*pair).correct) is equal
        assert checker.check_answer(pair[0], pair[0]).correct


@needs_algebra
def test_wrong_pairs_stay_wrong_whatever_the_blanks(
    golden: Callable[[str], Path], checker: MathChecker
) -> None:
    cases = vectors(golden(GOLDEN))["cases"]
    wrong = [(c["gold"], c["prediction"]) for c in cases if not c["right"] and c["prediction"]]
    wrong += [(one, other) for one, other, equal in PAIRS if not equal]
    draw = random.Random(0)
    for gold, answer in wrong:
        for at in draw.sample(range(len(answer) + 1), min(4, len(answer) + 1)):
            spaced = answer[:at] + draw.choice((" ", "\n", "\t ", "   ")) + answer[at:]
            assert not checker.check_answer(gold, spaced).correct, (gold, spaced)


@needs_algebra
def test_the_vectors_are_compared_alike_both_ways(
    golden: Callable[[str], Path], checker: MathChecker
) -> None:
    for case in vectors(golden(GOLDEN))["cases"]:
        one, other = case["gold"], case["prediction"]
        if one and other:
            there, back = (checker.check_answer(*p).correct for p in ((one, other), (other, one)))
            assert there is back
            assert checker.check_answer(other, other).correct


@needs_algebra
def test_no_verdict_beyond_the_limit_of_time() -> None:
    with MathChecker(timeout_s=0.5) as hurried:
        found = hurried.check_answer("3", "9^{9^{9^{9}}}")
        assert (found.correct, found.reason) == (None, "no verdict within 0.5 s")
        assert hurried.check_answer("3", "3").correct
        missing = hurried.check_answer("3", None)
        assert (missing.correct, missing.reason) == (False, "no final answer")


def exactly(one: str, other: str) -> bool:
    """In place of computer algebra."""
    return one == other


NUMBERS = st.integers(-50, 50).map(str)


@given(st.lists(NUMBERS, min_size=2, max_size=6), st.randoms(use_true_random=False))
def test_order_matters_in_tuples_only(elements: list[str], draw: random.Random) -> None:
    shuffled = draw.sample(elements, len(elements))
    lists = [", ".join(part) for part in (elements, shuffled)]
    assert equal_answers(*lists, exactly)
    assert equal_answers(*(f"\\{{{part}\\}}" for part in lists), exactly)
    tuples = [f"({part})" for part in lists]
    assert equal_answers(*tuples, exactly) is (elements == shuffled)


@given(st.text(max_size=30), st.text(max_size=30))
def test_any_two_texts_are_compared_alike_both_ways(one: str, other: str) -> None:
    found = equal_answers(one, other, exactly)
    assert equal_answers(other, one, exactly) is found
    assert equal_answers(one, None, exactly) is False
    assert equal_answers(one, one, exactly) in (True, False)


def test_what_algebra_cannot_tell_is_not_known() -> None:
    assert equal_answers("x+1", "1+x", lambda one, other: None) is None
    assert equal_answers("(x+1, 2)", "(1+x, 3)", lambda one, other: None) is False
    assert equal_answers("(x+1, 2)", "(1+x, 2)", lambda one, other: None) is None
    assert equal_answers("x+1, 2", "2, 1+x", lambda one, other: None) is None


def test_hostile_answers_take_no_time() -> None:
    asked = []

    def unsure(one: str, other: str) -> None:
        asked.append(one)

    started = time.process_time()
    parts = (
        "5 abc..",
        "(",
        "\\frac",
        "\\text{",
        "1,",
        "x+1,",
        "{",
        "\\frac{1}{",
        "0.1",
        "\\pm",
        "= ",
    )
    for part in parts:
        for size in (900, 20_000):
            text = part * (size // len(part))
            equal_answers(text, text[1:], unsure)
            equal_answers(text + "1", text, unsure)
    assert time.process_time() - started < 5
    assert len(asked) < 10_000


def nested(depth: int, innermost: str) -> str:
    return f"({nested(depth - 1, innermost)},1)" if depth else innermost


def test_answers_are_compared_to_a_depth_of_eight() -> None:
    """A name such as "x =" is one level, as a tuple is."""
    for before, deepest in (("", 8), ("x=", 7)):
        for depth in range(1, 11):
            sides = (f"{before}{nested(depth, value)}" for value in ("0.5", "1/2"))
            assert equal_answers(*sides, lambda *_: None) is (depth <= deepest), (before, depth)
