"""Tables of numbers worked out digit by digit."""

from __future__ import annotations

import pytest

from leaderboards.tables import joined, rows_of, split, table, width_of


def test_digits_are_one_number_with_the_first_lowest() -> None:
    assert joined([1, 2, 3], 10) == (321).to_bytes(2, "little")
    assert split((321).to_bytes(2, "little"), 3, 10) == [1, 2, 3]
    cases = ((1, 1), (1, 2), (8, 2), (9, 2), (1, 256))
    assert [width_of(size, codes) for size, codes in cases] == [0, 1, 1, 2, 1]
    assert width_of(1, 257) == 2


def test_few_different_numbers_are_listed_in_order_with_none_last() -> None:
    # 4 + 3 x (0 + 3 x 2) = 22 of places 1, 0, 2 in base 3.
    assert table([[2.5, None, 0.125], [0.125, 2.5, 2.5]]) == {
        "size": 3, "values": [0.125, 2.5, None], "data": bytes([1 + 3 * 2 + 9 * 0, 0 + 3 + 9])
    }  # fmt: skip
    assert table([[5, 5], [5, 5]]) == {"size": 2, "values": [5], "data": b""}


def test_many_numbers_are_units_above_the_least() -> None:
    row = [1.0 + n / 10 for n in range(40)]
    found = table([row[::-1], [*row[:39], None]])
    assert found is not None
    assert {key: found[key] for key in ("size", "places", "least", "codes")} == {
        "size": 40, "places": 1, "least": 10, "codes": 41
    }  # fmt: skip
    data = joined(range(39, -1, -1), 41) + joined([*range(39), 40], 41)
    assert found["data"] == data
    assert rows_of(found) == [row[::-1], [*row[:39], None]]
    whole = table([list(range(-200, 200))])
    assert whole is not None
    assert (whole["places"], whole["least"], whole["codes"]) == (0, -200, 401)
    assert all(type(number) is int for number in rows_of(whole)[0])


@pytest.mark.parametrize("count", [300, 301])
def test_up_to_three_hundred_numbers_may_be_listed(count: int) -> None:
    """Numbers of nine decimals far apart: as units they take more than as a list, below 301."""
    row = [n * 1.000000001 * 7919 % 1000 for n in range(count)]
    row = [round(number, 9) for number in row]
    found = table([row * 40])
    assert found is not None
    assert ("values" in found) is (count == 300)
    assert rows_of(found) == [row * 40]


@pytest.mark.parametrize(
    ("row", "kept"),
    [
        ([n + 1e-9 for n in range(301)], True),
        ([n + 1e-10 for n in range(301)], False),
        ([2.0**53 - n for n in range(1, 302)], True),
        ([2.0**53 - n for n in range(301)], False),
        ([-(2.0**53) + n for n in range(301)], False),
    ],
)
def test_numbers_that_are_not_exact_in_nine_decimals_are_no_table(
    row: list[float], kept: bool
) -> None:
    found = table([row])
    assert (found is not None) is kept
    if found is not None:
        assert rows_of(found) == [row]
