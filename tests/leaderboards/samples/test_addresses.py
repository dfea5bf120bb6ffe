"""Addresses of cells: exact, by suite, in a place, ambiguous, unknown."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.core.errors import BadData, UnknownName
from leaderboards.files import write_board
from leaderboards.samples import find_cell
from leaderboards.samples.addresses import cells_of_store
from leaderboards.spec import BoardSpec
from tests.hand_made import HandMade, four_games

ODD = "openai:gpt-4o@http://127.0.0.1:8000/v1?key=K"


def test_names_with_slashes_colons_and_signs_are_found_whole(hand_made: HandMade) -> None:
    for system in (ODD, "org/name", "nano:target"):
        four_games(hand_made, system=system, metric="category:math", seed=7)
        for text in (f"{system}/arena_hard/category:math", f"{system}/arena_hard/category:math@7"):
            assert find_cell(hand_made.store, text).system == system


def test_a_suite_alone_means_its_first_primary_metric(hand_made: HandMade) -> None:
    cell = four_games(hand_made)
    more = cell.model_copy(update={"metric": "contradiction_rate", "primary": False})
    hand_made.put("score_more", cells=[more], params={"x": 1})
    assert find_cell(hand_made.store, "target/arena_hard").metric == "score"
    assert find_cell(hand_made.store, "target").metric == "score"


def test_several_seeds_or_judges_are_listed_as_they_must_be_typed(hand_made: HandMade) -> None:
    four_games(hand_made, seed=1)
    four_games(hand_made, seed=2)
    with pytest.raises(BadData) as error:
        find_cell(hand_made.store, "target/arena_hard/score")
    assert "target/arena_hard/score@1, target/arena_hard/score@2" in str(error.value)
    four_games(hand_made, seed=2, judge="another judge")
    with pytest.raises(BadData, match="another judge, n 4") as error:
        find_cell(hand_made.store, "target/arena_hard/score@2")
    for place in cells_of_store(hand_made.store):
        if place.cell.seed == 2:
            assert place.full in str(error.value)
            assert find_cell(hand_made.store, place.full).judge == place.cell.judge


def test_a_board_is_a_place(hand_made: HandMade, tmp_path: Path) -> None:
    cell = four_games(hand_made, system="nano:target", scale="nano")
    write_board(tmp_path / "mine", BoardSpec(name="mine", title="Mine"), [cell])

    def board(name: str) -> Path | None:
        return tmp_path / "mine" if name == "mine" else None

    found = find_cell(hand_made.store, "mine:nano:target/arena_hard/score", board)
    assert found.artifacts == cell.artifacts
    with pytest.raises(UnknownName, match='did you mean "nano:target/arena_hard/score"'):
        find_cell(hand_made.store, "mine:nano:target/arena_hard/scores", board)


def test_an_unknown_address_names_the_nearest(hand_made: HandMade) -> None:
    four_games(hand_made)
    with pytest.raises(UnknownName, match='did you mean "target/arena_hard/score"'):
        find_cell(hand_made.store, "target/arena_hrd/score")
