"""A board as a LaTeX table; needs \\usepackage{booktabs}."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby

from leaderboards.board import Board, Row
from leaderboards.claims import ClaimResult, DoseClaim
from leaderboards.render import judges, text

_ESCAPES = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\char34{}",
    "`": r"\textasciigrave{}",
    "±": r"$\pm$",
    "—": r"\textemdash{}",
    "–": r"\textendash{}",
    "…": r"\dots{}",
    "≈": r"$\approx$",
    "★": r"$\star$",
    # A bracket after \\ would be parsed as its argument.
    "[": "{[}",
    "]": "{]}",
}

# Two hyphens, quotes or commas in a row would form a ligature.
_LIGATURE = re.compile(r"([-',])(?=\1)")


def escape(value: str, limit: int | None = None) -> str:
    """`value` escaped so that LaTeX prints it literally.

    >>> escape("50%_a")
    '50\\\\%\\\\_a'
    """
    shown = "".join(_ESCAPES.get(character, character) for character in text.visible(value, limit))
    return _LIGATURE.sub(r"\1{}", shown)


def render(board: Board) -> str:
    """One table, and one for each dose-response claim.

    Best values are bold, those not distinguishable from the best underlined.
    """
    lines = [f"% {text.visible(board.spec.title)}"]
    lines += [f"% {name}: {value}" for name, value in text.provenance_lines(board)]
    lines += [
        r"\begin{table}[t]",
        r"\centering",
        r"\small",
        rf"\begin{{tabular}}{{rl{'r' * len(board.columns)}}}",
        r"\toprule",
        *_header(board),
        r"\midrule",
    ]
    previous, digits = None, text.all_digits(board)
    for row in board.rows:
        if previous is not None and board.spec.order == "spec" and row.system.group != previous:
            lines.append(r"\midrule")
        previous = row.system.group
        lines.append(_row(row, digits))
    lines += [r"\bottomrule", r"\end{tabular}", rf"\caption{{{_caption(board)}}}", r"\end{table}"]
    for result in board.claims:
        if result.claim.kind == "slope":
            lines += _dose_table(board, result, result.claim)
    if board.judges:
        lines += _judge_table(board)
    return "\n".join(lines) + "\n"


def _judge_table(board: Board) -> list[str]:
    """Agreement of the judges."""
    rows = [" & ".join(map(escape, row)) + r" \\" for row in judges.rows(board.judges)]
    return [
        r"\begin{table}[t]",
        r"\centering",
        r"\small",
        rf"\begin{{tabular}}{{ll{'r' * (len(judges.HEADS) - 2)}}}",
        r"\toprule",
        " & ".join(map(escape, judges.HEADS)) + r" \\",
        r"\midrule",
        *rows,
        r"\bottomrule",
        r"\end{tabular}",
        rf"\caption{{{escape(f'{judges.TITLE}. {judges.NOTE}')}}}",
        r"\end{table}",
    ]


def _header(board: Board) -> list[str]:
    groups = [(name, len(list(g))) for name, g in groupby(c.heading for c in board.columns)]
    heads, rules, start = [], [], 3
    for name, width in groups:
        heads.append(rf"\multicolumn{{{width}}}{{c}}{{{escape(name)}}}")
        rules.append(rf"\cmidrule(lr){{{start}-{start + width - 1}}}")
        start += width
    titles = [escape(column.title) for column in board.columns]
    return [
        f"& & {' & '.join(heads)} \\\\",
        " ".join(rules),
        f"\\# & System & {' & '.join(titles)} \\\\",
    ]


def _row(row: Row, every: Sequence[int]) -> str:
    name = escape(row.system.title, text.NAME_LIMIT)
    if row.system.notes:
        name += f" ({escape(', '.join(row.system.notes), text.NAME_LIMIT)})"
    cells = ["" if row.rank is None else str(row.rank), name]
    for entry, digits in zip(row.entries, every, strict=True):
        value = escape(text.entry_value(entry, digits))
        if entry.standing == "best":
            value = rf"\textbf{{{value}}}"
        elif entry.standing == "tied":
            value = rf"\underline{{{value}}}"
        if entry.failed:
            value += r"$^\dagger$"
        if entry.interval is not None:
            low = text.number(entry.interval.low, digits)
            high = text.number(entry.interval.high, digits)
            value += rf" {{\scriptsize $[{low},\,{high}]$}}"
        cells.append(value)
    return " & ".join(cells) + r" \\"


def _dose_table(board: Board, result: ClaimResult, claim: DoseClaim) -> list[str]:
    """Doses and scores of a dose-response, with its slope and verdict in the caption."""
    digits, labels = text.claim_digits(board, result), text.labels(board)
    rows = []
    for point in result.points:
        value = text.MISSING if point.value is None else text.number(point.value, digits)
        span = "" if point.interval is None else text.span(point.interval, digits)
        system = labels.get(point.system, point.system)
        shown = (escape(system, text.NAME_LIMIT), f"{point.dose:g}", escape(value), escape(span))
        rows.append(" & ".join(shown) + r" \\")
    unit = escape(f"score ({result.unit})" if result.unit else "score")
    ours = text.claim_ours(result, text.effect_digits(board, result))
    reason = f" {text.visible(result.reason, 300)}." if result.reason else ""
    caption = (
        f"{text.claim_statement(board, result)}: {result.label}. "
        f"Slope {ours} {text.claim_rate(result)}.{reason}"
    )
    return [
        r"\begin{table}[t]",
        r"\centering",
        r"\small",
        r"\begin{tabular}{lrrr}",
        r"\toprule",
        rf"System & {escape(claim.cause or 'dose', text.NAME_LIMIT)} & {unit} & interval \\",
        r"\midrule",
        *rows,
        r"\bottomrule",
        r"\end{tabular}",
        rf"\caption{{{escape(caption)}}}",
        r"\end{table}",
    ]


def _caption(board: Board) -> str:
    parts = [board.spec.title.rstrip(".") + "."]
    if banner := text.banner(board):
        parts.append(banner.rstrip(".") + ".")
    parts += [text.spread_note(board), text.interval_note(board), text.seeds_note(board)]
    sentences = [escape(part) for part in parts if part]
    sentences.append(r"Bold: best; underlined: not distinguishable from the best.")
    if any(entry.failed for row in board.rows for entry in row.entries):
        sentences.append(r"$\dagger$: some judgments failed.")
    return " ".join(sentences)
