"""Answers by value: forms, equality without algebra, extraction and the released rule."""

from __future__ import annotations

from typing import Any

import pytest

from harness.verification.answer_forms import (
    assigned,
    is_words,
    parts_of,
    plain_form,
    rational,
    unbracketed,
)
from harness.verification.equal_answers import equal_answers
from harness.verification.final_answers import braced, final_answer, last_boxed
from harness.verification.final_answers_released import released_answer, released_equal


@pytest.mark.parametrize(
    ("answer", "form"),
    [
        ("$$x$$", "x"), ("\\[x\\]", "x"), ("\\(x\\)", "x"), ("$x$ and $y$", "x , y"),
        ("**`x`**", "x"), ("\\fbox{x}.", "x"), ("\\boxed{a}\\boxed{b}", None), ("x;", "x"),
        ("$x.$", "x"), ("x\\;", "x"), ("1, 2, ..", None), ("= 5", "5"), ("\\approx 5", "5"),
        ("a\\approx 5", "a= 5"), ("5 - 3", "5 - 3"), ("−5", "-5"), ("2×3", "2\\times 3"),
        ("½", "\\frac{1}{2}"), ("√2", None), ("π", "\\pi"), ("2²", "2^2"), ("1⁄2", "1/2"),
        ("\\sin(30^\\circ)", None), ("\\cos 60^{\\circ}", None), ("30^\\circ", "30"),
        ("90\\degree", "90"), ("5 per cent", "5"), ("5\\%", "5"), ("\\pounds 5", "5"),
        ("£5", "5"), ("\\euro5", "5"), ("1{,}234", "1234"), ("1\\,234", "1234"),
        ("1,234", "1234"), ("-1,234.5", None), ("12,34", "12,34"), ("(1,234)", "(1,234)"),
        ("x\\quad y", "x y"), ("\\left(1\\right)", None), ("\\hspace{2em}5", "5"),
        ("\\mathrm{cm}", "cm"), ("x \\text{ cm}", "x"), ("\\text{(A)}", "(a)"),
        ("5 \\text{ and } 6", "5 , 6"), ("5 or 6", "5 , 6"), ("5, and 6", "5 , 6"),
        ("5 \\mbox{ inches}^2", "5"), ("\\text{It is } 5", None), ("\\text{x", None),
        ("5 feet per second", "5"), ("5 km/h", "5"), ("5 cm^2", "5"), ("5 apples", "5"),
        ("5 ab", "5 ab"), ("5 sqrt", "5 sqrt"), ("5 kg.", "5"), ("3 000", "3000"),
        ("1 1/2", "1 1/2"), ("B)", "B"), ("AB)", "AB)"), ("\\tfrac34", "\\frac{3}{4}"),
        ("\\cfrac{1}{2}", "\\frac{1}{2}"), ("\\frac12x", "\\frac{1}{2}x"),
        ("\\frac{\\frac12}3", "\\frac{\\frac{1}{2}}{3}"), ("\\frac1\\pi2", "\\frac{1}{\\pi}2"),
        ("\\frac{1}{ 2 }", "\\frac{1}{2}"), ("\\sqrt3", "\\sqrt{3}"), ("\\frac", "\\frac"),
        ("\\frac1", "\\frac{1}{}"), ("0.25", "\\frac{25}{100}"), ("1.50", "\\frac{150}{100}"),
        ("007.5", None), ("0.0", "0"), (".0", "0"), ("10.00", "10"), ("0.05", "\\frac{5}{100}"),
        ("1.2.3", "1.2.3"), ("2.", "2"), ("2.5e3", None), ("x1e3", "x1e3"),
        ("0.\\overline{12}", "\\frac{4}{33}"), ("1.2\\overline{3}", "\\frac{37}{30}"),
        ("0.(3)", "\\frac{1}{3}"), ("0.\\bar3", "\\frac{1}{3}"), ("0.333...", "\\frac{1}{3}"),
        ("0.1666\\ldots", "\\frac{1}{6}"), ("11_2", "3"), ("11_{16}", "17"), ("5_{1}", "5_{1}"),
        ("oo", "\\infty"), ("-inf", "-\\infty"), ("\\varnothing", "\\{\\}"), ("∅", "\\{\\}"),
        ("x" * 1000, "x" * 1000), ("x" * 1001, ""), ("$" + "x" * 1000 + "$", ""),
        ("5\\text{ cm} + 1", None), ("e\u0301", "\u00e9"), ("...", ""),
    ],
)  # fmt: skip
def test_forms(answer: str, form: str | None) -> None:
    found = plain_form(answer)
    assert found == (FORMS[answer] if form is None else form)


