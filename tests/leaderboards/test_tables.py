"""Tables of numbers restore every number, in few bits."""

from __future__ import annotations

import numpy as np
import pytest

from leaderboards.tables import joined, rows_of, split, table, width_of

CASES = [
    [[1.5, None, 2.0], [3.0, 1.5, 1.5]],
    [[0.0, 100.0, 50.0] * 30] * 3,
    [[None]],
    [[None, 1.0]],
    [[7, 7, 7]],
    [[-12, 5, None, 0]],
    [[0.1, -0.25, 1e-9]],
    np.round(np.random.default_rng(0).uniform(0, 100, (4, 400)), 6).tolist(),
    np.random.default_rng(1).integers(-5, 5, (20, 31)).tolist(),
]


@pytest.mark.parametrize("rows", CASES)
def test_a_table_restores_its_rows(rows):
    found = rows_of(table(rows))
    assert found == rows


@pytest.mark.parametrize(
    "rows", [[], [[]], [[1.0], [1.0, 2.0]], [np.random.default_rng(0).uniform(size=400).tolist()]]
)
def test_what_is_no_table_of_decimals_is_none(rows):
    assert table(rows) is None


def test_few_different_numbers_take_few_bits():
    rows = np.random.default_rng(0).choice([0.0, 33.333333, 100.0], (10, 400)).tolist()
    assert len(table(rows)["data"]) <= 10 * 400 * 1.585 / 8 + 20
    ones = [[0.0, 1.0] * 40]
    assert table(ones)["values"] == [0.0, 1.0]


@pytest.mark.parametrize("codes", [1, 2, 3, 10, 85, 4097])
def test_digits_are_bytes_of_a_fixed_width(codes):
    digits = np.random.default_rng(codes).integers(0, codes, 57).tolist()
    data = joined(digits, codes)
    assert len(data) == width_of(57, codes)
    assert split(data, 57, codes) == digits


@pytest.mark.parametrize("stored", [None, {}, {"size": 2, "data": 5}, {"size": 2, "data": b"0"}])
def test_what_is_no_table_is_refused(stored):
    with pytest.raises(ValueError, match="no table of numbers"):
        rows_of(stored)
