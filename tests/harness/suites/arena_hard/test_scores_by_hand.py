"""Arena-Hard's cells on five prompts of three topics, computed by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from harness.core.records import Cell
from harness.engine.operations import Artifact
from harness.stats.bootstrap import percentile_interval, resample_counts
from harness.suites.arena_hard.metrics import GamePair, leaderboard, tabulate

# Prompt, topic, category, label of the game with the baseline as A and of that with the model as A;
# then the rows and wins of the model.
GAMES = [
    ("p0", "x", "math", "B>A", "A>>B"),  # 1 row won, 3 rows won
    ("p1", "x", "code", "B>A", "A=B"),  # 1 row won, 1 row half won
    ("p2", "y", "math", "A>>B", "B>A"),  # 3 rows lost, 1 row lost
    ("p3", "y", "code", "A>B", "A>B"),  # 1 row lost, 1 row won: the first shown wins both
    ("p4", "z", "code", None, "A>B"),  # left out
]
ROWS, WINS = np.array([4, 2, 4, 2]), np.array([4, 1.5, 0, 1])
PARAMS = {
    "suite": "arena_hard", "system": "m", "scale": "nano", "judge": "j", "judge_fingerprint": "f",
    "rounds": 60, "level": 0.9, "style_features": (),
}  # fmt: skip


@pytest.fixture
def cells(run_operation: Callable[..., Artifact], rows_artifact: Callable[..., Artifact]) -> Any:
    """`cells(**params)`: the cells of `GAMES` by metric."""
    rows = [
        {
            "id": id,
            "prompt": f"prompt {id}",
            "cluster": topic,
            "category": category,
            "answers": {"model": "yes", "baseline": "no"},
            "games": [
                {"first": first, "verdict": label, "reply": "", "attempts": 1}
                for first, label in (("baseline", one), ("model", two))
            ],
        }
        for id, topic, category, one, two in reversed(GAMES)
    ]
    judged = rows_artifact(rows)

    def run(**more: Any) -> dict[str, Cell]:
        made = run_operation("score_arena", PARAMS | more, judgments=judged)
        found = [Cell.model_validate(cell) for cell in made.read_json("cells.json")]
        return {cell.metric: cell for cell in found}

    return run


@pytest.mark.parametrize(
    ("weight", "rows", "wins", "lost"), [(3, 12, 6.5, 6), (1, 8, 4.5, 2), (2, 10, 5.5, 4)]
)
def test_score_counts_and_bounds_of_the_rows(
    weight: int, rows: int, wins: float, lost: int, cells: Any
) -> None:
    """An emphatic label is `weight` rows; the prompt left out may be 2 * weight rows, all lost or
    all won."""
    score = cells(weight=weight)["score"]
    assert score.value == pytest.approx(100 * wins / rows)
    assert (score.n_expected, score.n_scored, score.n_failed) == (5, 4, 1)
    assert score.bounds == pytest.approx(
        (100 * wins / (rows + lost), 100 * (wins + lost) / (rows + lost))
    )
    assert (score.details["n_rows"], score.details["weight"]) == (rows, weight)


def test_an_emphatic_label_counts_three_rows_unless_said_otherwise(cells: Any) -> None:
    found = cells()
    assert found["score"].details["weight"] == 3
    assert found["score"].value == pytest.approx(100 * 6.5 / 12)
    assert found["bt_win_rate"].value == pytest.approx(found["score"].value)
    assert (found["score"].primary, found["bt_win_rate"].primary) == (True, False)


def test_position_bias_is_read_from_decided_games_of_complete_prompts(cells: Any) -> None:
    found = cells()
    # p0: second, first; p1: second, tie; p2: first, second; p3: first, first.
    assert found["score"].details["first_shown_share"] == pytest.approx(4 / 7)
    assert found["score"].details["missing_game_1"] == 1
    assert found["score"].details["missing_game_2"] == 0
    contradiction = found["contradiction_rate"]
    assert contradiction.value == pytest.approx(25)  # p3 of four
    assert contradiction.bounds == pytest.approx((20, 40))  # p4 is of five
    assert contradiction.higher_is_better is False


def test_topics_are_drawn_whole_with_their_rows(cells: Any) -> None:
    score = cells()["score"]
    drawn = resample_counts(score.prompt_set, 3, 60)  # x, y, z in the order of the prompts
    wins, rows = drawn @ [5.5, 1, 0], drawn @ [6, 6, 0]
    expected = np.where(rows > 0, wins / np.maximum(rows, 1), 6.5 / 12)
    assert score.replicates == pytest.approx(100 * expected)
    sample = score.resampled
    assert sample.clusters == (0, 0, 1, 1, 2)
    assert sample.units == 2  # no prompt of z has a score
    assert sample.values == (*(100 * WINS), None)
    assert sample.weights == (*ROWS, 0)
    assert sample.span == (0, 100)
    interval = percentile_interval(
        100 * expected, 0.9, point=100 * 6.5 / 12, units=2, span=(0.0, 100.0)
    )
    assert (score.interval.low, score.interval.high) == pytest.approx((interval.low, interval.high))
    assert (score.interval.level, score.interval.kind) == (0.9, "bootstrap over prompt clusters")


def test_the_released_bootstrap_draws_rows_and_takes_plain_quantiles(cells: Any) -> None:
    score = cells(bootstrap="rows", rounds=4000, seed=3)["score"]
    draws = np.array(score.replicates)
    # Twelve rows, and the standard deviation of their mean.
    values = np.repeat([0, 0.5, 1], [5, 1, 6])
    assert draws.std() == pytest.approx(100 * values.std() / np.sqrt(12), rel=0.05)
    assert draws.mean() == pytest.approx(100 * 6.5 / 12, abs=1)
    low, high = np.quantile(draws, [0.05, 0.95])
    assert (score.interval.low, score.interval.high) == pytest.approx((low, high))
    assert (score.interval.level, score.interval.kind) == (0.9, "bootstrap over rows")
    assert score.resampled is None
    other = cells(bootstrap="rows", rounds=4000, seed=4)["score"]
    assert other.replicates != score.replicates


def test_categories_are_scored_on_their_own_prompts(cells: Any) -> None:
    found = cells(by_category=True)
    assert found["score"].details["category:math"] == pytest.approx(100 * 4 / 8)
    assert found["score"].details["category:code"] == pytest.approx(100 * 2.5 / 4)
    mathematics, code = found["score:math"], found["score:code"]
    assert (mathematics.value, code.value) == pytest.approx((50, 62.5))
    assert (mathematics.n_expected, mathematics.n_failed, mathematics.bounds) == (2, 0, None)
    assert (code.n_expected, code.n_scored, code.n_failed) == (3, 2, 1)
    assert code.bounds == pytest.approx((100 * 2.5 / 10, 100 * 8.5 / 10))
    assert not mathematics.primary
    assert "score:math" not in cells()


def test_the_board_is_sorted_by_score_then_name_with_empty_lines_last() -> None:
    won, lost, none = ("B>A", "A>B"), ("A>B", "B>A"), (None, None)
    games = {"b": won, "d": lost, "a": none, "c": won}
    table = tabulate([GamePair("q", model, pair) for model, pair in games.items()])
    lines = leaderboard(table, "set", rounds=5)
    assert [(line.model, line.score) for line in lines] == [
        ("b", 1.0), ("c", 1.0), ("d", 0.0), ("a", None)
    ]  # fmt: skip
    empty = lines[-1]
    assert (empty.interval, empty.first_share, empty.contradiction_rate) == (None, None, None)
    assert (empty.n_expected, empty.n_scored, empty.n_failed) == (1, 0, 1)