FORMS = {
    "\\boxed{a}\\boxed{b}": "\\boxed{a}\\boxed{b}",
    "1, 2, ..": "1, 2",
    "√2": "\\sqrt{2}",
    "\\sin(30^\\circ)": "\\sin(\\frac{30\\pi}{180})",
    "\\cos 60^{\\circ}": "\\cos \\frac{60\\pi}{180}",
    "-1,234.5": "-\\frac{12345}{10}",
    "\\left(1\\right)": "(1 )",
    "\\text{It is } 5": "It is 5",
    "\\text{x": "\\text{x",
    "007.5": "\\frac{75}{10}",
    "2.5e3": "\\frac{25}{10} \\times 10^{3}",
    "5\\text{ cm} + 1": "5\\text{cm} + 1",
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("- 3", (-3, 1)), ("+3", (3, 1)), ("3/4", (3, 4)), ("-3/4", (-3, 4)), ("2 1/2", (5, 2)),
        ("-2 1/2", (-5, 2)), ("2\\frac{1}{2}", (5, 2)), ("\\frac{-1}{2}", (-1, 2)),
        ("-\\frac{-1}{2}", (1, 2)), ("2\\frac{-1}{2}", None), ("5.", (5, 1)), ("3/0", None),
        ("\\frac{1}{0}", None), ("1" * 200, (int("1" * 200), 1)), ("1" * 201, None), ("x", None),
    ],
)  # fmt: skip
def test_values_of_numbers(text: str, value: tuple[int, int] | None) -> None:
    found = rational(text)
    assert (found and found.as_integer_ratio()) == (value and (value[0], value[1]))


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("(1, 2)", ("()", ("1", "2"), True)), ("[1,2)", ("[)", ("1", "2"), True)),
        ("{1,2}", ("{}", ("1", "2"), False)), ("\\{1\\}", ("{}", ("1",), False)),
        ("\\lbrace 1, 2\\rbrace", ("{}", ("1", "2"), False)), ("\\{\\}", ("{}", (), False)),
        ("\\{1\\}, \\{2\\}", (",", ("\\{1\\}", "\\{2\\}"), False)),
        ("1, (2, 3)", (",", ("1", "(2, 3)"), False)), ("(1)(2, 3)", None), ("", None),
        ("f(1, 2)", None), ("(1", None), ("1),(2", None),
        ("\\begin{matrix}1\\\\2 & 3\\\\\\end{matrix}",
         ("matrix 2x1/2", ("1", "2", "3"), True)),
        ("\\begin{array}{cc}1 & 2\\end{array}", ("matrix 1x2", ("1", "2"), True)),
        ("\\begin{pmatrix}1\\end{bmatrix}", None), ("\\{1\\}+\\{2\\}", None),
        ("\\begin{matrix}1\\\\2 & 3\\\\4 & 5 & 6\\end{matrix}",
         ("matrix 3x1/2/3", ("1", "2", "3", "4", "5", "6"), True)),
    ],
)  # fmt: skip
def test_parts(text: str, parts: Any) -> None:
    found = parts_of(text)
    assert (found and (found.kind, found.elements, found.ordered)) == parts


@pytest.mark.parametrize(
    ("text", "sides"),
    [
        ("x=3", ("x", "3")), ("x_{12} = 3", ("x_{12}", "3")), ("f(x, y)=1", ("f(x, y)", "1")),
        ("\\alpha = 2", ("\\alpha", "2")), ("x' = 2", ("x'", "2")), ("x<=3", None), ("=3", None),
        ("x=", None), ("x >= 3", None), ("x!=3", None), ("x = y = 3", None), ("x+1=3", None),
        ("3=x", None), ("3", None),
    ],
)  # fmt: skip
def test_names_with_values(text: str, sides: Any) -> None:
    assert assigned(text) == sides


def test_words_and_outer_brackets() -> None:
    assert [is_words(text) for text in ("even", "no one's", "a", "ab", "a1", "")] == [
        True, True, False, True, False, False,
    ]  # fmt: skip
    brackets = {"(5)": "5", "{5}": "5", "( {5} )": "5", "[5]": "[5]", "(5": "(5", "(5]": "(5]"}
    brackets |= {"(1)(2)": "(1)(2)", "()": "()", "(1,2)": "(1,2)", "((1,2))": "(1,2)"}
    assert {text: unbracketed(text) for text in brackets} == brackets


