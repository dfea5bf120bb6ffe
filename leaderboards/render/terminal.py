"""Boards and comparisons as rich renderables that fit the width of the terminal.

Values are followed by their interval if the table is narrow enough, else by its half width; columns
that still do not fit are moved to further tables below, with the systems repeated.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import StringIO

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from leaderboards.board import Board, Entry, Row
from leaderboards.by_judge import MARK, base, judge_in
from leaderboards.claims import ClaimOutcome, summary
from leaderboards.compare import Comparison, mcnemar_text
from leaderboards.judge_agreement import JudgePair
from leaderboards.preconditions import Measured
from leaderboards.render import judges, text

WIDEST = 160  # tables are not made wider, because longer lines are hard to read
STYLES = {"best": "bold green", "tied": "green", "": ""}
_GAP = 3  # between two columns
MARKS = {"best": " ★", "tied": " ≈", "": ""}
OUTCOME_STYLES: dict[ClaimOutcome, str] = {
    "holds": "bold green",
    "contradicted": "bold red",
    "not shown": "yellow",
    "not tested": "dim",
}


@dataclass(frozen=True)
class BoardView:
    """A renderable board; its layout depends on the width of the console, or on `width`."""

    board: Board
    width: int | None = None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from parts(self.board, self.width or min(options.max_width, WIDEST))


def render_board(board: Board, width: int | None = None) -> BoardView:
    """A renderable at most `width` characters wide; default: the console, at most WIDEST."""
    return BoardView(board, width)


def render(board: Board) -> str:
    """The board as plain text, at most WIDEST characters wide."""
    console = Console(file=StringIO(), width=WIDEST, color_system=None)
    with console.capture() as captured:
        console.print(BoardView(board))
    return "".join(f"{line.rstrip()}\n" for line in captured.get().splitlines())


def parts(board: Board, width: int) -> Iterator[RenderableType]:
    """Banner, tables, claims, preconditions and notes."""
    if banner := text.banner(board):
        yield Panel(Text(banner, style="bold yellow"), box=box.ROUNDED, expand=False)
    layout = "interval" if _width(board, "interval", None) <= width else "half width"
    for number, chunk in enumerate(_chunks(board, layout, width)):
        title = text.visible(board.spec.title, 90) if number == 0 else None
        yield _table(board, chunk, layout, title)
    if board.claims:
        yield claims(board, width)
    if board.preconditions:
        yield preconditions(board.preconditions, width)
    if board.judges:
        yield judge_table(board.judges, width)
    halves = any(e.interval and e.spread is None for row in board.rows for e in row.entries)
    for line in text.notes(board):
        if layout == "half width" and line.startswith("Brackets:"):
            if not halves:
                continue
            line = line.replace("Brackets:", "Behind ±: half the", 1)
        yield Text(line, style="dim")


def claims(board: Board, width: int = 100) -> RenderableType:
    """The paper's claims with their verdicts."""
    table = Table(
        title=f"Claims: {summary(board.claims)}",
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        width=width if width < 100 else None,
        pad_edge=False,
    )
    roomy = width >= 90
    table.add_column("Verdict", no_wrap=True)
    table.add_column("Claim", overflow="fold")
    table.add_column("Here", justify="right", no_wrap=True)
    table.add_column("Detectable", justify="right", no_wrap=True)
    table.add_column("Paper", justify="right", no_wrap=True)
    for result in board.claims:
        digits = text.effect_digits(board, result)
        statement = Text(text.claim_statement(board, result))
        if result.points:
            statement.append(f"\n{text.claim_values(board, result)}", style="dim")
        if result.reason:
            statement.append(f"\n{text.visible(result.reason, 200)}", style="dim")
        paper = text.signed(result.claim.paper_effect, digits)
        ours = Text(text.claim_ours(result, digits))
        if rate := text.claim_rate(result):
            ours.append(f"\n{rate}", style="dim")
        table.add_row(
            Text(result.label.replace(" (", "\n(", 1), style=OUTCOME_STYLES[result.verdict]),
            statement,
            ours,
            Text(text.claim_detectable(result, digits)),
            Text(text.claim_paper(result, digits) if roomy else paper, style="dim"),
        )
    return table


def preconditions(rows: Sequence[Measured], width: int = 100) -> RenderableType:
    """The table of preconditions."""
    table = Table(
        title="Preconditions",
        caption=text.PRECONDITIONS,
        title_justify="left",
        caption_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        width=width if width < 100 else None,
        pad_edge=False,
    )
    for head in text.PRECONDITION_HEADS:
        right = head in ("Here", "Items")
        table.add_column(head, justify="right" if right else "left", overflow="fold")
    for cells in text.precondition_rows(rows):
        table.add_row(*(Text(cell) for cell in cells))
    return table


