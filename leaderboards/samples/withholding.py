"""Samples and cells without texts: for results on prompts that must not be published."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from harness.core.records import Cell
from leaderboards.samples.rows import KNOWN_LABELS

WITHHELD = "not published"
# Fields that hold no text; those of turns, and the reply, are indices of texts.
_KEPT = ("id", "outcome", "value", "lengths", "first", "flags")
_KEPT_OF_TURNS = ("question", "answer", "other", "reference")
_KEPT_OF_GAMES = ("first", "verdict", "outcome", "attempts", "reply")
_FAILED = "failed: "  # details that quote why games failed, see `harness.suites.scoring.failures`


def without_texts(data: dict[str, Any]) -> dict[str, Any]:
    """The data of a page of samples without prompts, answers, replies and fields of rows.

    Ids, verdicts, values, lengths, and labels by which suites group prompts remain.
    """
    return {
        **data,
        "withheld": [len(text) for text in data["texts"]],
        "texts": [""] * len(data["texts"]),
        "prompt_reason": WITHHELD,
        "samples": [_sample(view) for view in data["samples"]],
    }


def _sample(view: dict[str, Any]) -> dict[str, Any]:
    found = {name: view[name] for name in _KEPT if name in view}
    labels = {n: text for n, text in view.get("labels", {}).items() if n in KNOWN_LABELS}
    if labels:
        found["labels"] = labels
    found["turns"] = [
        {name: turn[name] for name in _KEPT_OF_TURNS}
        | {"games": [_game(game) for game in turn["games"]]}
        for turn in view.get("turns", ())
    ]
    return found


def _game(game: dict[str, Any]) -> dict[str, Any]:
    kept = {name: game[name] for name in _KEPT_OF_GAMES}
    failure = "failed" if game["failure"] else ""
    return {**kept, "failure": failure, "logprobs": [], "prompt": []}


def cells_without_texts(cells: Iterable[Cell]) -> list[Cell]:
    """Cells whose details count failed games without the reasons, which may quote replies."""
    return [_cell(cell) for cell in cells]


def _cell(cell: Cell) -> Cell:
    counts = [
        count
        for name, count in cell.details.items()
        if name.startswith(_FAILED) and isinstance(count, int)
    ]
    if not counts:
        return cell
    kept = {name: value for name, value in cell.details.items() if not name.startswith(_FAILED)}
    return cell.model_copy(update={"details": {**kept, "failed games": sum(counts)}})
