"""Samples of a cell, read from the store and written as pages; answers of 150 words."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

from measuring import Case, Work, apart

from harness.cli.page_files import write_pages
from harness.core.records import Cell, parse
from harness.engine.store import Store
from leaderboards.render.samples import pages
from leaderboards.samples import choose, samples_of_cell
from tests.published import judged_systems

SIZES = (200, 1_000, 5_000, 20_000)


def case(rows: int, folder: Path, *, name: str) -> Work:
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

    def work() -> dict[str, float]:
        made = write_pages(folder / "x.html", pages(samples, "x.html"))
        largest = max(file.stat().st_size for file in made.files)
        return {"files": len(made.files), "kB": made.bytes / 1e3, "largest kB": largest / 1e3}

    return work


CASES = {
    "samples read": Case(partial(case, name="read"), SIZES, "samples"),
    "searched and sorted": Case(partial(case, name="searched"), SIZES, "samples"),
    "pages written": Case(partial(case, name="pages"), SIZES, "samples"),
}
