"""The picture of a board on the front pages, made from a committed board.

    python docs/_ext/board_picture.py      # writes docs/_static/board.svg

It is the board as a terminal shows it, cut to what a front page has room for: of the claims those
on the first column, whatever their verdicts; no preconditions and no notes. The picture loads
nothing: it uses the reader's own monospaced font.
"""

from __future__ import annotations

import sys
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from leaderboards.board import Board, build_board
from leaderboards.files import read_board
from leaderboards.render.terminal import parts

ROOT = Path(__file__).resolve().parents[2]
BOARD = ROOT / "leaderboards/results/wrpo-nano"
PICTURE = ROOT / "docs/_static/board.svg"
WIDTH = 112  # characters
FONT = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"

# As rich's own, without the fonts that it loads from the network.
FORMAT = (
    '<svg class="rich-terminal" viewBox="0 0 {width} {height}" role="img" '
    'aria-label="A board of Crucible" xmlns="http://www.w3.org/2000/svg">\n'
    "<style>\n"
    f".{{unique_id}}-matrix {{{{ font-family: {FONT}; font-size: {{char_height}}px; "
    "line-height: {line_height}px; font-variant-east-asian: full-width; }}\n"
    ".{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: sans-serif; }}\n"
    "{styles}\n"
    "</style>\n"
    '<defs><clipPath id="{unique_id}-clip-terminal"><rect x="0" y="0" width="{terminal_width}" '
    'height="{terminal_height}"/></clipPath>{lines}</defs>\n'
    "{chrome}\n"
    '<g transform="translate({terminal_x}, {terminal_y})" '
    'clip-path="url(#{unique_id}-clip-terminal)">{backgrounds}'
    '<g class="{unique_id}-matrix">{matrix}</g></g>\n'
    "</svg>\n"
)


def picture(board: Board) -> str:
    """The board as SVG; the same board and version of rich give the same text."""
    console = Console(file=StringIO(), width=WIDTH, record=True, force_terminal=True)
    for part in parts(board, WIDTH):
        if not isinstance(part, Text):
            console.print(part)
    svg = console.export_svg(
        title="crucible reproduce wrpo --seeds 5",
        theme=MONOKAI,
        code_format=FORMAT,
        unique_id="board",
    )
    return "\n".join(line.rstrip() for line in svg.splitlines()) + "\n"


def committed() -> Board:
    """The committed board, with the claims on its first column."""
    spec, cells = read_board(BOARD)
    first = (spec.columns[0].suite, spec.columns[0].metric)
    claims = tuple(claim for claim in spec.claims if (claim.suite, claim.metric) == first)
    board = build_board(spec.model_copy(update={"claims": claims}), cells)
    return board.model_copy(update={"preconditions": ()})


if __name__ == "__main__":
    PICTURE.write_text(picture(committed()), encoding="utf-8")
    sys.stdout.write(f"{PICTURE}\n")
