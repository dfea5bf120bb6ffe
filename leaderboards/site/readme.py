"""README.md of a published board; its front matter makes the folder a static space of the hub."""

from __future__ import annotations

import json

from harness.core.text import line
from leaderboards.board import Board
from leaderboards.render import render
from leaderboards.render.text import visible

# What the folder has, in the order of the front page and of the README.
FILES = {
    "board.csv": "scores as a table",
    "board.json": "scores, counts and provenance",
    "board.md": "the board as Markdown",
    "board.tex": "the board as a LaTeX table",
    "board.html": "the board as one page without links",
    "cells.jsonl": "all cells: values, counts, fingerprints, artifact ids, rows and replicates",
    "rows.bin": "numbers that cells.jsonl refers to",
    "spec.json": "columns, claims and provenance of the board",
}


def readme(board: Board, *, pages: int, withheld: bool, files: list[str]) -> str:
    """The text, ending in a newline.

    Args:
        pages: number of pages of samples.
        withheld: whether they were written without texts.
        files: names of the folder's other files.
    """
    title = line(visible(board.spec.title, 200))
    front = {"title": title[:60], "sdk": "static", "app_file": "index.html", "pinned": False}
    texts = (
        "Texts of prompts, answers and judges are left out; their lengths are shown."
        if withheld
        else "They contain the texts of prompts, answers and judges."
    )
    listed = [f"- `{name}`: {said}" for name, said in FILES.items() if name in files]
    parts = [
        "---",
        *(f"{name}: {json.dumps(value, ensure_ascii=True)}" for name, value in front.items()),
        "---",
        "",
        f"Open `index.html`. Every score leads to the samples it was made from ({pages:,} pages in "
        f"`samples/`). {texts}",
        "",
        *listed,
        "",
        "Check that the scores follow from the cells, byte for byte, with "
        "[Crucible](https://pypi.org/project/crucible-bench/): `crucible board FOLDER --check`.",
        "",
        render(board, "md").rstrip(),
    ]
    return "\n".join(parts) + "\n"
