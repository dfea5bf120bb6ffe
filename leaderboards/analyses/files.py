"""Folder of an analysis: analysis.json, and analysis.md and analysis.html made from it."""

from __future__ import annotations

import json
from pathlib import Path

from harness.core.errors import StoreProblem
from harness.data.instructions.analysis import Analysis
from harness.engine.io import atomic_folder
from leaderboards.analyses import html, md

TITLE = "Analysis of instruction data"
JSON = "analysis.json"


def analysis_files(analysis: Analysis, title: str = TITLE, command: str = "") -> dict[str, bytes]:
    """Name -> content of each file; the same analysis and command give the same bytes."""
    data = {"title": title, "command": command, **analysis.model_dump(mode="json")}
    files = {
        JSON: json.dumps(data, indent=1, ensure_ascii=False) + "\n",
        "analysis.md": md.render(analysis, title, command),
        "analysis.html": html.render(analysis, title, command),
    }
    return {n: text.encode("utf-8", errors="backslashreplace") for n, text in files.items()}


def write_analysis(folder: Path, analysis: Analysis, title: str = TITLE, command: str = "") -> None:
    """Write the files; others in the folder are kept.

    Raises:
        StoreProblem: the folder cannot be written.
    """
    try:
        with atomic_folder(folder.absolute(), merge=True) as fresh:
            for name, data in analysis_files(analysis, title, command).items():
                (fresh / name).write_bytes(data)
    except OSError as error:
        raise StoreProblem(f"cannot write {folder}: {error}") from None
