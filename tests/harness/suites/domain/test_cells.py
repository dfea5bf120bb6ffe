"""Cells of judged rows: intervals, bounds and counts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.records import Cell
from harness.judging.records import Game, Judged, JudgedTurn
from harness.suites.domain.cells import ScoreDomainParams, domain_cells
from harness.suites.scoring import CellMaker

VERDICTS = {"win": ("B", "A"), "lose": ("A", "B"), "tie": ("tie", "A"), "lost": (None, "A")}


def cells_of(outcomes: list[str], **more: Any) -> dict[str, Cell]:
    params = ScoreDomainParams(suite="s", system="m", scale="nano", rounds=200, **more)
    rows = []
    for number, name in enumerate(outcomes):
        games = tuple(
            Game(first, verdict, attempts=1, failure=None if verdict else "no verdict found")
            for first, verdict in zip(("baseline", "model"), VERDICTS[name])
        )
        turn = JudgedTurn("q", "mine", "theirs", games)
        rows.append(Judged("pairwise", f"{number:03}", "m", (turn,)))
    found = domain_cells(CellMaker(params, "prompts", {}), params, rows)
    return {cell.metric: cell for cell in found}


def test_few_wins_among_many_ties_are_not_certain() -> None:
    few = cells_of(["win", "win", *["tie"] * 100])["beat_rate"]
    many = cells_of(["win"] * 102)["beat_rate"]
    assert few.value == many.value == 100
    assert few.interval is not None
    assert many.interval is not None
    assert few.interval.low < 30
    assert many.interval.low > 95
    one = cells_of(["win", *["tie"] * 100])["beat_rate"]
    assert (one.value, one.interval) == (100, None)


def test_a_lost_review_bounds_the_beat_rate() -> None:
    cells = cells_of(["win", "win", "lose", "tie", "lost"])
    cell = cells["beat_rate"]
    assert (cell.n_expected, cell.n_scored, cell.n_failed) == (5, 4, 1)
    assert cell.value == pytest.approx(200 / 3)
    assert cell.bounds == (50, 75)
    assert cells["unparsed_rate"].value == 10
    assert cell.details["failed: no verdict found"] == 1


@given(st.lists(st.sampled_from(sorted(VERDICTS)), min_size=1, max_size=20))
def test_every_cell_counts_every_prompt(outcomes: list[str]) -> None:
    cells = cells_of(outcomes)
    cell = cells["beat_rate"]
    assert cell.n_expected == len(outcomes)
    assert cell.n_failed == outcomes.count("lost")
    decided = outcomes.count("win") + outcomes.count("lose")
    if not decided:
        assert cell.value is None
        return
    assert cell.value == pytest.approx(100 * outcomes.count("win") / decided)
    if cell.interval is not None:
        assert cell.interval.low <= cell.value <= cell.interval.high
    swapped = [{"win": "lose", "lose": "win"}.get(name, name) for name in outcomes]
    other = cells_of(swapped)["beat_rate"].value
    assert other is not None
    assert cell.value + other == pytest.approx(100)
