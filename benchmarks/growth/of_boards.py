"""Boards of 10 to 10,000 cells (systems x suites x seeds, 80 prompts and 1,000 draws each)."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from measuring import Case, Work, apart

from harness.core.hashing import digest, seed_from
from harness.core.records import Cell
from harness.suites.scoring import CellMaker, CellParams
from leaderboards.board import build_board
from leaderboards.claims import Claim
from leaderboards.files import check_board, read_board, write_board
from leaderboards.render.html import render
from leaderboards.spec import BoardSpec

# cells -> systems, suites, seeds
SHAPES = {10: (5, 2, 1), 100: (10, 5, 2), 1_000: (40, 5, 5), 10_000: (400, 5, 5)}
PROMPTS = 80


def cell(system: int, suite: int, seed: int) -> Cell:
    params = CellParams(
        suite=f"suite_{suite}",
        system=f"team/system-{system:04d}",
        scale="nano",
        seed=seed,
        judge="nano:oracle",
        judge_fingerprint="5ccad2a287cb383b",
        decode_fingerprint="75999e7361d4116a",
    )
    links = {role: digest([suite, system, seed, role]) for role in ("judgments", "generations")}
    draws = np.random.default_rng(seed_from(system, suite, seed))
    values = (draws.random(PROMPTS) < 0.3 + 0.4 * draws.random()).astype(float).tolist()
    return CellMaker(params, digest(suite), links).mean_cell("win_rate", values, range(PROMPTS))


def spec(systems: int) -> BoardSpec:
    claims = tuple(
        Claim(
            id=f"claim-{number}",
            better=f"team/system-{number:04d}",
            worse="team/system-0000",
            suite="suite_0",
            metric="win_rate",
        )
        for number in range(1, min(systems, 20))
    )
    return BoardSpec(name="synthetic", title="Synthetic", claims=claims)


def made(cells: int, folder: Path) -> tuple[BoardSpec, tuple[Cell, ...]]:
    """A written board, read again."""
    systems, suites, seeds = SHAPES[cells]

    def write() -> None:
        every = (
            cell(n, suite, seed)
            for n in range(systems)
            for suite in range(suites)
            for seed in range(seeds)
        )
        write_board(folder, spec(systems), every)

    apart(write)
    return read_board(folder)


def written(cells: int, folder: Path) -> Work:
    own, found = made(cells, folder / "made")

    def work() -> dict[str, float]:
        write_board(folder / "again", own, found)
        size = sum(path.stat().st_size for path in (folder / "again").iterdir())
        return {"kB": size / 1e3}

    return work


def checked(cells: int, folder: Path) -> Work:
    made(cells, folder / "made")

    def work() -> None:
        assert check_board(folder / "made") == ""

    return work


def step(cells: int, folder: Path, *, name: str) -> Work:
    """One step alone: the table, or its page."""
    own, found = made(cells, folder / "made")
    if name == "table":
        return lambda: {"rows": len(build_board(own, found).rows)}
    board = build_board(own, found)
    return lambda: {"kB": len(render(board)) / 1e3}


CASES = {
    "table": Case(partial(step, name="table"), tuple(SHAPES), "cells"),
    "html page": Case(partial(step, name="html"), tuple(SHAPES), "cells"),
    "folder written": Case(written, tuple(SHAPES), "cells"),
    "folder checked": Case(checked, tuple(SHAPES), "cells"),
}
