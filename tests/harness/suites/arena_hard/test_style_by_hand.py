"""Style control by hand: differences, moments, reach, the prior, and its cell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from harness.core.errors import BadData, UnknownName
from harness.core.records import Cell
from harness.engine.operations import Artifact
from harness.stats.bootstrap import percentile_interval
from harness.stats.bradley_terry import fit_style
from harness.suites.arena_hard.cells import ScoreArenaParams
from harness.suites.arena_hard.equal_style import PRIOR, REACH, equal_style
from harness.suites.arena_hard.metrics import GamePair, GameTable, scored_units, tabulate
from harness.suites.arena_hard.style import (
    FEATURES,
    StyleCounts,
    row_moments,
    style_board,
    style_differences,
    style_vector,
    word_count,
)

WON, LOST, EVEN = ("B>A", "A>B"), ("A>B", "B>A"), ("A>B", "A>B")


def table(*games: tuple[str | None, str | None]) -> GameTable:
    return tabulate([GamePair(f"q{n}", "m", pair) for n, pair in enumerate(games)])


def lengths(gaps: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """Style counts of both sides whose lengths have these relative gaps."""
    ours = np.array([[(1 + gap) / (1 - gap), 0, 0, 0] for gap in gaps])
    return ours, np.tile([1.0, 0, 0, 0], (len(gaps), 1))


def drawn(rows: int) -> np.ndarray:
    return np.ones((1, rows), np.int32)


def test_differences_are_relative_to_length_and_density() -> None:
    found = style_differences(np.array([[[3.0, 4, 2, 0]]]), np.array([[1.0, 1, 2, 3]]))
    # Densities 4/4, 2/4, 0 and 1/2, 2/2, 3/2.
    assert found[0, 0] == pytest.approx([0.5, 0.5 / 2.5, -0.5 / 2.5, -1.5 / 2.5])
    with pytest.raises(BadData, match="negative style counts"):
        style_differences(np.array([[[-1.0, 0, 0, 0]]]), np.zeros((1, 4)))
    assert style_vector("# a\n- b **c**\n") == (5, 1, 1, 1)


def test_moments_weigh_prompts_by_their_rows() -> None:
    gaps = np.array([[[1.0, 2, 0, 1e-12], [4.0, 2, 0, 1], [9.0, 9, 9, 9]]])
    mean, spread = row_moments(gaps, np.array([[1, 2, 0]]))
    assert mean[:3] == pytest.approx([3, 2, 0])
    assert spread[:3] == pytest.approx([np.sqrt((4 + 1 + 1) / 2), 0, 0])
    with pytest.raises(BadData, match="1 scored rows; style control needs at least two"):
        row_moments(gaps[:, :1], np.array([[1]]))
    assert row_moments(gaps[:, :2], np.array([[1, 1]]))[0][0] == 2.5
    constant = np.full((1, 3, 4), -0.1)
    assert np.std(constant, axis=1, ddof=1).max() > 0  # by rounding
    assert row_moments(constant, np.ones((1, 3), int))[1].tolist() == [0] * 4


@pytest.mark.parametrize(
    ("middle", "lost"), [(0.46, ()), (0.47, ("length",)), (-0.47, ("length",))]
)
def test_equal_style_must_lie_within_four_deviations(middle: float, lost: tuple[str, ...]) -> None:
    """Two rows each of gaps 0.1 around the middle have a deviation of 0.1 sqrt(4 / 3)."""
    ours, theirs = lengths([middle - 0.1, middle + 0.1])
    found = equal_style(table(EVEN, WON), ours, theirs, FEATURES, drawn(2))
    assert found.not_identified == lost
    assert (REACH, PRIOR) == (4.0, 0.1)
    assert found.slopes["header"] == 0
    assert (found.slopes["length"] == 0) == bool(lost)


def test_the_fit_has_a_tenth_of_a_game_on_either_side_and_is_read_at_equal_style() -> None:
    gaps = np.array([-0.2, 0.0, 0.3, 0.5])
    games = table(LOST, EVEN, WON, EVEN)
    found = equal_style(games, *lengths(gaps.tolist()), ("length",), drawn(4))
    weights = np.full(4, 2.0)
    mean = gaps.mean()
    spread = np.sqrt((weights * (gaps - mean) ** 2).sum() / 7)
    features = np.array([*((gaps - mean) / spread), 1.0, -1.0])[None, :, None]
    wins = np.array([[0, 1, 2, 1, 0.05, 0.05]])
    fitted = fit_style(features, wins, np.array([[2, 2, 2, 2, 0.1, 0.1]]))
    slope, strength = float(fitted.coefficients[0]), float(fitted.strengths[0])
    assert found.slopes == {"length": pytest.approx(slope)}
    rate = 1 / (1 + np.exp(-(strength - slope * mean / spread)))
    assert found.win_rate == pytest.approx(rate)
    assert found.replicates == pytest.approx([rate], abs=1e-6)
    assert found.bounds is None


def test_failed_prompts_are_six_rows_lost_or_won() -> None:
    games = table(WON, EVEN, (None, "A>B"))
    found = equal_style(games, *lengths([0.0, 0.0, 0.0]), FEATURES, drawn(3))
    assert found.win_rate == 0.75
    assert found.bounds == pytest.approx((3 / 10, 9 / 10))
    light = tabulate([GamePair("a", "m", WON), GamePair("b", "m", (None, None))], weight=1)
    other = equal_style(light, *lengths([0.0, 0.0]), (), np.array([[1, 1], [0, 2]], np.int32))
    assert other.bounds == pytest.approx((2 / 4, 1))
    assert other.replicates.tolist() == [1, 1]  # without a verdict that of the sample


def test_units_are_scored_prompts_or_their_topics() -> None:
    games = table(WON, (None, None), LOST, EVEN)
    assert scored_units(games, 0, None) == 3
    assert scored_units(games, 0, {"q0": "x", "q1": "y", "q2": "x", "q3": "z"}) == 2


def board(rounds: int = 40, **more: Any) -> Any:
    pairs = [
        GamePair(f"q{n}", model, pair)
        for model, games in (("won", [WON] * 6), ("mixed", [WON, LOST, EVEN, WON, LOST, EVEN]))
        for n, pair in enumerate(games)
    ]
    styles = {
        name: {f"q{n}": StyleCounts(size * (n + 1), n % 2, 0, 0) for n in range(6)}
        for name, size in (("won", 3), ("mixed", 2), ("base", 4))
    }
    return style_board(tabulate(pairs), styles, "base", "set", rounds=rounds, **more)


def test_a_board_has_an_interval_for_each_model() -> None:
    made = board(level=0.8, features=("header",))
    assert set(made.intervals) == {"won", "mixed"}
    assert {interval.level for interval in made.intervals.values()} == {0.8}
    assert {interval.kind for interval in made.intervals.values()} == {"bootstrap over prompts"}
    assert made.replicates.shape == (40, 2)
    # A model that won everything has no finite strength: its interval is that of six prompts.
    assert made.intervals["won"] == percentile_interval(
        np.ones(40), 0.8, point=made.win_rates["won"], kind="bootstrap over prompts", units=6,
        span=(0.0, 1.0),
    )  # fmt: skip
    assert (made.features, len(made.feature_mean)) == (("header",), 1)
    rows = board(resample="rows", seed=1, features=())
    assert rows.intervals["mixed"].kind == "bootstrap over rows"
    assert not np.array_equal(
        rows.replicates, board(resample="rows", seed=2, features=()).replicates
    )
    assert np.array_equal(rows.replicates, board(resample="rows", seed=1, features=()).replicates)
    none = board(rounds=0)
    assert (none.intervals, none.replicates.shape) == ({}, (0, 2))
    with pytest.raises(UnknownName, match="resampling unit"):
        board(resample="prompt")


@pytest.mark.parametrize(
    ("text", "words"),
    [("ก" * 4, 1), ("ก" * 5, 2), ("ก" * 8, 2), ("ก" * 9, 3), ("我a我", 3), ("我!我", 2), ("กa", 2)],
)
def test_four_letters_of_thai_are_a_word(text: str, words: int) -> None:
    assert word_count(text) == words


def test_the_cell_of_style_names_slopes_and_topics(
    run_operation: Callable[..., Artifact], rows_artifact: Callable[..., Artifact]
) -> None:
    rows = [
        {
            "id": f"p{n}", "prompt": f"{n}", "cluster": f"c{n // 2}",
            "answers": {"model": "a " * (n + 1), "baseline": "a " * (9 - n)},
            "games": [
                {"first": first, "verdict": label, "reply": "", "attempts": 1}
                for first, label in zip(("baseline", "model"), (WON, EVEN)[n % 2], strict=True)
            ],
        }
        for n in range(8)
    ]  # fmt: skip
    params = {"suite": "s", "system": "m", "scale": "nano", "rounds": 40, "level": 0.9}
    made = run_operation("score_arena", params, judgments=rows_artifact(rows))
    cells = {c["metric"]: Cell.model_validate(c) for c in made.read_json("cells.json")}
    style = cells["style_controlled"]
    ours = np.array([style_vector("a " * (n + 1)) for n in range(8)])
    theirs = np.array([style_vector("a " * (9 - n)) for n in range(8)])
    games = tabulate([GamePair(f"p{n}", "m", (WON, EVEN)[n % 2]) for n in range(8)])
    found = equal_style(games, ours, theirs, FEATURES, drawn(8))
    assert style.value == pytest.approx(100 * found.win_rate)
    assert style.details == {f"slope:{name}": pytest.approx(b) for name, b in found.slopes.items()}
    assert (style.resampled.units, style.resampled.span, style.primary) == (4, (0, 100), False)
    assert (style.interval.kind, style.interval.level) == ("bootstrap over prompt clusters", 0.9)
    assert (style.n_expected, style.n_scored, style.bounds) == (8, 8, None)
    assert "style_controlled" not in {
        c["metric"]
        for c in run_operation(
            "score_arena", {**params, "style_features": ()}, judgments=rows_artifact(rows)
        ).read_json("cells.json")
    }
    some = [{key: value for key, value in row.items() if key != "cluster"} for row in rows[:1]]
    mixed = run_operation("score_arena", params, judgments=rows_artifact(some + rows[1:]))
    kinds = {c["metric"]: c["interval"]["kind"] for c in mixed.read_json("cells.json")}
    assert kinds["score"] == kinds["style_controlled"] == "bootstrap over prompts"


def test_parameters_of_scoring() -> None:
    params = ScoreArenaParams(suite="s", system="m", scale="x")
    assert (params.weight, params.style_features, params.bootstrap, params.by_category) == (
        3, FEATURES, "clusters", False
    )  # fmt: skip
    with pytest.raises(ValueError, match="weight"):
        ScoreArenaParams(suite="s", system="m", scale="x", weight=0)
