"""MT-Bench's cells on three dialogues, computed by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from harness.core.records import Cell
from harness.engine.operations import Artifact, Row
from harness.stats.bootstrap import percentile_interval, resample_counts

# Question, category, ratings of both turns.
RATED = [("q1", "math", 2.0, 4.0), ("q2", "stem", 6.0, None), ("q3", "math", 9.0, 9.0)]
# Question, then the choices of each turn's two games, the model first and the baseline first.
PLAYED = [
    ("q1", ("A", "B"), ("A", "A")),  # won, and torn
    ("q2", ("B", "A"), ("tie", "B")),  # lost, and a tie
    ("q3", ("A", None), ("A", "B")),  # a failed game, and won
]
PARAMS = {
    "suite": "mt_bench", "system": "m", "scale": "nano", "judge": "j", "judge_fingerprint": "f",
    "pairwise_fingerprint": "p", "rounds": 60, "level": 0.9,
}  # fmt: skip


def game(verdict: Any, **more: Any) -> Row:
    failure = None if verdict is not None else "no verdict"
    return {"verdict": verdict, "reply": "", "attempts": 1, "failure": failure, **more}


def rated() -> list[Row]:
    return [
        {
            "id": id,
            "category": category,
            "turns": [
                {"question": f"{id}?", "answer": "a", **game(rating)} for rating in (one, two)
            ],
        }
        for id, category, one, two in reversed(RATED)
    ]


def played() -> list[Row]:
    return [
        {
            "id": id,
            "turns": [
                {
                    "question": f"{id}?",
                    "answers": {"model": "a", "baseline": "b"},
                    "games": [
                        game(verdict, first=first)
                        for verdict, first in zip(turn, ("model", "baseline"), strict=True)
                    ],
                }
                for turn in turns
            ],
        }
        for id, *turns in reversed(PLAYED)
    ]


@pytest.fixture
def cells(run_operation: Callable[..., Artifact], rows_artifact: Callable[..., Artifact]) -> Any:
    inputs = {"judgments": rows_artifact(rated()), "pairwise": rows_artifact(played())}
    made = run_operation("score_mt_bench", PARAMS, **inputs)
    found = [Cell.model_validate(cell) for cell in made.read_json("cells.json")]
    return {cell.metric: cell for cell in found}


def test_the_score_is_the_mean_of_all_rated_turns(cells: Any) -> None:
    score = cells["score"]
    assert (score.value, score.unit, score.primary) == (6, "points", True)
    assert (score.n_expected, score.n_scored, score.n_failed) == (6, 5, 1)
    assert score.bounds == pytest.approx((31 / 6, 40 / 6))
    drawn = resample_counts(score.prompt_set, 3, 60)
    draws = drawn @ [6, 6, 18] / np.maximum(drawn @ [2, 1, 2], 1)
    assert score.replicates == pytest.approx(draws)
    ends = percentile_interval(score.replicates, 0.9, point=6.0, units=3, span=(1.0, 10.0))
    assert (score.interval.low, score.interval.high) == (ends.low, ends.high)
    assert score.interval.kind == "bootstrap over questions"
    sample = score.resampled
    assert sample.values == (2, 4, 6, None, 9, 9)
    assert (sample.clusters, sample.units, sample.span) == ((0, 0, 1, 1, 2, 2), 3, (1, 10))
    assert score.details == {
        "standard_error": pytest.approx(math.sqrt(3 / 2 * (36 + 0 + 36)) / 5),
        "mean_of_turns": pytest.approx((17 / 3 + 13 / 2) / 2),
        "failed: no verdict": 1,
    }


def test_turns_and_categories_have_their_own_means(cells: Any) -> None:
    first, second = cells["turn_1"], cells["turn_2"]
    assert (first.value, second.value) == pytest.approx((17 / 3, 6.5))
    assert (second.n_expected, second.n_scored) == (3, 2)
    assert second.bounds == pytest.approx((14 / 3, 23 / 3))
    assert (first.bounds, first.primary, first.unit) == (None, False, "points")
    assert first.interval.kind == "bootstrap over questions"
    assert first.resampled.values == (2, None, 6, None, 9, None)
    mathematics, stem = cells["category:math"], cells["category:stem"]
    assert (mathematics.value, mathematics.n_expected) == (6, 4)
    assert (stem.value, stem.n_expected, stem.n_failed) == (6, 2, 1)
    assert stem.bounds == pytest.approx((3.5, 8))


def test_both_games_decide_a_comparison(cells: Any) -> None:
    plain, adjusted = cells["win_rate"], cells["win_rate_adjusted"]
    assert (plain.value, adjusted.value) == pytest.approx((100 * 2 / 5, 100 * 3 / 5))
    assert (plain.n_expected, plain.n_scored, plain.n_failed) == (6, 5, 1)
    assert plain.bounds == pytest.approx((100 * 2 / 6, 100 * 3 / 6))
    assert plain.details == {"win": 2, "loss": 1, "tie": 2, "failed: no verdict": 1}
    assert plain.resampled.values == (100, 0, 0, 0, None, 100)
    assert plain.resampled.clusters == (0, 0, 1, 1, 2, 2)
    assert (plain.primary, plain.interval.kind) == (False, "bootstrap over questions")
    assert {cell.judge_fingerprint for cell in (plain, adjusted)} == {"p"}
    assert cells["score"].judge_fingerprint == "f"
    assert list(plain.artifacts) == ["judgments"]
    assert plain.artifacts != cells["score"].artifacts


def test_questions_without_a_category_have_one_together(
    run_operation: Callable[..., Artifact], rows_artifact: Callable[..., Artifact]
) -> None:
    rows = [{**row, "category": None} for row in rated()]
    made = run_operation("score_mt_bench", PARAMS, judgments=rows_artifact(rows))
    names = [cell["metric"] for cell in made.read_json("cells.json")]
    assert names == ["score", "turn_1", "turn_2", "category:none"]
