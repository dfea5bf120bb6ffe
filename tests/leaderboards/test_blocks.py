"""Compact boards by metric: every cell is read back, shared columns are stored once."""

from __future__ import annotations

import json

import numpy as np
import pytest

from harness.core.errors import BadRecord, UserError
from harness.core.records import Interval, Resampled
from harness.suites.scoring import CellMaker, CellParams, Tally, sample_of, with_columns
from leaderboards.block_writer import blocks
from leaderboards.blocks import read_blocks
from leaderboards.board import build_board
from leaderboards.compact import key_of
from leaderboards.files import artifacts_of, check_board, read_board, write_board
from leaderboards.render import FORMATS, render
from leaderboards.scores import tidy
from leaderboards.spec import BoardSpec

PLAIN = BoardSpec(name="b", title="B")
COMPACT = PLAIN.model_copy(update={"compact": True, "layout": "blocks"})
N, ROUNDS = 40, 200


def maker(system, seed):
    params = CellParams(suite="s", system=system, scale="nano", seed=seed, judge="j",
                        judge_fingerprint="f", decode_fingerprint="d", rounds=ROUNDS)  # fmt: skip
    links = {"checkpoint": f"{seed:032x}", "generations": f"{system}-{seed}"}
    return CellMaker(params, "prompts", links)


def suite_cells(system, seed=0, failed=0):
    """Means over all and some rows, an F score, and a metric that only resembles the mean."""
    own, draws = maker(system, seed), np.random.default_rng([seed, len(system)])
    values = [None] * failed + np.round(draws.uniform(0, 1, N - failed), 4).tolist()
    few = [place % 4 == 0 for place in range(N)]
    mean = own.mean_cell("mean", values, range(N), factor=100.0, details={"n": seed, "x": "y"})
    part = own.mean_cell("part", values, range(N), among=few, factor=100.0)
    counts = draws.integers(0, 3, (N, 3)).astype(float)
    sample = with_columns(Resampled(units=N, span=(0.0, 100.0)), "entity_f1", counts)
    from harness.suites.statistics import replicates_of_columns

    f1 = own.cell("f1", 50.0, Tally(N, N), resampled=sample,
                  replicates=replicates_of_columns("prompts", sample, ROUNDS))  # fmt: skip
    like = np.array(mean.replicates) * 1.1 + draws.normal(0, 0.01, ROUNDS)
    bare = sample_of(np.full(N, np.nan), range(N)).model_copy(update={"values": (), "units": N})
    bent = own.cell("bent", 50.0, Tally(N, N), replicates=like, resampled=bare)
    return [mean, part, f1, bent]


@pytest.fixture
def some():
    return [c for name in ("a", "bb") for seed in (0, 1) for c in suite_cells(name, seed, seed)]


def lines_of(cells):
    lines, data = blocks(tidy(cells, compact=True))
    return [json.loads(line) for line in lines], data


def back(lines, data):
    return tuple(sorted(read_blocks((("line", line) for line in lines), data), key=key_of))


def test_a_board_is_read_back_and_rebuilt(tmp_path, some):
    board = write_board(tmp_path / "b", COMPACT, some)
    assert check_board(tmp_path / "b") == ""
    assert read_board(tmp_path / "b") == (COMPACT, board.cells)
    assert json.loads((tmp_path / "b" / "spec.json").read_text())["layout"] == "blocks"
    for name in FORMATS:
        assert render(build_board(COMPACT, board.cells), name) == render(
            build_board(PLAIN, tidy(some, compact=True)), name
        )


def test_rows_are_stored_once_and_replicates_follow_from_them(some):
    found = {line["metric"]: line for line in lines_of(some)[0]}
    assert found["mean"]["replicates"] == found["f1"]["replicates"] == {"rounds": ROUNDS}
    assert found["part"]["replicates"] == {"rounds": ROUNDS}
    assert found["part"]["each"]["resampled.values"]["part"] == ["s", "mean", "resampled.values"]
    kept = found["bent"]["replicates"]["kept"]
    assert kept["like"] == "mean"
    # The rest is noise of 0.01: 10 bits instead of the 17 of a replicate.
    assert len(kept["data"]) < 4 * ROUNDS * 11 / 8 * 1.25


def test_lines_do_not_depend_on_the_order_of_cells(some):
    kept = tidy(some, compact=True)
    assert blocks(reversed(kept)) == blocks(kept)


def test_equal_columns_are_stored_once(some):
    found = {line["metric"]: line for line in lines_of(some)[0]}
    assert found["part"]["each"]["artifacts.generations"] == {
        "as": ["s", "mean", "artifacts.generations"]
    }
    assert set(found["mean"]["each"]["artifacts.checkpoint"]) == {"ids"}
    assert "scale" not in found["part"].get("all", {})
    twice = [cell.model_copy(update={"metric": "again"}) for cell in some if cell.metric == "mean"]
    again = next(line for line in lines_of(some + twice)[0] if line["metric"] == "mean")
    assert again["each"]["resampled.values"] == {"as": ["s", "again", "resampled.values"]}


