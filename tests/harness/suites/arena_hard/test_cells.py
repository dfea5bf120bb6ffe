"""Cells of Arena-Hard: style control that its data cannot carry, rows of the score, one prompt."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from harness.core.records import Cell
from harness.engine.operations import Artifact, Row

Run = Callable[..., Artifact]
Make = Callable[[list[Row]], Artifact]
CELL = {
    "suite": "s",
    "system": "m",
    "scale": "nano",
    "judge": "j",
    "judge_fingerprint": "f",
    "rounds": 50,
}


def rows(
    n: int, factor: float, failed: int = 0, clusters: int = 0, chance: float = 0.8
) -> list[Row]:
    """Judged rows of a system whose answers are `factor` times as long as the baseline's."""
    generator = random.Random(0)
    made = []
    for number in range(n):
        words = 2 * generator.randint(10, 100)
        labels = [
            "B>A" if generator.random() < chance else "A>>B",
            "A>B" if generator.random() < chance else "B>>A",
        ]
        if number < failed:
            labels[0] = ""
        fields: dict[str, Any] = {"cluster": f"topic {number % clusters}"} if clusters else {}
        made.append(
            {
                "id": f"p{number:03}",
                "prompt": f"prompt {number}",
                "answers": {
                    "model": "word " * int(factor * words),
                    "baseline": "word " * words,
                },
                "games": [
                    {"first": first, "verdict": label or None, "reply": "", "attempts": 1}
                    for first, label in zip(("baseline", "model"), labels, strict=True)
                ],
                **fields,
            }
        )
    return made


def cells_of(run_operation: Run, judged: Artifact, **more: object) -> dict[str, Cell]:
    made = run_operation("score_arena", CELL | more, judgments=judged).read_json("cells.json")
    return {cell["metric"]: Cell.model_validate(cell) for cell in made}


@pytest.mark.parametrize("factor", [2.0, 3.0, 0.5, 0.0])
def test_a_constant_gap_gives_the_plain_score_and_says_so(
    run_operation: Run, rows_artifact: Make, factor: float
) -> None:
    found = cells_of(run_operation, rows_artifact(rows(40, factor)))
    style = found["style_controlled"]
    assert style.value == found["score"].value
    assert style.details["style:not_identified"] == "length"
    assert (style.interval.low, style.interval.high) == (0, 100)
    assert (style.interval.kind, style.replicates) == ("not identified", ())


def test_equal_styles_are_identified(run_operation: Run, rows_artifact: Make) -> None:
    found = cells_of(run_operation, rows_artifact(rows(40, 1.0, failed=3)))
    style, score = found["style_controlled"], found["score"]
    assert "style:not_identified" not in style.details
    assert (style.value, style.bounds) == (score.value, score.bounds)
    assert style.interval.high == pytest.approx(score.interval.high)
    assert style.interval.low == pytest.approx(score.interval.low)


def test_the_score_holds_rows_weights_and_topics(run_operation: Run, rows_artifact: Make) -> None:
    found = cells_of(run_operation, rows_artifact(rows(40, 2.0, failed=2, clusters=10)))["score"]
    sample = found.resampled
    assert (sample.units, len(sample.clusters), max(sample.clusters)) == (10, 40, 9)
    pairs = [(v, w) for v, w in zip(sample.values, sample.weights) if v is not None]
    assert len(pairs) == 38
    assert found.value == pytest.approx(sum(v for v, _ in pairs) / sum(w for _, w in pairs))
    by_rows = cells_of(run_operation, rows_artifact(rows(40, 2.0)), bootstrap="rows")
    assert by_rows["score"].resampled is None


def test_one_prompt_has_no_interval(run_operation: Run, rows_artifact: Make) -> None:
    found = cells_of(run_operation, rows_artifact(rows(1, 1.0)))
    assert found["score"].value is not None
    assert {cell.interval for cell in found.values()} == {None}


def test_a_system_that_won_everything_has_room_below(
    run_operation: Run, rows_artifact: Make
) -> None:
    found = cells_of(run_operation, rows_artifact(rows(20, 1.0, chance=2.0)))
    for metric in ("score", "bt_win_rate", "style_controlled"):
        assert found[metric].value == pytest.approx(100)
        assert found[metric].interval.low == pytest.approx(86.09, abs=0.01)
