"""Exact search: golden indices, and equality with a full sort on any scores."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from harness.core.errors import BadData
from harness.suites.dialogue.search import GROUP, Index, lowest_index, search, top_k
from tests.golden_vectors import vectors


def sorted_indices(row: np.ndarray, k: int) -> list[int]:
    return sorted(range(len(row)), key=lambda place: (-row[place], place))[:k]


def test_golden_indices(golden: Callable[[str], Path]) -> None:
    for case in vectors(golden("mktod/topk.json"))["cases"]:
        (found,) = top_k(case["scores"], case["k"]) if case["scores"] else [[]]
        assert found == case["indices"], case["name"]
        assert [case["scores"][place] for place in found] == case["scores_at"], case["name"]
        assert lowest_index(case["scores"]) == case["lowest_index"], case["name"]


ROWS = arrays.arrays(
    np.float32,
    st.tuples(st.integers(1, 3), st.integers(1, 5 * GROUP)),
    elements=st.sampled_from([-np.inf, -1.0, -0.0, 0.0, 0.5, 2.0]),
)


@given(ROWS, st.integers(1, 9))
def test_top_k_equals_a_full_sort(table: np.ndarray, k: int) -> None:
    assert top_k(table, k) == [sorted_indices(row, k) for row in table]


@given(st.integers(0, 99), st.integers(1, 9), st.integers(1, 200), st.integers(1, 64))
def test_search_equals_a_full_sort(seed: int, k: int, records: int, block: int) -> None:
    rng = np.random.default_rng(seed)
    # Small integers: many ties, and products without rounding.
    vectors_ = rng.integers(-2, 3, (records, 4)).astype(np.float32)
    queries = rng.integers(-2, 3, (3, 4)).astype(np.float32)
    where, scores = search(vectors_, queries, k, block)
    expected = queries @ vectors_.T
    assert where.tolist() == [sorted_indices(row, k) for row in expected]
    assert np.array_equal(scores, np.take_along_axis(expected, where, axis=1))


def test_no_records_and_few_records() -> None:
    nothing = np.zeros((0, 4), dtype=np.float32)
    where, scores = search(nothing, np.ones((2, 4)), 3)
    assert where.shape == scores.shape == (2, 0)
    assert top_k(np.zeros((2, 0)), 3) == [[], []]
    assert search(np.ones((2, 4), dtype=np.float32), np.ones(4), 7)[0].tolist() == [[0, 1]]


def test_what_is_no_number_is_refused() -> None:
    with pytest.raises(BadData, match="not a number"):
        top_k([0.5, np.nan], 1)
    with pytest.raises(BadData, match="not a number"):
        search(np.full((3, 2), np.nan, dtype=np.float32), np.ones(2), 2)
    with pytest.raises(BadData, match="k is -1"):
        top_k([0.5], -1)


def test_an_index_refuses_other_records() -> None:
    index = Index.of(np.eye(3), ["a", "b", "c"])
    where, _ = index.search(np.array([0.0, 1.0, 0.0]), 1, ["a", "b", "c"])
    assert where.tolist() == [[1]]
    for other in (["a", "c", "b"], ["a", "b"]):
        with pytest.raises(BadData, match="index of 3 other records"):
            index.search(np.ones(3), 1, other)
