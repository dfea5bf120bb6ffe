"""Agreement statistics worked out by hand: tables, ratings, gaps of lengths, missing values."""

from __future__ import annotations

import numpy as np
import pytest

from harness.core.errors import BadData
from harness.stats import agreement as stats
from harness.stats.agreement import PRIOR, Estimate, estimate, length_slopes, standard_gaps

ONE = np.ones((1, 4))
FOUR = np.arange(4)


@pytest.mark.parametrize(
    ("table", "kappa"),
    [
        ([[20, 5], [10, 15]], 0.4),  # observed 0.7, expected 0.5
        ([[2, 1, 0], [0, 3, 1], [1, 0, 2]], (0.7 - 0.34) / 0.66),
        ([[4, 0], [0, 0]], 1.0),  # nothing could disagree
        ([[0, 5], [5, 0]], -1.0),
    ],
)
def test_kappa_is_agreement_beyond_chance(table: list[list[int]], kappa: float) -> None:
    flat = [number for row in table for number in row]
    assert stats.kappa_of_sums([flat]) == pytest.approx([kappa])
    assert stats.kappa_of_sums([flat, flat]) == pytest.approx([kappa, kappa])
    size = len(table)
    a, b = (np.repeat(np.indices((size, size))[side].ravel(), flat) for side in (0, 1))
    units, counts = np.arange(len(a)), np.ones((1, len(a)))
    found = stats.tables(a, b, units, counts)
    if size == len(set(a) | set(b)):
        assert found.tolist() == [table]
    assert stats.kappa(found) == pytest.approx([kappa])
    assert stats.agreement(found) == pytest.approx([np.trace(table) / np.sum(table)])


@pytest.mark.parametrize("shift", [0.0, 1e8])
@pytest.mark.parametrize(
    ("b", "kappa", "correlation"),
    [
        ([1, 2, 4, 3], 1 - 0.5 / 2.5, 0.8),
        ([2, 3, 4, 5], 1 - 1 / 3.5, 1.0),
        ([4, 3, 2, 1], 1 - 5 / 2.5, -1.0),
        ([1, 3, 2, 5], 1 - 0.75 / (1.25 + 2.1875 + 0.0625), 5.5 / 43.75**0.5),
    ],
)
def test_ratings_agree_by_their_squared_differences(
    b: list[int], kappa: float, correlation: float, shift: float
) -> None:
    first, second = np.array([1, 2, 3, 4]) + shift, np.array(b) + shift
    assert stats.quadratic_kappa(first, second, FOUR, ONE) == pytest.approx([kappa])
    assert stats.pearson(first, second, FOUR, ONE) == pytest.approx([correlation], abs=1e-12)


def test_a_side_that_is_constant_up_to_rounding_has_no_correlation() -> None:
    for constant in (0.1, 1 / 3, 1e6 + 0.1):
        flat, counts = np.full(7, constant), np.ones((3, 7))
        for other in (np.arange(7.0), np.arange(7) * 1e-3, np.arange(7) * 1e3 + 0.1):
            assert np.isnan(stats.pearson(flat, other, np.arange(7), counts)).all()
            assert np.isnan(stats.pearson(other, flat, np.arange(7), counts)).all()


def test_a_resample_without_rows_has_no_figure() -> None:
    counts = np.array([[1.0, 1.0], [0.0, 2.0]])
    units = np.zeros(4, dtype=int)  # no row of the second unit
    found = stats.tables([0, 1, 1, 0], [0, 1, 0, 1], units, counts)
    for values in (
        stats.agreement(found),
        stats.kappa(found),
        stats.quadratic_kappa([1, 2, 3, 4], [1, 2, 4, 3], units, counts),
        stats.means([1, 2, 3, 4], units, counts),
        stats.pearson([1, 2, 3, 4], [1, 2, 4, 3], units, counts),
    ):
        assert np.isnan(values).tolist() == [False, True]


def test_means_count_each_unit_as_often_as_it_is_drawn() -> None:
    counts = np.array([[1, 1], [2, 0], [0, 3]])
    found = stats.means([1, None, 4], np.array([0, 0, 1]), counts)
    assert found.tolist() == [2.5, 1.0, 4.0]
    assert stats.with_point(counts).tolist() == [[1, 1], [1, 1], [2, 0], [0, 3]]
    assert stats.unit_sums([[1, True], [2, False]], np.array([1, 1]), 2).tolist() == [
        [0, 0],
        [3, 1],
    ]
    assert stats.unit_sums([1, 2, 4], np.array([0, 0, 1]), 3).tolist() == [[3], [4], [0]]


