"""`board` and `compare`: boards of the store, published ones, and boards of several runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from harness.api.results import Scored
from harness.api.tables import frame, html_table
from harness.cli.boards import find_board
from harness.core.errors import UserError
from harness.core.records import Cell
from harness.engine.store import Store, default_root
from harness.planned import PlannedRun
from leaderboards.board import Board, build_board
from leaderboards.claims import ClaimResult
from leaderboards.compare import Comparison, compare_systems
from leaderboards.files import read_board, write_board
from leaderboards.render import render
from leaderboards.spec import BoardSpec, ColumnSpec, SystemSpec

if TYPE_CHECKING:
    import pandas

Source = str | Path | PlannedRun


@dataclass(frozen=True)
class BoardResult(Scored):
    """A board: `table` has rows, columns and claims; results and frames as of a run.

    Attributes:
        table: the board itself.
        store: store with the samples behind it; None where they are not at hand.
    """

    table: Board
    store: Store | None = field(default=None, repr=False)

    @property
    def result_cells(self) -> Sequence[Cell]:
        return self.table.cells

    @property
    def result_store(self) -> Store | None:
        return self.store

    @property
    def main_system(self) -> str:
        return ""

    @property
    def claims(self) -> tuple[ClaimResult, ...]:
        """The paper's claims with their verdicts."""
        return self.table.claims

    def render(self, format: str = "terminal") -> str:
        """The board as text: terminal, md, csv, json, tex or html."""
        return render(self.table, format)

    def write(self, folder: Path | str) -> Path:
        """Write the board's folder: cells, specification and all formats."""
        write_board(Path(folder), self.table.spec, self.table.cells)
        return Path(folder)

    def _repr_html_(self) -> str:
        headings = ["#", "system"]
        headings += [f"{c.heading} {c.title}".strip() for c in self.table.columns]
        rows = []
        for row in self.table.rows:
            values: list[object] = [row.rank, row.system.title]
            for entry in row.entries:
                value = entry.value
                shown = f"{value:.1f}" if isinstance(value, float) else value
                if entry.interval is not None:
                    shown = f"{shown} [{entry.interval.low:.1f}, {entry.interval.high:.1f}]"
                values.append(shown)
            rows.append(values)
        return html_table(headings, rows, self.table.spec.title, ", ".join(self.table.scales))


@dataclass(frozen=True)
class ComparisonResult:
    """The paired differences of two systems, metric by metric."""

    comparison: Comparison

    @property
    def summary(self) -> str:
        """On how many main metrics each system is ahead."""
        return self.comparison.summary

    def to_pandas(self) -> pandas.DataFrame:
        """One row per metric that both systems have."""
        return frame(self.rows())

    def rows(self) -> list[dict[str, object]]:
        """One flat row per metric that both systems have."""
        return [
            {
                "suite": line.suite,
                "metric": line.metric,
                "first": line.first,
                "second": line.second,
                "difference": line.difference,
                "low": None if line.interval is None else line.interval.low,
                "high": None if line.interval is None else line.interval.high,
                "ahead": line.ahead,
                "note": line.note,
            }
            for line in self.comparison.lines
        ]

    def _repr_html_(self) -> str:
        rows, names = self.rows(), ("suite", "metric", "first", "second", "difference")
        headings = ("suite", "metric", self.comparison.first, self.comparison.second, "difference")
        ends = [(row["low"], row["high"], row["ahead"]) for row in rows]
        values = [[*(row[n] for n in names), *more] for row, more in zip(rows, ends, strict=True)]
        return html_table((*headings, "low", "high", "ahead"), values, note=self.summary)


def board(*of: Source, title: str = "", store: Path | str | None = None) -> BoardResult:
    """A board by name or folder, or one board of several runs.

    Args:
        of: one name (of the store, or published) or folder; or runs of `evaluate` and `reproduce`,
            which are executed where they have not been.
        title: title of a board of runs.
        store: store folder with named boards and the samples behind them (default: $CRUCIBLE_HOME,
            else .crucible).

    Raises:
        UnknownName: there is no board of this name.
        UserError: the runs' scores cannot be ranked together, for example for different judges.
    """
    if not of:
        raise UserError("which board? expected a name (crucible board lists them), or runs")
    runs = [source for source in of if isinstance(source, PlannedRun)]
    if not runs:
        if len(of) > 1:
            raise UserError(f"expected one board or runs, found {len(of)} names")
        root = Path(store) if store is not None else default_root()
        spec, cells = read_board(_folder(str(of[0]), root))
        home = Store(root) if (root / "store.json").exists() else None
        return BoardResult(build_board(spec, cells), home)
    if len(runs) != len(of):
        raise UserError("expected runs alone or one name, found both; board(NAME).write copies one")
    cells = tuple(cell for run in runs for cell in run.result_cells)
    if len(runs) == 1 and not title:
        return BoardResult(runs[0].board, runs[0].store)
    return BoardResult(build_board(_joint(cells, title), cells), runs[0].store)


def _folder(name: str, root: Path) -> Path:
    own = root / "boards" / name
    return own if (own / "cells.jsonl").is_file() else find_board(name)


def _joint(cells: Sequence[Cell], title: str) -> BoardSpec:
    """Specification of a board of several runs: their systems and main metrics."""
    systems = dict.fromkeys(cell.system for cell in cells)
    columns = dict.fromkeys((cell.suite, cell.metric) for cell in cells if cell.primary)
    return BoardSpec(
        name="joint",
        title=title or f"{len(systems)} systems",
        systems=tuple(SystemSpec(name=name) for name in systems),
        columns=tuple(ColumnSpec(suite=suite, metric=metric) for suite, metric in columns),
    )


def compare(
    first: str | PlannedRun,
    second: str | PlannedRun,
    board: str | Path | BoardResult | PlannedRun | None = None,
) -> ComparisonResult:
    """The paired difference of two systems on every metric that both have.

    Args:
        first, second: names of systems of `board`; or two runs of `evaluate`.
        board: a name, folder, board or run that has both systems.

    Raises:
        UnknownName: there is no such board or system.
        UserError: no board is given for names, or the systems have no metric in common.
    """
    if isinstance(first, PlannedRun) and isinstance(second, PlannedRun):
        cells = [*first.result_cells, *second.result_cells]
        compared = compare_systems(cells, _one_system(first), _one_system(second))
        return ComparisonResult(compared)
    if not (isinstance(first, str) and isinstance(second, str)) or board is None:
        raise UserError(
            'expected two runs, or two names and a board, as in compare("wrpo", "dpo", "wrpo-nano")'
        )
    if isinstance(board, Scored):
        return ComparisonResult(compare_systems(board.result_cells, first, second))
    _, stored = read_board(_folder(str(board), default_root()))
    return ComparisonResult(compare_systems(stored, first, second))


def _one_system(run: PlannedRun) -> str:
    names = list(dict.fromkeys(cell.system for cell in run.result_cells))
    if len(names) == 1:
        return names[0]
    if run.main_system in names:
        return run.main_system
    raise UserError(f"a run of {len(names)} systems: {', '.join(names)}; name two of them")