def test_cells_that_differ_in_every_way_are_read_back(cell):
    whole = suite_cells("a")[0]
    mixed = [
        whole,
        whole.model_copy(update={"seed": 1, "interval": None, "resampled": None, "details": {}}),
        whole.model_copy(update={"seed": 2, "replicates": (), "value": None, "artifacts": {}}),
        whole.model_copy(update={"seed": 3, "interval": Interval(low=1, high=2, kind="k")}),
        whole.model_copy(update={"seed": 4, "replicates": whole.replicates[:50]}),
        whole.model_copy(update={"seed": 5, "replicates": tuple(r + 1 for r in whole.replicates)}),
        whole.model_copy(update={"seed": 6, "details": {"n": 1.0, "a.b": True, "z": None}}),
        whole.model_copy(update={"seed": 7, "details": {"n": True, "a.b": 1, "z": 1}}),
        whole.model_copy(update={"seed": 8, "details": {"n": 1, "x": 1 / 3}, "judge": None}),
        whole.model_copy(update={"system": "b", "suite": "t", "bounds": (1.0, 2.0)}),
        cell("target", 50),
    ]
    wanted = tidy(mixed, compact=True)
    found = back(*lines_of(mixed))
    assert found == wanted
    assert [c.model_dump_json() for c in found] == [c.model_dump_json() for c in wanted]
    assert back(*lines_of(mixed[::-1])) == wanted


@pytest.mark.parametrize("spec", [PLAIN, PLAIN.model_copy(update={"compact": True}), COMPACT])
def test_every_form_names_its_artifacts(tmp_path, some, spec):
    write_board(tmp_path / "b", spec, some)
    assert artifacts_of(tmp_path / "b") == {id for cell in some for id in cell.artifacts.values()}


def test_no_cells_make_no_line(tmp_path):
    assert blocks([]) == ([], b"")
    write_board(tmp_path / "b", COMPACT, [])
    assert check_board(tmp_path / "b") == ""


def test_replicates_without_rows_are_kept_alone(cell):
    lines, data = lines_of([cell("target", 50), cell("target-sft", 60)])
    assert "like" not in lines[0]["replicates"]["kept"]
    assert back(lines, data) == tidy([cell("target", 50), cell("target-sft", 60)])


def _without_rows(line):
    del line["each"]["resampled.values"]


def _without_suite(line):
    del line["suite"]


def _unknown_column(line):
    line["each"]["value"] = {"as": ["s", "none", "value"]}


def _short_column(line):
    line["each"]["value"] = {"list": [1.0]}


def _bad_field(line):
    line["all"]["scale"] = 5


def _bad_text(line):
    line["each"]["value"] = {"numbers": {"size": 4, "places": 0, "data": "~"}}


@pytest.mark.parametrize(
    "damage",
    [_without_rows, _without_suite, _unknown_column, _short_column, _bad_field, _bad_text],
)
def test_broken_blocks_are_named(some, damage):
    lines, data = lines_of(some)
    damage(lines[0])
    with pytest.raises((BadRecord, UserError), match="line"):
        back(lines, data)


def test_large_boards_have_a_file_of_bytes(tmp_path, some, monkeypatch):
    monkeypatch.setattr("leaderboards.block_writer.INLINE", 10)
    board = write_board(tmp_path / "b", COMPACT, some)
    assert (tmp_path / "b" / "rows.bin").stat().st_size > 10
    assert check_board(tmp_path / "b") == ""
    assert read_board(tmp_path / "b") == (COMPACT, board.cells)
    (tmp_path / "b" / "rows.bin").write_bytes(b"short")
    with pytest.raises(BadRecord, match="which has 5"):
        read_board(tmp_path / "b")


def test_another_form_removes_the_bytes(tmp_path, some, monkeypatch):
    monkeypatch.setattr("leaderboards.block_writer.INLINE", 10)
    write_board(tmp_path / "b", COMPACT, some)
    write_board(tmp_path / "b", PLAIN, some)
    assert not (tmp_path / "b" / "rows.bin").exists()
    assert check_board(tmp_path / "b") == ""


def test_five_seeds_of_a_suite_are_small():
    """400 values of four decimals and their mean over half of them: below 1 kB per cell."""
    made = []
    for system in range(6):
        for seed in range(5):
            rng = np.random.default_rng([system, seed])
            own = maker(f"s{system}", seed)
            values = np.round(rng.uniform(0, 1, 400), 4).tolist()
            mean = own.mean_cell("mean", values, range(400), factor=100.0)
            half = own.mean_cell("half", values, range(400), [p < 200 for p in range(400)],
                                     factor=100.0)  # fmt: skip
            made += [mean, half]
    lines, data = blocks(tidy(made, compact=True))
    size = sum(map(len, lines)) + len(data)
    assert size < 30 * (400 * 13.3 / 8 + 200) + 3000
