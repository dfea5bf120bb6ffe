"""A board as CSV: one line per system, plain numbers, names safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence

from harness.suites.marks import LIMIT
from leaderboards.board import Board, Row
from leaderboards.claims import DoseClaim
from leaderboards.render import text
from leaderboards.scores import scope_of

# Spreadsheets interpret a cell that starts with one of these as a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")
_AFTER = re.compile(r"(;[ '\"]*)(?=[=+@＝＋＠]|[-－][^ ])")


def safe(value: str) -> str:
    """A name as a cell that spreadsheets do not evaluate.

    >>> safe("=1+1"), safe("Target")
    ("'=1+1", 'Target')
    """
    # Where a spreadsheet separates cells by ";", the rest of a name is a cell of its own.
    shown = _AFTER.sub(r"\1'", text.visible(value))
    return f"'{shown}" if shown.lstrip(" '\"").startswith(_FORMULA) else shown


def render(board: Board) -> str:
    """Rank and system, then value, interval, standing and counts of each column; then the doses.

    A dose-response claim has a column ID.dose, from which its line can be fitted again. A board
    with limited suites has a last column that names them.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_MINIMAL)
    limited, digits = bool(text.limits(board.cells)), text.all_digits(board)
    writer.writerow(_header(board, limited))
    writer.writerows(_line(board, row, digits, limited) for row in board.rows)
    return stream.getvalue()


def _header(board: Board, limited: bool) -> list[str]:
    names = ["rank", "tied_with_best", "system", "label", "group", "notes", "scale"]
    for column in board.columns:
        key = safe(column.key)
        names.append(key)
        if column.spread:
            names.append(f"{key}.{text.visible(column.spread)}")
        if not column.detail:
            names += [f"{key}.{part}" for part in _PARTS]
    names += [f"{safe(claim.id)}.dose" for claim in _dose_claims(board)]
    return names + [LIMIT] * limited


def _dose_claims(board: Board) -> list[DoseClaim]:
    return [claim for claim in board.spec.claims if claim.kind == "slope"]


_PARTS = (
    "low",
    "high",
    "standing",
    "n_expected",
    "n_scored",
    "n_failed",
    "n_seeds",
    "scope",
    "published",
)


def _line(board: Board, row: Row, every: Sequence[int], limited: bool) -> list[str]:
    system = row.system
    cells = ["" if row.rank is None else str(row.rank), "yes" if row.tied else ""]
    cells += [safe(v) for v in (system.name, system.title, system.group, "; ".join(system.notes))]
    cells.append(safe(", ".join(sorted({c.scale for s in row.scores for c in s.cells}))))
    for index, (column, entry) in enumerate(zip(board.columns, row.entries, strict=True)):
        digits = every[index]
        if entry.value is None:
            cells.append("")
        elif isinstance(entry.value, str):
            cells.append(safe(entry.value))
        else:
            cells.append(text.entry_value(entry.model_copy(update={"spread": None}), digits))
        if column.spread:
            cells.append("" if entry.spread is None else text.number(entry.spread, digits))
        if not column.detail:
            cells += _parts(board, row, index, digits)
    doses = (claim.doses.get(system.name) for claim in _dose_claims(board))
    cells += ["" if dose is None else f"{dose:g}" for dose in doses]
    if limited:
        own = text.limits(cell for score in row.scores for cell in score.cells)
        cells.append(safe("; ".join(f"{suite}: {', '.join(own[suite])}" for suite in own)))
    return cells


def _parts(board: Board, row: Row, index: int, digits: int) -> list[str]:
    entry = row.entries[index]
    interval, score = entry.interval, entry.score
    published = board.reference(row.system.name, board.columns[index])
    return [
        "" if interval is None else text.number(interval.low, digits),
        "" if interval is None else text.number(interval.high, digits),
        entry.standing,
        *(
            [""] * 4
            if score is None
            else [str(n) for n in (score.n_expected, score.n_scored, score.n_failed, score.n_seeds)]
        ),
        "" if score is None else scope_of(score.n_seeds),
        "" if published is None else text.number(published.value, digits),
    ]
