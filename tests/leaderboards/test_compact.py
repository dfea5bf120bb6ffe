"""Compact boards: every cell is read back, from its rows where replicates follow from them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from harness.core.errors import BadRecord
from harness.core.records import Interval
from harness.suites.scoring import CellMaker, CellParams, sample_of
from leaderboards.board import build_board
from leaderboards.compact import (
    Rows,
    key_of,
    packed,
    read_lines,
    recomputed,
    sheets,
    unpacked,
)
from leaderboards.files import check_board, read_board, read_rows, write_board
from leaderboards.render import FORMATS, render
from leaderboards.scores import tidy
from leaderboards.spec import BoardSpec

PLAIN = BoardSpec(name="b", title="B")
COMPACT = PLAIN.model_copy(update={"compact": True})
N = 40


def suite_cells(system: str, seed: int = 0, failed: int = 0):
    """A mean, a mean over topics of some prompts, and a metric without rows, as suites do."""
    maker = CellMaker(
        CellParams(suite="s", system=system, scale="nano", seed=seed, judge="j",
                   judge_fingerprint="f", decode_fingerprint="d", rounds=200),
        "prompts", {"checkpoint": f"{system}{seed}"},
    )  # fmt: skip
    draws = np.random.default_rng([seed, len(system)])
    values = [None] * failed + draws.uniform(0, 1, N - failed).tolist()
    few = [place % 4 == 0 for place in range(N)]
    mean = maker.mean_cell("mean", values, range(N), factor=100.0, span=(0, 1))
    part = maker.mean_cell("part", values, [p // 2 for p in range(N)], among=few, factor=100.0)
    replicates = draws.normal(50, 3, 200)
    sample = sample_of(np.full(N, np.nan), range(N)).model_copy(update={"values": (), "units": N})
    bent = maker.cell("bent", 50.0, _tally(), replicates=replicates, resampled=sample)
    return [mean, part, bent]


def _tally():
    from harness.suites.scoring import Tally

    return Tally(N, N)


@pytest.fixture
def some():
    return [c for name in ("a", "bb") for seed in (0, 1) for c in suite_cells(name, seed, seed)]


def test_a_compact_board_is_read_back_and_rebuilt(tmp_path, some):
    board = write_board(tmp_path / "b", COMPACT, some)
    assert check_board(tmp_path / "b") == ""
    spec, cells = read_board(tmp_path / "b")
    assert spec == COMPACT
    assert cells == board.cells
    names = {path.name for path in (tmp_path / "b").iterdir()}
    assert names == {"cells.jsonl", "spec.json", "board.md", "board.csv", "board.tex"}


def test_means_are_stored_as_their_rows_alone(tmp_path, some):
    write_board(tmp_path / "b", COMPACT, some)
    for line in (tmp_path / "b" / "cells.jsonl").read_text().splitlines():
        forms = {c["metric"]: c["replicates"] for c in json.loads(line)["cells"]}
        assert forms["mean"] == forms["part"] == {"rounds": 200}
        assert isinstance(forms["bent"], str)


def test_compact_replicates_are_the_suites_own_to_the_stored_precision(some):
    for ours, theirs in zip(tidy(some, compact=True), tidy(some), strict=True):
        assert np.allclose(ours.replicates, theirs.replicates, atol=1.01e-4, rtol=0)
        assert ours.model_copy(update={"replicates": ()}) == theirs.model_copy(
            update={"replicates": ()}
        )
    once = tidy(some, compact=True)
    assert tidy(once, compact=True) == once


def test_replicates_that_do_not_follow_from_the_rows_are_kept(some):
    moved = some[0].model_copy(update={"replicates": tuple(r + 1 for r in some[0].replicates)})
    (line,) = sheets(tidy([moved], compact=True), {})
    ((cell, _),) = read_lines([("here", json.loads(line))])
    assert cell == tidy([moved])[0]


def test_a_compact_board_shows_what_the_plain_one_shows(tmp_path, cells):
    made = cells()
    before = build_board(PLAIN, made)
    write_board(tmp_path / "b", COMPACT, made)
    after = build_board(*read_board(tmp_path / "b"))
    for name in FORMATS:
        assert render(after, name) == render(before, name)


def test_compacting_a_written_board_removes_the_large_files_and_shrinks_it(tmp_path, some):
    write_board(tmp_path / "b", PLAIN, some)
    size = (tmp_path / "b" / "cells.jsonl").stat().st_size
    _spec, cells, rows = read_rows(tmp_path / "b")
    assert not rows
    write_board(tmp_path / "b", COMPACT, cells)
    assert check_board(tmp_path / "b") == ""
    assert not (tmp_path / "b" / "board.html").exists()
    assert (tmp_path / "b" / "cells.jsonl").stat().st_size < size / 3


def test_rows_beside_old_cells_survive_a_rebuild(tmp_path, cell):
    values = tuple(np.round(np.random.default_rng(0).uniform(0, 100, N), 2).tolist())
    draws = recomputed("old", Rows(values=values), 100)
    # One tie that an earlier version rounded the other way.
    draws = (round(draws[0] + 1e-4, 4), *draws[1:])
    old = cell("target", 50, prompt_set="old", replicates=draws)
    assert old.resampled is None
    rows = {key_of(old): Rows(values=values)}
    write_board(tmp_path / "b", COMPACT, [old], rows)
    assert len((tmp_path / "b" / "cells.jsonl").read_bytes()) < 2000
    _spec, (read,), kept = read_rows(tmp_path / "b")
    assert (read.replicates, kept) == (draws, rows)
    assert check_board(tmp_path / "b") == ""


def test_absent_parts_of_a_neighbour_are_not_inherited():
    whole, bare = suite_cells("a")[0], suite_cells("b")[0]
    bare = bare.model_copy(update={"interval": None, "resampled": None, "replicates": ()})
    wanted = tidy([whole, bare], compact=True)
    for pair in (wanted, wanted[::-1]):
        lines = [("line", json.loads(line)) for line in sheets(pair, {})]
        assert tuple(cell for cell, _ in read_lines(lines)) == wanted
    mixed = [whole, bare.model_copy(update={"system": "a", "metric": "z"})]
    lines = [("line", json.loads(line)) for line in sheets(tidy(mixed, compact=True), {})]
    assert tuple(cell for cell, _ in read_lines(lines)) == tidy(mixed, compact=True)
    other = whole.model_copy(update={"interval": Interval(low=1, high=2, kind="other")})
    (line,) = sheets([other], {})
    assert next(read_lines([("", json.loads(line))]))[0].interval == other.interval


@pytest.mark.parametrize(
    "numbers", [[], [None], [0.0], [1.5, None, -2.25], [3, 1, 2], [1 / 3], [1e300], [50.0] * 9]
)
def test_packed_numbers_are_unpacked_exactly(numbers):
    found = packed(numbers)
    assert (unpacked(found) if isinstance(found, str) else found) == numbers


@pytest.mark.parametrize("sign", [1, -1])
def test_numbers_are_packed_while_units_are_exact(sign):
    assert packed([sign * 2.0**53]) == [sign * 2.0**53]
    assert isinstance(packed([sign * (2.0**53 - 1)]), str)


@pytest.mark.parametrize(
    ("replicates", "message"),
    [
        ({"rounds": 3}, "do not follow from any rows"),
        ({"as": "other"}, "do not follow from any rows"),
        ("1:2", "places:codes:least:count:base85"),
        (7, "do not follow from any rows"),
    ],
)
def test_broken_replicates_are_named(cell, replicates, message):
    (line,) = sheets([cell("target", 50)], {})
    data = json.loads(line)
    data["cells"][0]["replicates"] = replicates
    with pytest.raises(BadRecord, match=f"line 7, cell 1.*{message}"):
        list(read_lines([("line 7", data)]))


def test_a_line_that_is_neither_form_is_named():
    with pytest.raises(BadRecord, match='expected a cell, or "shared" and "cells"'):
        list(read_lines([("line 1", {"cells": []})]))
