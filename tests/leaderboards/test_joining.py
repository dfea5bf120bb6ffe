"""Boards of the cells of other boards and of a store: which of two scores is taken, or neither."""

from __future__ import annotations

from itertools import permutations

import pytest

from harness.core.errors import BadData
from harness.suites.marks import LIMIT
from leaderboards.joining import Source, Wanted, join_boards
from leaderboards.spec import BoardSpec, SystemSpec

STORE = "store .crucible"


def board(name, *cells):
    spec = BoardSpec(name=name, title=name, systems=(SystemSpec(name="a", label=f"A of {name}"),))
    return Source(name, cells, spec)


def limited(cell, n):
    return cell("a", 50, n=n, prompt_set=f"first {n}", details={LIMIT: n})


def test_of_scores_of_a_store_on_first_prompts_the_one_of_most_prompts_is_taken(cell) -> None:
    every = (limited(cell, 8), limited(cell, 40), limited(cell, 16))
    for order in permutations(every):
        _, kept = join_boards("b", [Source(STORE, order)], Wanted())
        assert [found.n_expected for found in kept] == [40]


def test_scores_of_boards_are_not_chosen_between(cell) -> None:
    with pytest.raises(BadData, match=r"two scores of a .* in one .*8 prompts.* in two .*40"):
        join_boards(
            "b", [board("one", limited(cell, 8)), board("two", limited(cell, 40))], Wanted()
        )


def test_equal_scores_of_two_boards_are_one_and_others_are_refused(cell) -> None:
    same, other = cell("a", 50), cell("a", 50, value=49.0, interval=None, replicates=())
    spec, kept = join_boards("b", [board("one", same), board("two", same)], Wanted())
    assert kept == (same,)
    assert [system.label for system in spec.systems] == ["A of one"]
    with pytest.raises(BadData, match=r"49\.0 in two"):
        join_boards("b", [board("one", same), board("two", other)], Wanted())
