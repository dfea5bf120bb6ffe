"""McNemar's exact test and packed outcomes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.errors import BadData
from harness.stats.mcnemar import mcnemar, pack, unpack

OUTCOMES = st.lists(st.booleans(), min_size=1, max_size=70)


def test_exact_two_sided_p_value() -> None:
    # 1 against 9 of 10 fair coins: 2 * (1 + 10) / 2**10.
    found = mcnemar([True] + [False] * 9 + [True] * 5, [False] + [True] * 9 + [True] * 5)
    assert (found.b, found.c) == (1, 9)
    assert found.p_value == pytest.approx(2 * 11 / 1024, abs=1e-15)


def test_equal_to_scipys_binomial_test() -> None:
    from scipy.stats import binomtest

    for b, c in ((0, 0), (0, 3), (7, 7), (8, 7), (12, 25), (400, 300)):
        found = mcnemar([True] * b + [False] * c, [False] * b + [True] * c)
        expected = binomtest(b, b + c).pvalue if b + c else 1.0
        assert found.p_value == pytest.approx(expected, rel=1e-12)


@given(OUTCOMES)
def test_a_system_is_not_different_from_itself(outcomes: list[bool]) -> None:
    assert mcnemar(outcomes, outcomes).p_value == 1


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_exchanging_the_systems_exchanges_the_counts(pairs: list[tuple[bool, bool]]) -> None:
    first, second = zip(*pairs, strict=True)
    here, there = mcnemar(first, second), mcnemar(second, first)
    assert (here.b, here.c, here.p_value) == (there.c, there.b, there.p_value)


@given(OUTCOMES)
def test_packing_loses_nothing(outcomes: list[bool]) -> None:
    text = pack(outcomes)
    assert unpack(text, len(outcomes)).tolist() == outcomes
    assert len(text) == 2 * ((len(outcomes) + 7) // 8)


def test_rows_must_pair() -> None:
    with pytest.raises(BadData, match="2 and 3 rows"):
        mcnemar([True, False], [True] * 3)
    with pytest.raises(BadData, match="expected 9"):
        unpack("ff", 9)


def test_six_rows_on_one_side_are_the_fewest_that_decide() -> None:
    five, six = mcnemar([True] * 5, [False] * 5), mcnemar([True] * 6, [False] * 6)
    assert (five.p_value, five.decidable) == (2 / 32, False)
    assert (six.p_value, six.decidable) == (2 / 64, True)
    assert mcnemar([True, False] * 3, [False, True] * 3).decidable


def test_outcomes_are_packed_with_the_first_in_the_highest_bit() -> None:
    assert pack([True] + [False] * 7 + [False, True]) == "8040"
    assert unpack("8040", 10).tolist() == [True] + [False] * 8 + [True]
    assert unpack("80", 8).tolist() == [True] + [False] * 7
    assert mcnemar([2, 1, 0], [1, 0, 0]).b == 1  # any number but 0 is right
