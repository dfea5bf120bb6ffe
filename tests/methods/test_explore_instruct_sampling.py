"""Allocation of a sample to tasks, as released and by largest remainder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.errors import BadRecord, UserError
from methods.explore_instruct.sampling import allocate, draw
from methods.explore_instruct.sampling_released import allocate_released, draw_released
from tests.golden_vectors import vectors

sizes = st.lists(st.integers(0, 900), max_size=8)


def test_golden_sampling_allocation(golden: Callable[[str], Path]) -> None:
    for case in vectors(golden("explore_instruct/sampling_allocation.json"))["cases"]:
        found = allocate_released(case["node_sizes_level_order"], case["requested"])
        assert found == (
            case["drawn_per_node"],
            case["after_truncation_to_requested"],
            case["shortfall_taken_again_from_root"],
        )
        counts = allocate(case["node_sizes_level_order"], case["requested"])
        assert sum(counts) == min(case["requested"], sum(case["node_sizes_level_order"]))


@given(sizes, st.integers(0, 5000), st.integers(1, 600))
def test_seats_sum_to_the_request_and_fit_the_tasks(sizes: list[int], n: int, cap: int) -> None:
    counts = allocate(sizes, n, cap)
    assert sum(counts) == min(n, sum(sizes))
    assert all(0 <= count <= size for count, size in zip(counts, sizes, strict=True))
    weights = [min(size, cap) for size in sizes]
    for i, j in zip(range(len(sizes)), range(1, len(sizes))):  # a larger task gets no fewer
        if weights[i] >= weights[j] and sizes[i] >= sizes[j]:
            assert counts[i] >= counts[j]


@given(sizes, st.integers(0, 5000))
def test_released_counts_never_exceed_the_request(sizes: list[int], n: int) -> None:
    drawn, kept, shortfall = allocate_released(sizes, n)
    assert sum(kept) + shortfall == n
    assert all(a <= b <= size for a, b, size in zip(kept, drawn, sizes, strict=True))


def test_draws_are_repeatable_without_repeats_and_independent_of_other_tasks() -> None:
    tasks = {"root": list(range(100)), "a": list(range(100, 200)), "b": list(range(200, 230))}
    sample = draw(tasks, 60)
    assert sample == draw(tasks, 60) == sorted(sample)
    assert len(sample) == len(set(sample)) == 60
    assert sample != draw(tasks, 60, seed=1)
    assert draw(tasks, 1000) == list(range(230))
    renamed = {"root": tasks["root"], "c": tasks["a"], "b": tasks["b"]}
    assert [each for each in draw(renamed, 60) if not 100 <= each < 200] == [
        each for each in sample if not 100 <= each < 200
    ]


def test_released_draws_cut_the_last_task_and_repeat_the_root() -> None:
    tasks = {"root": list(range(100)), "a": [100], "b": [101]}
    assert max(draw_released(tasks, 50)) < 100
    small = {"root": list(range(9)), "a": [9, 10]}
    sample = draw_released(small, 20)
    assert len(sample) == 20
    assert len(set(sample)) == 11
    with pytest.raises(UserError, match="root has 9 to fill it"):
        draw_released(small, 30)
    with pytest.raises(UserError, match="root has 0"):
        draw_released({}, 1)


@pytest.mark.parametrize("bad", [([-1], 3, 5), ([1], -1, 5), ([1], 1, 0)])
def test_impossible_numbers_are_refused(bad: tuple[list[int], int, int]) -> None:
    for rule in (allocate, allocate_released):
        with pytest.raises(BadRecord, match="cannot sample"):
            rule(*bad)
