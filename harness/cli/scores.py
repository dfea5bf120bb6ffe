"""Scores for other programs: cells without the replicates behind their intervals."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from harness.core.records import Cell

LARGE = {"replicates", "resampled"}  # of a cell; boards keep them


def score_records(cells: Iterable[Cell]) -> list[dict[str, Any]]:
    """Cells as JSON objects, without replicates and rows."""
    return [cell.model_dump(mode="json", exclude=LARGE) for cell in cells]
