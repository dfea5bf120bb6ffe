"""The paper's figure: what base models do not know, against what their standard tuning invents.

    crucible reproduce kca --out board
    python -m methods.kca.figure board base=standard quarter_base=quarter_standard

prints, for each pair of a base model and the model tuned from it, the share of inconsistent
questions (suite `knowledge_exam`) and the hallucination rate, and Pearson's correlation over the
base models with an interval over prompts. With few base models the correlation says little.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import UserError
from harness.core.records import Cell
from harness.engine.io import iterate_objects

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Point:
    """One base model: its name, both shares in %, and their replicates over prompts."""

    base: str
    inconsistent: float
    hallucinated: float
    replicates: tuple[Floats, Floats]


@dataclass(frozen=True)
class Gap:
    """All points, and the correlation; None where a share does not vary."""

    points: tuple[Point, ...]
    correlation: float | None
    interval: tuple[float, float] | None


def knowledge_gap(
    cells: Sequence[Cell], pairs: Sequence[tuple[str, str]], suite: str = "hallucination"
) -> Gap:
    """The points and the correlation of pairs (base system, tuned system).

    Several seeds are averaged. Replicates of one prompt set are paired.

    Raises:
        UserError: a system has no such cell.
    """
    points = []
    for base, tuned in pairs:
        x = _mean(cells, base, "knowledge_exam", "inconsistent")
        y = _mean(cells, tuned, suite, "hallucination_rate")
        points.append(Point(base, x[0], y[0], (x[1], y[1])))
    found = pearson([p.inconsistent for p in points], [p.hallucinated for p in points])
    width = min((len(draws) for p in points for draws in p.replicates), default=0)
    drawn = [
        r
        for n in range(width)
        if (
            r := pearson([p.replicates[0][n] for p in points], [p.replicates[1][n] for p in points])
        )
        is not None
    ]
    interval = None
    if drawn:
        low, high = np.quantile(drawn, [0.025, 0.975])
        interval = (float(low), float(high))
    return Gap(tuple(points), found, interval)


def pearson(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Pearson's correlation; None for fewer than two points or a constant side.

    >>> pearson([1, 2, 3], [2, 4, 6])
    1.0
    """
    a, b = np.asarray(x, float), np.asarray(y, float)
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return round(float(np.corrcoef(a, b)[0, 1]), 12)


def _mean(cells: Sequence[Cell], system: str, suite: str, metric: str) -> tuple[float, Floats]:
    wanted = (system, suite, metric)
    found = [c for c in cells if (c.system, c.suite, c.metric) == wanted and c.value is not None]
    if not found:
        raise UserError(f"the board has no {suite} {metric} of {system}")
    width = min(len(cell.replicates) for cell in found)
    draws = np.array([cell.replicates[:width] for cell in found], float).mean(axis=0)
    return float(np.mean([cell.value for cell in found if cell.value is not None])), draws


def render(gap: Gap) -> str:
    """The figure as text."""
    lines = [f"{'base model':<20}{'inconsistent %':>16}{'hallucinated %':>16}"]
    lines += [f"{p.base:<20}{p.inconsistent:16.1f}{p.hallucinated:16.1f}" for p in gap.points]
    said = "not defined" if gap.correlation is None else f"{gap.correlation:.3f}"
    if gap.interval is not None:
        said += f" [{gap.interval[0]:.3f}, {gap.interval[1]:.3f}] over prompts"
    return "\n".join([*lines, f"correlation over {len(gap.points)} base models: {said}"])


def main(arguments: Sequence[str]) -> None:
    """Print the figure of a board's folder for pairs "base=tuned"."""
    if len(arguments) < 2 or not all("=" in pair for pair in arguments[1:]):
        raise SystemExit(f"usage: python -m methods.kca.figure BOARD BASE=TUNED ...\n{__doc__}")
    file = Path(arguments[0]) / "cells.jsonl"
    cells = [Cell.model_validate(item) for item in iterate_objects(file)]
    pairs = [(base, tuned) for base, _, tuned in (pair.partition("=") for pair in arguments[1:])]
    sys.stdout.write(render(knowledge_gap(cells, pairs)) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