class Algebra:
    """In place of computer algebra: what was asked, and one verdict for everything."""

    def __init__(self, verdict: bool | None) -> None:
        self.verdict = verdict
        self.asked: list[tuple[str, str]] = []

    def __call__(self, one: str, other: str) -> bool | None:
        self.asked.append((one, other))
        return self.verdict


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ("1/2", "0.5", True), ("2", "3", False), ("x + 1", "x+1", True), ("", "", False),
        ("()", "()", True), ("x=3", "3", True), ("3", "x = 3", True), ("x=3", "x = 4", False),
        ("x=3", "x=3.0", True), ("yes", "YES", True), ("yes", "yeah", False),
        ("even", "x+1", False), ("x+1", "even", False), ("\\pm 2", "2, -2", True),
        ("(1,2)", "(1,2,3)", False), ("(1,2)", "[1,2]", False), ("\\{1,2\\}", "2, 1", True),
        ("1, 2", "2", False), ("2", "1, 2", False), ("1,1", "1", False), ("1,1,2", "1,2,2", False),
        ("\\{1,1,2\\}", "\\{1,2,2\\}", True), ("\\{1,2\\}", "(1,2)", False),
        ("(1,(2,3))", "(1,(2,4))", False), ("(1,(2,3))", "(1,(2,3.0))", True),
        ("1\\pm 2, 5", "1\\pm 2, 5", True), ("((1,2))", "(1,2)", True),
    ],
)  # fmt: skip
def test_answers_that_need_no_algebra(one: str, other: str, equal: bool) -> None:
    for pair in ((one, other), (other, one)):
        algebra = Algebra(None)
        assert equal_answers(*pair, algebra) is equal
        assert algebra.asked == []


@pytest.mark.parametrize(
    ("one", "other", "asked"),
    [
        ("2x", "x2", ("2x", "x2")), ("x=3", "y=3", ("x=3", "y=3")),
        ("y=x", "x+y=2", ("x+y=2", "y=x")), ("x>3", "(3, 4)", ("(3, 4)", "x>3")),
        ("(3, 4)", "x \\in y", ("(3, 4)", "x \\in y")), ("ab", "ba", ("ab", "ba")),
        ("abc", "2x", ("2x", "abc")), ("a", "A", ("A", "a")),
        ("2x", "x\\pm y\\pm z", ("2x", "x\\pm y\\pm z")),
        ("y=x+1", "1+x", ("1+x", "x+1")), ("1\\pm x, 2", "3", None),
        ("\\cup 3", "1, 2", ("1, 2", "\\cup 3")), ("\\cupx", "1, 2", None),
    ],
)  # fmt: skip
def test_what_algebra_is_asked_and_its_verdict_counts(
    one: str, other: str, asked: tuple[str, str] | None
) -> None:
    for pair in ((one, other), (other, one)):
        for verdict in (True, False, None):
            algebra = Algebra(verdict)
            found = equal_answers(*pair, algebra)
            assert algebra.asked == ([] if asked is None else [asked])
            assert found is (False if asked is None else verdict)


@pytest.mark.parametrize(
    ("one", "other", "verdicts"),
    [
        ("(x, 1)", "(y, 1)", (True, False, None)), ("(x, 1)", "(y, 2)", (False,) * 3),
        ("(x, y)", "(2, 3)", (True, False, None)), ("x, 1", "1, y", (True, False, None)),
        ("x, 1", "y, 2", (False, False, None)), ("\\{x, 2\\}", "\\{2\\}", (True, False, False)),
        ("x, x", "y", (False,) * 3), ("\\{x+1,x+1\\}", "\\{x+1\\}", (True, True, True)),
    ],
)  # fmt: skip
def test_verdicts_on_elements(one: str, other: str, verdicts: Any) -> None:
    found = tuple(equal_answers(one, other, Algebra(verdict)) for verdict in (True, False, None))
    assert found == verdicts


def test_elements_are_paired_with_the_first_that_fits() -> None:
    algebra = Algebra(True)
    assert equal_answers("a+1, b+1, c+1", "d+1, e+1, f+1", algebra)
    assert algebra.asked == [("a+1", "d+1"), ("b+1", "e+1"), ("c+1", "f+1")]


