"""A board as GitHub-flavoured Markdown; names are escaped."""

from __future__ import annotations

from collections.abc import Sequence

from harness.core.text import code_span
from harness.core.text import markdown as escape
from leaderboards.board import Board, Row
from leaderboards.render import judges, text

MARKS = {"best": " ★", "tied": " ≈", "": ""}


def render(board: Board) -> str:
    """Title, table, claims, notes and provenance."""
    parts = [f"# {escape(board.spec.title)}"]
    if banner := text.banner(board):
        parts.append(f"> **{escape(banner)}**")
    if description := board.spec.description.strip():
        parts.append(escape(description))
    parts.append(_table(board))
    if board.claims:
        parts += ["## Claims of the paper", _claims(board)]
    if board.preconditions:
        parts += ["## Preconditions", text.PRECONDITIONS, _preconditions(board)]
    if board.judges:
        parts += [f"## {judges.TITLE}", judges.NOTE, _judges(board)]
    if lines := text.notes(board):
        parts += ["## Notes", "\n".join(f"- {escape(line.strip())}" for line in lines)]
    if facts := text.provenance_lines(board):
        lines = [f"- {escape(name.strip())}: {code_span(value)}" for name, value in facts]
        parts += ["## Provenance", "\n".join(lines)]
    return "\n\n".join(parts) + "\n"


def _table(board: Board) -> str:
    heads = [escape(text.column_name(column)) for column in board.columns]
    digits = text.all_digits(board)
    rows = [_row(row, digits) for row in board.rows]
    rule = ["---:", "---", *("---:" for _ in heads)]
    return "\n".join(_line(cells) for cells in (["#", "System", *heads], rule, *rows))


def _row(row: Row, every: Sequence[int]) -> list[str]:
    name = escape(row.system.title, text.NAME_LIMIT)
    if row.system.notes:
        name += f" ({escape(', '.join(row.system.notes), text.NAME_LIMIT)})"
    cells = ["" if row.rank is None else str(row.rank), name]
    for entry, digits in zip(row.entries, every, strict=True):
        value = escape(text.entry_value(entry, digits))
        if entry.standing == "best":
            value = f"**{value}**"
        if entry.interval is not None:
            value += f" {escape(text.span(entry.interval, digits))}"
        failed = " †" if entry.failed else ""
        cells.append(value + MARKS[entry.standing] + failed)
    return cells


def _claims(board: Board) -> str:
    lines = [["Verdict", "Claim", "Here", "Detectable", "Paper", "Source"], ["---"] * 6]
    for result in board.claims:
        digits = text.effect_digits(board, result)
        rate = f" {escape(text.claim_rate(result))}" if result.claim.kind == "slope" else ""
        here = escape(text.claim_ours(result, digits)) + rate
        statement = escape(text.claim_statement(board, result))
        if result.points:
            statement += f": {escape(text.claim_values(board, result), 1000)}"
        if result.reason:
            here += f" ({escape(result.reason, 300)})"
        lines.append(
            [
                f"**{result.verdict}**" + (f" ({result.scope})" if result.scope else ""),
                statement,
                here,
                escape(text.claim_detectable(result, digits)),
                escape(text.claim_paper(result, digits)),
                escape(result.claim.source, 300),
            ]
        )
    return "\n".join(_line(line) for line in lines)


def _preconditions(board: Board) -> str:
    rows = [[escape(c) for c in row] for row in text.precondition_rows(board.preconditions)]
    rule = ["---", "---", "---:", "---:", "---"]
    return "\n".join(_line(cells) for cells in ([*text.PRECONDITION_HEADS], rule, *rows))


def _judges(board: Board) -> str:
    rows = [[escape(cell) for cell in row] for row in judges.rows(board.judges)]
    rule = ["---", "---", *["---:"] * (len(judges.HEADS) - 2)]
    return "\n".join(_line(cells) for cells in ([*judges.HEADS], rule, *rows))


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
