"""Boards that rank judges by their agreement with one set of reference verdicts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from harness.core.errors import UserError
from harness.core.records import Cell
from harness.judging.agreement_cells import SUITE
from leaderboards.board import Board
from leaderboards.files import CELLS, read_board, write_board
from leaderboards.spec import BoardSpec, ColumnSpec

# Metric -> (heading, decimals); the first metric that is present ranks the rows.
_COLUMNS = {
    "judge_kappa_quadratic": ("kappa, quadratic", 3),
    "judge_kappa": ("kappa", 3),
    "judge_agreement": ("agreement", 1),
    "judge_agreement_without_ties": ("without ties", 1),
    "judge_label_kappa_quadratic": ("label kappa, quadratic", 3),
    "judge_pearson": ("Pearson", 3),
    "judge_spearman": ("Spearman of systems", 3),
    "judge_first_shown": ("first shown wins", 1),
    "judge_contradictions": ("contradictions", 1),
    "judge_length_slope_excess": ("length slope beyond reference", 3),
}


def add_to_board(folder: Path, cells: Sequence[Cell]) -> Board:
    """Add or replace the cells of one judge in a board's folder.

    Raises:
        UserError: the folder holds a board of other suites, or judges measured against other
            reference verdicts.
    """
    kept: list[Cell] = []
    if (folder / CELLS).exists():
        kept = list(read_board(folder)[1])
        others = sorted({cell.suite for cell in kept if not cell.suite.startswith(f"{SUITE}:")})
        if others:
            raise UserError(
                f"{folder} is a board of {', '.join(others)}; choose another folder for judge "
                "agreement (--out)"
            )
        new = {(cell.system, cell.suite) for cell in cells}
        kept = [cell for cell in kept if (cell.system, cell.suite) not in new]
    every = [*kept, *cells]
    return write_board(folder, _spec(folder, every), every)


def _spec(folder: Path, cells: Sequence[Cell]) -> BoardSpec:
    suites = sorted({cell.suite for cell in cells})
    known = {(cell.suite, cell.metric) for cell in cells}
    columns = [
        ColumnSpec(
            suite=suite,
            metric=metric,
            label=title,
            group=suite.removeprefix(f"{SUITE}:"),
            digits=digits,
        )
        for suite in suites
        for metric, (title, digits) in _COLUMNS.items()
        if (suite, metric) in known
    ]
    references = ", ".join(sorted({cell.judge for cell in cells if cell.judge}))
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", folder.resolve().name).strip("-.") or "judges"
    return BoardSpec(
        name=name,
        title="Agreement of judges with reference verdicts",
        description=f"Every judge read the same answers as the reference: {references}.",
        columns=tuple(columns),
    )