def judge_table(pairs: Sequence[JudgePair], width: int = 100) -> RenderableType:
    """The judges' agreement: a table, or sentences where it would not fit."""
    rows = judges.rows(pairs)
    sizes = [max(map(cell_len, column)) for column in zip(judges.HEADS, *rows, strict=True)]
    title = Text(judges.TITLE, style="bold")
    if sum(sizes) + _GAP * len(sizes) > width:
        lines = (Text(f"{head}\n  {said}") for head, said in judges.sentences(pairs))
        return Group(title, *lines, Text(judges.NOTE))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for head in judges.HEADS:
        left = head in ("Suite", "Judges")
        table.add_column(head, justify="left" if left else "right", no_wrap=True)
    for cells in rows:
        table.add_row(*(Text(cell) for cell in cells))
    return Group(title, table, Text(judges.NOTE))


def _table(board: Board, columns: Sequence[int], layout: str, title: str | None) -> Table:
    table = Table(
        title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False
    )
    table.add_column("#", justify="right", no_wrap=True)
    table.add_column("System", overflow="fold", max_width=_NAME)
    for index in columns:
        table.add_column(Text("\n".join(_heads(board, index))), justify="right", no_wrap=True)
    for row in board.rows:
        name = Text(_name(row), style="" if row.system.ranked else "dim")
        rank = Text("" if row.rank is None else str(row.rank))
        table.add_row(rank, name, *(_cell(board, row, index, layout) for index in columns))
    return table


def _cell(board: Board, row: Row, index: int, layout: str) -> Text:
    entry = row.entries[index]
    style = "dim" if entry.value is None else STYLES[entry.standing]
    return Text(_shown(entry, text.column_digits(board, index), layout), style=style)


def _shown(entry: Entry, digits: int, layout: str) -> str:
    shown = text.entry_value(entry, digits)
    if layout == "interval" and entry.interval is not None:
        shown += f" {text.span(entry.interval, digits)}"
    elif layout == "half width" and entry.interval is not None and entry.spread is None:
        half = (entry.interval.high - entry.interval.low) / 2
        shown += f" ±{text.number(half, digits)}"
    failed = "†" if entry.failed else ""
    # Marks are padded to keep the numbers of a column aligned.
    return f"{shown}{failed}{MARKS[entry.standing] or '  '}"


def _heads(board: Board, index: int) -> tuple[str, ...]:
    """Lines above a column: suite, judge if each has columns, and metric."""
    column = board.columns[index]
    judge = judge_in(column.suite)
    heads: tuple[str, ...] = (column.heading,)
    if judge and board.spec.by_judge:
        heads = (base(column.heading), f"{MARK}{judge}")
    return tuple(text.visible(line, 24) for line in (*heads, column.title))


_NAME = 36


def _name(row: Row) -> str:
    tail = f" ({', '.join(row.system.notes)})" if row.system.notes else ""
    return text.visible(row.system.title + tail, 120)


def _column_width(board: Board, index: int, layout: str) -> int:
    digits = text.column_digits(board, index)
    heads = _heads(board, index)
    cells = (_shown(row.entries[index], digits, layout) for row in board.rows)
    return _GAP + max(cell_len(shown) for shown in (*heads, *cells))


def _fixed_width(board: Board) -> int:
    """Width of the columns for rank and name."""
    names = [min(_NAME, cell_len(_name(row))) for row in board.rows]
    return 5 + 2 + max([6, *names])


def _width(board: Board, layout: str, columns: Sequence[int] | None) -> int:
    chosen = range(len(board.columns)) if columns is None else columns
    return _fixed_width(board) + sum(_column_width(board, index, layout) for index in chosen)


def _chunks(board: Board, layout: str, width: int) -> list[list[int]]:
    """Columns grouped into tables that fit, at least one column each."""
    chunks: list[list[int]] = [[]]
    for index in range(len(board.columns)):
        if chunks[-1] and _width(board, layout, [*chunks[-1], index]) > width:
            chunks.append([])
        chunks[-1].append(index)
    return chunks


def render_comparison(comparison: Comparison, digits: int = 2) -> RenderableType:
    """A comparison as a table; differences whose interval excludes 0 are marked."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("Metric", overflow="fold")
    for name in (comparison.first, comparison.second):
        table.add_column(Text(text.visible(name, 24)), justify="right", no_wrap=True)
    table.add_column("Difference", justify="right", no_wrap=True)
    for line in comparison.lines:
        metric = Text(text.visible(f"{line.suite} {line.metric.replace('_', ' ')}", 80))
        if line.note:
            metric.append(f"\n{text.visible(line.note, 200)}", style="dim")
        if line.mcnemar:
            metric.append(mcnemar_text(line).replace("; ", "\n", 1), style="dim")
        shown = text.signed(line.difference, digits)
        if line.interval is not None:
            shown += f" {text.span(line.interval, digits, signed=True)}"
        style = {"first": "green", "second": "red"}.get(line.ahead, "")
        table.add_row(
            metric,
            *(Text(_plain(value, digits)) for value in (line.first, line.second)),
            Text(f"{shown} {'*' if line.ahead else ' '}", style=style),
            style="" if line.primary else "dim",
        )
    summary = f"{comparison.summary}; * the interval excludes 0"
    return Group(table, Text(summary, style="dim"))


def _plain(value: float | None, digits: int) -> str:
    return text.MISSING if value is None else text.number(value, digits)
