"""Notes below a board."""

from __future__ import annotations

import pytest

from leaderboards.board import build_board
from leaderboards.render import text
from leaderboards.spec import BoardSpec, ColumnSpec, SystemSpec


@pytest.mark.parametrize(("number", "lines"), [(text.FEW, text.FEW), (text.FEW + 1, 1)])
def test_many_columns_of_one_heading_without_a_value_have_one_note(number: int, lines: int) -> None:
    columns = tuple(
        ColumnSpec(suite="rounds", metric=f"m{n}", group="Round 1") for n in range(number)
    )
    spec = BoardSpec(name="b", title="b", systems=(SystemSpec(name="a"),), columns=columns)
    notes = text.failure_notes(build_board(spec, []))
    assert len(notes) == lines
    assert all("not run" in note for note in notes)
    assert lines > 1 or notes == [f"a, Round 1 ({number} columns): not run"]


def test_notes_of_stages_are_shown_up_to_a_number() -> None:
    told = tuple(f"sample {n}: cut" for n in range(text.STAGE_NOTES + 2))
    spec = BoardSpec(name="b", title="b", systems=(SystemSpec(name="a"),), stage_notes=told)
    notes = text.stage_notes(build_board(spec, []))
    assert notes[0] == "Stage sample 0: cut"
    assert notes[-1] == "... and 2 more notes of stages"
    assert len(notes) == text.STAGE_NOTES + 1
