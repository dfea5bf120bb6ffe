"""Plain forms of answers: numbers, units, words, brackets."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.verification.answer_forms import (
    assigned,
    is_words,
    parts_of,
    plain_form,
    rational,
    unbracketed,
)


@pytest.mark.parametrize(
    ("answer", "form"),
    [
        ("$5$", "5"),
        ("\\boxed{\\$1{,}000}.", "1000"),
        ("1,\\!000,\\!000", "1000000"),
        ("50\\%", "50"),
        ("45^{\\circ}", "45"),
        ("12\\text{ degrees}", "12"),
        ("15\\text{ cm}^2", "15"),
        ("3 miles per hour", "3"),
        ("5cm", "5"),
        ("2m", "2m"),
        ("2 theta", "2 theta"),
        ("\\text{Friday}", "friday"),
        ("\\dfrac12", "\\frac{1}{2}"),
        ("\\frac 9{20}", "\\frac{9}{20}"),
        ("\\frac{\\sqrt3}2", "\\frac{\\sqrt{3}}{2}"),
        (".5", "\\frac{5}{10}"),
        ("3.0", "3"),
        ("3.", "3"),
        ("0.1\\overline{6}", "\\frac{1}{6}"),
        ("1e3", "1 \\times 10^{3}"),
        ("1010_2", "10"),
        ("385_9", "320"),
        ("19_2", "19_2"),
        ("infinity", "\\infty"),
        ("2 \\text{ and } 5", "2 , 5"),
        ("1 + \\text{ two }", "1 +\\text{two}"),
        ("  ", ""),
        ("x" * 2000, ""),
    ],
)
def test_plain_forms(answer: str, form: str) -> None:
    assert plain_form(answer) == form


@given(st.fractions(max_denominator=500))
def test_numbers_have_their_exact_value(value: Fraction) -> None:
    sign, above = ("-" if value < 0 else ""), abs(value.numerator)
    whole, rest = divmod(above, value.denominator)
    forms = [
        f"{value.numerator}/{value.denominator}",
        f"{sign}\\frac{{{above}}}{{{value.denominator}}}",
    ]
    if rest and whole:
        forms.append(f"{sign}{whole}\\frac{{{rest}}}{{{value.denominator}}}")
    if value.denominator == 1:
        forms += [str(value.numerator), f"{sign}0{above}", f"{value.numerator}.00"]
    for form in forms:
        assert rational(plain_form(form)) == value, form


@given(st.integers(0, 10**9), st.integers(0, 6))
def test_decimals_are_exact(digits: int, places: int) -> None:
    text = f"{digits:0{places + 1}d}"
    text = f"{text[:-places]}.{text[-places:]}" if places else text
    assert rational(plain_form(text)) == Fraction(digits, 10**places)


@pytest.mark.parametrize("text", ["x", "1/0", "2x", "\\pi", "1-\\frac{1}{2}x", "--3", "1 2"])
def test_what_is_no_number(text: str) -> None:
    assert rational(text) is None


def test_names_words_and_brackets() -> None:
    assert assigned("f(x) = x^2") == ("f(x)", "x^2")
    assert assigned("x_1=4") == ("x_1", "4")
    assert assigned("x \\le 3") is assigned("a=b=c") is assigned("2x = 4") is None
    assert is_words("no solution")
    assert not is_words("x+1")
    assert unbracketed("((5))") == "5"
    assert unbracketed("(1)(2)") == "(1)(2)"
    assert unbracketed("(1,2)") == "(1,2)"


def test_elements() -> None:
    assert parts_of("(1, (2, 3)]").elements == ("1", "(2, 3)")  # type: ignore[union-attr]
    assert parts_of("\\{2,1\\}").kind == "{}"  # type: ignore[union-attr]
    assert parts_of("\\{\\}").elements == ()  # type: ignore[union-attr]
    assert parts_of("(1,2),(3,4)").kind == ","  # type: ignore[union-attr]
    matrix = parts_of("\\begin{pmatrix}1 & 2\\\\3 & 4\\end{pmatrix}")
    assert matrix is not None
    assert (matrix.kind, matrix.elements) == ("matrix 2x2", ("1", "2", "3", "4"))
    assert parts_of("x+1") is parts_of("(5)") is parts_of("f(x,y)") is None
