"""What tests of judge operations share: a judge's parameters, and answers of two sides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from harness.engine.operations import Artifact, Row
from harness.judging.judge import open_judge, protocol
from harness.nano import world


def judging(kind: str, **more: Any) -> dict[str, Any]:
    judge = "nano:oracle"
    rules = protocol(kind)
    return {"judge": judge, "fingerprint": open_judge(judge, rules).fingerprint, **more}


def answered(item: world.Item, text: str | None) -> Row:
    return {
        "id": item.id,
        "messages": [{"role": "user", "content": item.turns[0]}],
        "responses": [] if text is None else [text],
        "difficulty": item.difficulty,
        "category": item.category,
    }


@pytest.fixture
def pair(rows_artifact: Callable[[list[Row]], Artifact]) -> tuple[Artifact, Artifact]:
    """Good answers and the baseline's, to six prompts."""
    items = world.items("alpaca_eval2", 6)
    good = rows_artifact([answered(i, world.reference_answer(i)) for i in items])
    return good, rows_artifact([answered(i, world.baseline_answer(i)) for i in items])
