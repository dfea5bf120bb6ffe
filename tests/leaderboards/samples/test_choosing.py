"""Filters, search and order."""

from __future__ import annotations

import pytest

from harness.core.errors import BadRecord, UnknownName
from leaderboards.samples import Sample, choose, samples_of_cell
from tests.hand_made import HandMade, four_games


@pytest.fixture
def samples(hand_made: HandMade) -> tuple[Sample, ...]:
    return samples_of_cell(hand_made.store, four_games(hand_made)).samples


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        (["verdict=win"], ["p/win"]),
        (["verdict=win", "verdict=loss"], ["p/win", "p/loss"]),
        (["category=math"], ["p/win", "p/torn"]),
        (["category=math", "verdict=tie"], ["p/torn"]),
        (["flag=contradictory"], ["p/torn"]),
        (["skill=sums"], ["p/win"]),
        (["first=both"], ["p/win", "p/loss", "p/torn", "p/failed"]),
    ],
)
def test_filters(samples: tuple[Sample, ...], filters: list[str], found: list[str]) -> None:
    assert [sample.id for sample in choose(samples, filters)] == found


def test_search_looks_everywhere_in_any_case(samples: tuple[Sample, ...]) -> None:
    assert [s.id for s in choose(samples, search="OTHER ANSWER TO P/LOSS")] == ["p/loss"]
    assert [s.id for s in choose(samples, search="[[b>>a]]")] == ["p/win"]
    assert choose(samples, search="no such text") == []


def test_orders(samples: tuple[Sample, ...]) -> None:
    by_preference = [s.id for s in choose(samples, sort="preference")]
    assert by_preference == ["p/loss", "p/torn", "p/win", "p/failed"]
    assert next(s.id for s in choose(samples, sort="-id")) == "p/win"
    gaps = [s.lengths[0] - s.lengths[1] for s in choose(samples, sort="length")]
    assert gaps == sorted(gaps, reverse=True)


def test_mistakes_are_named(samples: tuple[Sample, ...]) -> None:
    with pytest.raises(UnknownName, match='did you mean "loss"'):
        choose(samples, ["verdict=los"])
    with pytest.raises(UnknownName, match='no filter named "verdikt"; did you mean "verdict"'):
        choose(samples, ["verdikt=loss"])
    with pytest.raises(BadRecord, match="NAME=VALUE"):
        choose(samples, ["loss"])
    with pytest.raises(UnknownName, match="no order"):
        choose(samples, sort="size")
