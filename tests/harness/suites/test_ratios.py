"""Ratios of sums as cells."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.suites.ratios import ratio_cell
from harness.suites.scoring import CellMaker, CellParams

MAKER = CellMaker(CellParams(suite="s", system="m", scale="nano", rounds=30), "prompts", {})
GRADES = st.lists(st.sampled_from(["A", "B", "C", None]), min_size=2, max_size=12)


@given(GRADES)
def test_an_f_score_is_a_harmonic_mean_within_its_bounds(graded: list[str | None]) -> None:
    parts = [None if grade is None else 2.0 * (grade == "A") for grade in graded]
    weights = [1.0 + (grade in ("A", "B")) for grade in graded]
    ids = [str(number) for number in range(len(graded))]
    cell = ratio_cell(MAKER, "f_score", ids, parts, weights)
    scored = [grade for grade in graded if grade is not None]
    assert (cell.n_expected, cell.n_scored) == (len(graded), len(scored))
    if not scored:
        assert cell.value is None
        return
    right, attempted = scored.count("A"), len(scored) - scored.count("C")
    share, precision = right / len(scored), right / attempted if attempted else 0.0
    harmonic = 200 * share * precision / (share + precision) if right else 0.0
    assert cell.value == pytest.approx(harmonic)
    assert (cell.bounds is None) == (len(scored) == len(graded))
    if cell.bounds is not None:
        low, high = cell.bounds
        assert low - 1e-9 <= harmonic <= high + 1e-9
        best = ratio_cell(MAKER, "f", ids, [2.0 if p is None else p for p in parts],
                          [2.0 if p is None else w for p, w in zip(parts, weights)])  # fmt: skip
        assert best.value == pytest.approx(high)
    if cell.interval is not None:
        assert cell.interval.low <= cell.value <= cell.interval.high


def test_no_weight_has_no_value() -> None:
    assert ratio_cell(MAKER, "f", ["a", "b"], [0.0, 0.0], [0.0, 0.0]).value is None
