"""Rank ranges of a board: leaders that cannot be told apart, seeds, failures, and other judges."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.core.records import Cell
from leaderboards.board import build_board
from leaderboards.ranks import ranges_of, ranges_of_board
from leaderboards.scores import Score, combine_all
from leaderboards.spec import BoardSpec, SystemSpec


def scores(cells: list[Cell]) -> list[Score]:
    return list(combine_all(cells).values())


def test_equal_leaders_share_their_ranks(cell: Callable[..., Cell]) -> None:
    found = ranges_of(
        scores([cell(name, skill) for name, skill in (("a", 60), ("b", 59.5), ("c", 20), ("d", 5))])
    )
    assert found == {"a": (1, 2), "b": (1, 2), "c": (3, 3), "d": (4, 4)}


def test_lower_is_better_turns_the_ranks(cell: Callable[..., Cell]) -> None:
    found = ranges_of(
        scores([cell(n, skill, higher_is_better=False) for n, skill in (("a", 60), ("b", 20))])
    )
    assert found == {"a": (2, 2), "b": (1, 1)}


def test_a_range_contains_the_rank_and_marks_are_consistent(
    cells: Callable[..., list[Cell]],
) -> None:
    board = build_board(BoardSpec(name="b", title="B"), cells(seeds=(0,)))
    found = ranges_of_board(board)
    assert set(found) == {row.system.name for row in board.rows}
    for row in board.rows:
        assert row.rank is not None
        low, high = found[row.system.name]
        assert low <= row.rank <= high
        if row.tied:  # one difference that is not shown alone is not shown among all
            assert low == 1


def test_seeds_that_vary_keep_systems_together(cell: Callable[..., Cell]) -> None:
    """The same mean difference, from equal seeds and from seeds that differ by 20 points."""

    def made(*skills: tuple[float, float]) -> dict[str, tuple[int, int]]:
        pairs = [(name, seed) for name in "ab" for seed in range(len(skills))]
        return ranges_of(scores([cell(n, skills[s]["ab".index(n)], seed=s) for n, s in pairs]))

    assert made((60, 45)) == {"a": (1, 1), "b": (2, 2)}
    assert made((60, 45), (50, 55)) == {"a": (1, 2), "b": (1, 2)}


def test_failed_judgments_that_could_reverse_the_sign_keep_systems_together(
    cell: Callable[..., Cell],
) -> None:
    apart = [cell("a", 60), cell("b", 50)]
    assert ranges_of(scores(apart)) == {"a": (1, 1), "b": (2, 2)}
    failed = [cell("a", 60, failed=30), cell("b", 50, failed=30)]
    assert ranges_of(scores(failed)) == {"a": (1, 2), "b": (1, 2)}


def test_other_judges_and_cells_without_replicates_are_not_compared(
    cell: Callable[..., Cell],
) -> None:
    two = [cell("a", 60), cell("b", 20), cell("c", 90, judge_fingerprint="x" * 16)]
    found = ranges_of(scores(two))
    assert found["c"] == (1, 3)
    assert found["a"] == (1, 2)
    alone = [cell(name, 60 - 9 * n, replicates=()) for n, name in enumerate("abc")]
    assert ranges_of(scores(alone)) == {}


def test_systems_that_are_not_ranked_have_no_range(cell: Callable[..., Cell]) -> None:
    spec = BoardSpec(name="b", title="B", systems=(SystemSpec(name="source", ranked=False),))
    board = build_board(spec, [cell("a", 60), cell("b", 20), cell("source", 90)])
    assert ranges_of_board(board) == {"a": (1, 1), "b": (2, 2)}


def test_more_systems_make_each_comparison_stricter(cell: Callable[..., Cell]) -> None:
    two = [cell("a", 53.5), cell("b", 50)]
    pair = ranges_of(scores(two))
    many = ranges_of(scores([*two, *(cell(f"x{n}", 5 + n) for n in range(20))]))
    assert pair["a"][1] - pair["a"][0] <= many["a"][1] - many["a"][0]


@pytest.mark.parametrize("count", [0, 1])
def test_nothing_to_compare_gives_nothing(cell: Callable[..., Cell], count: int) -> None:
    assert ranges_of(scores([cell("a", 50)] * count)) == {}