@pytest.mark.parametrize("other", [[1, 2, 3], [[1, 2], [3, 4]]])
def test_labels_and_ratings_must_pair(other: list[object]) -> None:
    for function in (stats.tables, stats.quadratic_kappa, stats.pearson):
        with pytest.raises(BadData, match=r"expected \(n,\)"):
            function([1, 2, 3, 4], other, FOUR, ONE)
    with pytest.raises(BadData, match=r"expected \(n,\)"):
        stats.tables([[1, 2]], [[1, 2]], FOUR, ONE)
    with pytest.raises(BadData, match=r"expected \(n,\)"):
        stats.pearson([[1, 2]], [[1, 2]], FOUR, ONE)


def test_gaps_of_lengths_are_measured_in_their_standard_deviation() -> None:
    unit = np.tanh(0.5**0.5)  # of differences 1 and -1, whose deviation is sqrt 2
    assert standard_gaps([2, 1], [1, 2]) == pytest.approx([unit, -unit])
    # Unsigned lengths, as tables of files have them, do not wrap around below 0.
    unsigned = np.array([2, 1], dtype=np.uint8), np.array([1, 2], dtype=np.uint8)
    assert standard_gaps(*unsigned) == pytest.approx([unit, -unit])
    for unknown in (([5, None], [1, 1]), ([5, 1], [1, None])):
        lone = standard_gaps(*unknown)  # one difference has no deviation
        assert lone[0] == 0
        assert np.isnan(lone[1])
    assert standard_gaps([3, 1, 2], [None, 1, 2]).tolist()[1:] == [0, 0]


def logit(wins: float, rows: float) -> float:
    share = (wins + PRIOR / 2) / (rows + PRIOR)  # half of an artificial row is won
    return float(np.log(share / (1 - share)))


def test_the_length_slope_of_two_lengths_is_half_their_difference_of_logits() -> None:
    wins = np.array([1, 1, 1, 0, 1, 0, 0, 0, 0, 0])
    gaps = np.array([1.0] * 4 + [-1.0] * 6)
    slope = (logit(3, 4) - logit(1, 6)) / 2
    counts = np.ones((1, 10))
    found = length_slopes(wins, gaps, np.arange(10), counts)
    assert found == pytest.approx([slope], abs=1e-12)
    # A second system with the sides exchanged has another intercept and the same slope.
    both = np.concatenate([wins, 1 - wins]), np.concatenate([gaps, -gaps])
    systems, units = np.repeat([3, 7], 10), np.tile(np.arange(10), 2)
    assert length_slopes(*both, units, counts, systems) == pytest.approx([slope], abs=1e-12)
    order = np.random.default_rng(0).permutation(20)
    mixed = (*(each[order] for each in both), units[order], counts, systems[order])
    assert length_slopes(*mixed) == pytest.approx([slope], abs=1e-12)
    for number, unknown in ((0, wins), (1, gaps)):
        more = [np.append(wins, 1.0), np.append(gaps, 1.0)]
        more[number] = np.append(unknown, np.nan)
        units = np.append(np.arange(10), 0)
        assert length_slopes(*more, units, counts) == pytest.approx([slope], abs=1e-12)
    assert np.isnan(length_slopes([None], [1.0], np.array([0]), counts)).all()
    assert np.isnan(length_slopes([1.0, 0.0], [None, None], np.array([0, 1]), counts)).all()


def test_many_resamples_have_the_slopes_that_each_has_alone() -> None:
    wins, gaps = np.array([1, 1, 0, 1, 0, 0.0]), np.array([1, 1, 1, -1, -1, -1.0])
    counts = np.random.default_rng(1).multinomial(6, [1 / 6] * 6, size=150).astype(float)
    found = length_slopes(wins, gaps, np.arange(6), counts)
    expected = [
        (logit(row[:2].sum(), row[:3].sum()) - logit(row[3], row[3:].sum())) / 2 for row in counts
    ]
    assert found == pytest.approx(expected, abs=1e-9)


def test_an_estimate_is_a_point_with_the_interval_of_its_replicates() -> None:
    draws = np.linspace(0, 10, 1001)
    found = estimate([5.0, *draws], 0.8, kind="of a test")
    assert found.value == 5.0
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == pytest.approx((1.0, 9.0))
    assert (found.interval.level, found.interval.kind) == (0.8, "of a test")
    assert found.replicates.tolist() == draws.tolist()
    assert estimate([1, None, 3]).replicates.tolist() == [1.0, 3.0]
    assert estimate([2.0]) == Estimate(2.0)
    assert estimate([np.nan, 1.0]) == Estimate(None)


def test_replicates_without_spread_have_an_interval_only_within_a_span() -> None:
    same = np.ones(50)
    assert estimate(same, units=20).interval is None
    assert estimate([1.0, *np.linspace(0, 1, 9)], units=20).interval is not None
    plain = estimate(same).interval
    assert plain is not None
    assert (plain.low, plain.high) == (1, 1)
    spanned = estimate(same, units=20, span=(-1.0, 1.0)).interval
    assert spanned is not None
    assert spanned.low == pytest.approx(1 - 2 * (1 - 0.05 ** (1 / 20)))
