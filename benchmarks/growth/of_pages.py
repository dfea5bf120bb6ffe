"""Samples of a cell, read from the store and written as one page; answers of 150 words."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

from measuring import Case, Work, apart

from harness.core.records import Cell, parse
from harness.engine.store import Store
from leaderboards.render.samples import render
from leaderboards.samples import choose, samples_of_cell
from tests.published import judged_systems

SIZES = (200, 1_000, 5_000, 20_000)


def pages(rows: int, folder: Path, *, name: str) -> Work:
    def write() -> None:
        _, cells = judged_systems(
            folder / "store", systems=1, prompts=rows, suites=("arena_hard",), words=150
        )
        (folder / "cell.json").write_text(cells[0].model_dump_json())

    apart(write)
    store = Store(folder / "store")
    cell = parse(Cell, json.loads((folder / "cell.json").read_text()), "cell")
    if name == "read":
        return lambda: {"samples": len(samples_of_cell(store, cell).samples)}
    samples = samples_of_cell(store, cell)
    if name == "searched":
        return lambda: {"found": len(choose(samples.samples, (), "the7", "-preference"))}
    return lambda: {"kB": len(render(samples).encode()) / 1e3}


CASES = {
    "samples read": Case(partial(pages, name="read"), SIZES, "samples"),
    "searched and sorted": Case(partial(pages, name="searched"), SIZES, "samples"),
    "page written": Case(partial(pages, name="page"), SIZES, "samples"),
}
