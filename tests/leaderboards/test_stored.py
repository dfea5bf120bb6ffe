"""The bytes of stored cells in each form, and that they are read back: later versions read them."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest

from harness.core.records import Cell, Resampled
from harness.suites.scoring import CellMaker, CellParams, Tally, with_columns
from harness.suites.statistics import replicates_of_columns
from leaderboards import block_writer
from leaderboards.block_writer import blocks
from leaderboards.blocks import read_blocks
from leaderboards.compact import CellKey, Rows, key_of, read_lines, recomputed, sheets
from leaderboards.scores import tidy
from tests.leaderboards.expected_pages import differs
from tests.leaderboards.test_rendered import nano, paper

ROUNDS = 12
VALUES = [0.0, 1.0, 0.5, None, 1.0, 0.25, 0.0, 1.0]


def own(system: str, seed: int) -> list[Cell]:
    """Cells of a suite: means over all rows and a part of them, weights, columns, neither."""
    params = CellParams(suite="s", system=system, scale="nano", seed=seed, judge="j",
                        judge_fingerprint="f", decode_fingerprint="d", rounds=ROUNDS)  # fmt: skip
    maker = CellMaker(params, "prompts", {"checkpoint": f"{seed:032x}", "log": f"{system}{seed}"})
    values = [*VALUES[seed:], *VALUES[:seed]]
    few = [place < 5 for place in range(8)]
    more = {"n": seed, "word": system, "x": 1.5 * seed}
    mean = maker.mean_cell("mean", values, range(8), factor=100.0, span=(0, 1), details=more)
    part = maker.mean_cell("part", values, [p // 2 for p in range(8)], among=few, factor=100.0)
    counts = np.arange(24).reshape(8, 3) % 5 + seed
    sample = with_columns(Resampled(units=8, span=(0.0, 100.0)), "entity_f1", counts.astype(float))
    draws = replicates_of_columns("prompts", sample, ROUNDS)
    f1 = maker.cell("f1", 50.0, Tally(8, 8), resampled=sample, replicates=draws)
    line = np.linspace(40, 60, ROUNDS) + seed
    bare = maker.cell("bare", 50.0, Tally(8, 8), replicates=line)
    like = np.array(mean.replicates) * 1.5 + np.arange(ROUNDS) * 1e-3
    near = maker.cell("near", 49.0, Tally(8, 8), replicates=like)
    copy = near.model_copy(
        update={"metric": "same", "value": 48.0, "judge": None, "bounds": (1, 2)}
    )
    return [mean, part, f1, bare, near, copy]


def every() -> tuple[Cell, ...]:
    cells = [cell for system in ("a", "b") for seed in (0, 1, 2) for cell in own(system, seed)]
    cells += [cell.model_copy(update={"suite": "t"}) for cell in own("a", 0)[:1]]
    return tidy([*cells, *nano().cells, *paper().cells], compact=True)


def beside() -> tuple[tuple[Cell, ...], dict[CellKey, Rows]]:
    """Cells of earlier versions, with rows of which one replicate was rounded the other way."""
    rows = Rows(values=tuple(100 * v if v is not None else None for v in VALUES))
    draws = recomputed("prompts", rows, ROUNDS)
    assert draws is not None
    plain = own("a", 0)[3].model_copy(update={"replicates": draws})
    moved = plain.model_copy(
        update={"metric": "moved", "replicates": (draws[0] + 1e-4, *draws[1:])}
    )
    far = plain.model_copy(update={"metric": "far", "replicates": (draws[0] + 1e-3, *draws[1:])})
    cells = tidy([plain, moved, far])
    return cells, {key_of(cell): rows for cell in cells}


def in_sheets() -> str:
    return b"".join([*sheets(every(), {}), *sheets(*beside())]).decode()


def in_blocks(inline: int) -> str:
    limit, block_writer.INLINE = block_writer.INLINE, inline
    try:
        lines, data = blocks(every())
    finally:
        block_writer.INLINE = limit
    return b"".join(lines).decode() + f"{data.hex()}\n"


EXPECTED = {
    "stored.sheets": in_sheets,
    "stored.blocks": partial(in_blocks, 100_000),
    "stored.bytes": partial(in_blocks, 0),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_cells_are_stored_as_earlier_versions_stored_them(name: str) -> None:
    assert differs(name, EXPECTED[name]()) == ""


def test_every_form_is_read_back() -> None:
    lines = [("line", json.loads(line)) for line in sheets(every(), {})]
    assert sorted((cell for cell, _ in read_lines(lines)), key=key_of) == sorted(
        every(), key=key_of
    )
    cells, rows = beside()
    found = list(read_lines(("line", json.loads(line)) for line in sheets(cells, rows)))
    assert tuple(cell for cell, _ in found) == cells
    assert [kept is not None for _, kept in found] == [True, False, True]
    for inline in (0, 100_000):
        *texts, data = in_blocks(inline).splitlines()
        again = read_blocks((("line", json.loads(text)) for text in texts), bytes.fromhex(data))
        assert sorted(again, key=key_of) == sorted(every(), key=key_of)
    assert block_writer.INLINE == 100_000


def test_the_limit_of_what_stands_in_the_lines_is_the_last_byte(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(block_writer, "INLINE", 0)
    size = len(blocks(every())[1])
    for limit, left in ((size, 0), (size - 1, size)):
        monkeypatch.setattr(block_writer, "INLINE", limit)
        assert len(blocks(every())[1]) == left
