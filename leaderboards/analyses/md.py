"""An analysis as GitHub-flavoured Markdown; names are escaped."""

from __future__ import annotations

from collections.abc import Sequence

from harness.data.instructions.analysis import Analysis
from leaderboards.analyses.figures import Figure, facts, lines, names, notes, shared_table
from leaderboards.render.md import escape


def render(analysis: Analysis, title: str, command: str = "") -> str:
    """Table, instructions in common, commonest pairs, notes and provenance."""
    heads = [escape(name) for name in names(analysis)]
    parts = [f"# {escape(title)}", _figures(analysis, heads)]
    if analysis.shared:
        parts += [
            "## Instructions in common",
            "How many instructions of a row's data set occur in the column's, word for word.",
            _shared(analysis, heads),
        ]
    parts += ["## Commonest verb-noun pairs", *_pairs(analysis, heads)]
    parts += ["## Notes", "\n".join(f"- {escape(note)}" for note in notes(analysis))]
    listed = [f"- {escape(name)}: {escape(value)}" for name, value in facts(analysis, command)]
    return "\n\n".join([*parts, "## Provenance", "\n".join(listed)]) + "\n"


def _table(rows: Sequence[Sequence[str]]) -> str:
    rule = ["---", *["---:"] * (len(rows[0]) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (rows[0], rule, *rows[1:]))


def _shown(figure: Figure) -> str:
    behind = f" {figure.behind}" if figure.behind.startswith("[") else ""
    if figure.behind and not behind:
        behind = f" ({figure.behind})"
    return escape(figure.value + behind) if figure.value else ""


def _figures(analysis: Analysis, heads: list[str]) -> str:
    rows = [[escape(line.title), *map(_shown, line.figures)] for line in lines(analysis)]
    return _table([["", *heads], *rows])


def _shared(analysis: Analysis, heads: list[str]) -> str:
    table = shared_table(analysis)
    rows = [[head, *map(_shown, row)] for head, row in zip(heads, table, strict=True)]
    return _table([["", *heads], *rows])


def _pairs(analysis: Analysis, heads: list[str]) -> list[str]:
    """One table per data set."""
    parts = []
    for head, each in zip(heads, analysis.sets, strict=True):
        rows = [
            [escape(f"{pair.verb} {pair.noun}"), f"{pair.count:,}", f"{100 * pair.share:.1f} %"]
            for pair in each.top
        ]
        parts.append(_table([[head, "number", "share of pairs"], *rows]))
    return parts