def test_long_and_deep_answers_are_given_up() -> None:
    many = ",".join(f"x+{n}" for n in range(64))
    assert equal_answers(many, many + ", 5", Algebra(True)) is None
    assert equal_answers(many, many.replace("x+0", "x+9"), Algebra(False)) is False
    deep, other = "1/2", "0.5"
    for _ in range(8):
        deep, other = f"({deep}, 2)", f"({other}, 2)"
    assert equal_answers(deep, other, Algebra(None)) is True
    assert equal_answers(f"({deep}, 2)", f"({other}, 2)", Algebra(None)) is False


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("\\boxed{1} \\boxed{2} \\boxed{}", "2"), ("\\boxed{ 3 }", "3"), ("\\fbox 4,", "4"),
        ("\\boxed{" + "x" * 2000 + "}", None), ("\\boxed{" + "x" * 1999 + "}", "x" * 1999),
        ("\\boxed{ab}" + "\\boxed{" * 32, None), ("\\boxed{ab}" + "\\boxed{" * 31, "ab"),
        ("Answer: 1\nAnswer: 2\nAnswer: ", "2"), ("The answer is **7**. Then 8.", "7"),
        ("Answer:\n5\n6", "5"), ("Answer: $x$, or $y$", "x"), ("#### 12\nmore", "12"),
        ("The answer to the question is 4", "4"), ("answers are 1 and 2", "1 and 2"),
        ("The answer is " + "x" * 300, "x" * 200), ("x = $y = 3$. And $z$", "z"),
        ("We get $3=$", "$3"), ("So it equals 5", "5"), ("It is five", None),
        ("It is 5. It is six", None), ("It is 5.\n\n---", "5"), ("between 3 and 4,", "4"),
        ("It is " + "x" * 199 + "1", "x" * 199 + "1"), ("It is " + "x" * 200 + "1", "1"),
        ("x <= 5", "5"), ("The answer is 9." + " " * 4000, None), ("\\boxed{}", None),
        ("costs $5 and 1,234.50", "1,234.50"), ("Answer: *", None),
    ],
)  # fmt: skip
def test_final_answers(response: str, answer: str | None) -> None:
    assert final_answer(response) == answer


def test_boxes_and_braces() -> None:
    assert last_boxed("\\boxed{1}\\boxed{{2}") is None
    assert last_boxed("\\boxed{1} \\fbox{2}") == "1"
    assert last_boxed("1") is None
    assert braced("a{b}c}d", 0) == "a{b}c"
    assert braced("xa\\{b}d", 1) == "a\\{b"
    assert braced("a\\\\}", 0) == "a\\\\"
    assert braced("a\\", 0) is None


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("no number", "no number"), ("this = that is $3.5$ .", "35"), ("a = b", "b"),
        ("x is y", "y"), ("y = 1 is 2", "2"), ("is a = 2. ", "2"), ("\\boxed{ a }", " a "),
    ],
)  # fmt: skip
def test_released_answers(response: str, answer: str) -> None:
    assert released_answer(response) == answer


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        (None, None, True), (None, "1", False), ("1", None, False), ("", "", True),
        ("a\nb\\!c", "abc", True), ("\\dfrac12", "\\frac{1}{2}", True), ("\\left(1\\right)", "(1)",
        True), ("5^{\\circ}", "5", True), ("5^\\circ", "5", True), ("\\$5", "5", True),
        ("5\\text{ cm}", "5", True), ("5\\text{cm}", "5", False), ("5\\%", "5", True),
        ("a .5", "a 0.5", True), ("{.5}", "{0.5}", True), (".5", "0.5", True), ("x=5", "5", True),
        ("xyz=5", "5", False), ("xy=5", "5", True), ("x=y=5", "5", False),
        ("\\sqrt3x", "\\sqrt{3}x",
        True), ("\\frac1{23}", "\\frac{1}{23}", True), ("\\frac12x", "\\frac{1}{2}x", True),
        ("\\frac1 + \\frac12", "\\frac1+\\frac12", True),
        ("\\frac12+\\frac1", "\\frac{1}{2}+\\frac1",
        False), ("0.5", "\\frac{1}{2}", True), ("1/2", "\\frac12", True), ("0/7", "\\frac{0}{7}",
        True), ("1/x", "\\frac{1}{x}", False), ("\\sqrt", "\\sqrt", True), ("\\sqrt", "\\sqrt ",
        False), ("1 2", "12", True), ("10/20", "\\frac{10}{20}", True), ("٣/٤", "\\frac{٣}{٤}",
        False), ("\\text{ a }\\text{ b }", "\\text{ a }\\text{ b }", True),
        ("1/2/3", "1/2/3", True),
    ],
)  # fmt: skip
def test_released_equality(one: str | None, other: str | None, equal: bool) -> None:
    assert released_equal(one, other) is equal
