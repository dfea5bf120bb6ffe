"""Held-out rows of a training: which ones, and what their learning curve says.

    rows ──split──> trained rows ──> training
                └─> held-out rows ──> their loss at `points` updates ──> training_log.json

Rows with one prompt are held out together, chosen by the seed of the run. They are never trained
on: the training is that of the other rows alone. training_log.json gets

    {"validation": {"rows": 12, "points": [{"step": 0, "loss": 2.1, ...}, ...]}, ...}

This module loads without torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from harness.core.errors import BadData
from harness.core.hashing import digest, finite, seed_from
from harness.training.settings import RunSettings

CLEARLY = 0.02  # share of its lowest value by which a held-out loss has clearly risen
LOG = "training_log.json"
POINT = "validation"  # name of a point in the trainer's history
T = TypeVar("T")


class Split(NamedTuple):
    """Places of rows that are trained, and of those held out, both in the order of the rows."""

    trained: list[int]
    held_out: list[int]

    def of(self, items: Sequence[T]) -> tuple[list[T], list[T]]:
        """The items of both parts."""
        return [items[n] for n in self.trained], [items[n] for n in self.held_out]


def split(keys: Sequence[str], params: RunSettings) -> Split:
    """Hold out a share of the groups of rows that have one key.

    Args:
        keys: of each row, see `prompt_key`.

    Raises:
        BadData: fewer than two groups, or a share that leaves none to train on.
    """
    validation = params.validation
    if validation is None:
        return Split(list(range(len(keys))), [])
    groups = sorted(set(keys), key=lambda key: seed_from(params.seed, "validation", key))
    count = max(1, round(validation.share * len(groups)))
    if count >= len(groups):
        raise BadData(
            f"validation.share = {validation.share:g} holds out {count} of {len(groups)} prompts; "
            "expected at least one to train on: give more rows, or leave validation out"
        )
    out = set(groups[:count])
    places = range(len(keys))
    return Split([n for n in places if keys[n] not in out], [n for n in places if keys[n] in out])


def prompt_key(row: Mapping[str, Any]) -> str:
    """What rows with one prompt share: messages without a last answer, else dialogue or id."""
    messages = row.get("messages")
    if not messages:
        return str(row.get("dialogue", row.get("id")))
    answered = messages[-1].get("role") == "assistant"
    return digest(messages[:-1] if answered and len(messages) > 1 else messages)


def due(total: int, points: int) -> set[int]:
    """Numbers of finished updates after which the held-out loss is measured.

    >>> sorted(due(10, 4))
    [0, 2, 5, 8, 10]
    """
    return {0, *(round(total * number / points) for number in range(1, points + 1))}


def curve_of(history: Sequence[Mapping[str, Any]], rows: int) -> dict[str, Any]:
    """The part of training_log.json on held-out rows, from the trainer's history; {} without."""
    points = [
        {"step": entry["step"], **{name: finite(value) for name, value in entry[POINT].items()}}
        for entry in history
        if POINT in entry
    ]
    return {"validation": {"rows": rows, "points": points}} if points else {}


def passed_best(log: Mapping[str, Any]) -> str:
    """A sentence on a held-out loss that has clearly risen since its lowest point, else "".

    Clearly is by `CLEARLY` of the lowest value; of losses that are not positive, by any amount.
    """
    found = log.get("validation") or {"points": []}
    points = [point for point in found["points"] if point.get("loss") is not None]
    if not points:
        return ""
    best, last = min(points, key=lambda point: point["loss"]), points[-1]
    rise = last["loss"] - best["loss"]
    if rise <= CLEARLY * max(best["loss"], 0.0):
        return ""
    relative = f"{100 * rise / best['loss']:.0f} %" if best["loss"] > 0 else f"{rise:.3g}"
    where = f"at update {best['step']} of {last['step']}" if best["step"] else "before training"
    rows = f"{found['rows']} {'row' if found['rows'] == 1 else 'rows'}"
    return (
        f"held-out loss ({rows}) was lowest {where} and is {relative} higher at the end; train for "
        "fewer updates, or with a lower learning rate"
    )


def chart(log: Mapping[str, Any], width: int = 40) -> list[str]:
    """Lines of a small text chart of the held-out loss; [] without one."""
    found = log.get("validation") or {"points": []}
    points = [point for point in found["points"] if point.get("loss") is not None]
    if not points:
        return []
    losses = [point["loss"] for point in points]
    low, span = min(losses), (max(losses) - min(losses)) or 1.0
    others = [name for name in ("accuracy", "margins", "mean_token_accuracy") if name in points[0]]
    lines = [f"held-out loss ({found['rows']} rows){''.join(f', {n}' for n in others)} by update"]
    for point in points:
        bar = "#" * (1 + round((width - 1) * (point["loss"] - low) / span))
        mark = " lowest" if point["loss"] == low else ""
        more = "".join(f"  {_number(point[name])}" for name in others)
        lines.append(f"{point['step']:>7}  {_number(point['loss'])}{more}  {bar}{mark}")
    return lines


def _number(value: float | None) -> str:
    return "      -" if value is None else f"{value:7.4f}"
