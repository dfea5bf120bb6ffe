"""Intervals, differences and marks of hand-made cells: levels, seeds, mixed prompt sets, bounds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats as scipy_stats

from harness.core.records import Cell, Interval, Resampled
from harness.stats.bootstrap import NOT_IDENTIFIED, resample_counts
from leaderboards.board import build_board
from leaderboards.claims import Claim, judge_claim
from leaderboards.compare import compare_systems
from leaderboards.scores import combine, combine_all, difference
from leaderboards.spec import BoardSpec, SystemSpec

LINE = np.linspace(40, 60, 2001)  # quantile q is 40 + 20 q
LEVELS = [0.5, 0.8, 0.9, 0.95, 0.99]


def made(system: str = "a", value: float | None = 50.0, seed: int = 0, **changes: Any) -> Cell:
    """A cell of 300 prompts whose replicates are a line of width 20 around its value."""
    draws = () if value is None else tuple((LINE - 50 + value).tolist())
    fields: dict[str, Any] = {
        "system": system, "suite": "s", "metric": "m", "value": value, "seed": seed,
        "n_expected": 300, "n_scored": 300, "n_failed": 0, "scale": "nano", "judge": "j",
        "judge_fingerprint": "f", "decode_fingerprint": "d", "prompt_set": "p",
        "replicates": draws,
    }  # fmt: skip
    interval = None if value is None else Interval(low=1.0, high=99.0, kind="stored")
    return Cell.model_validate({**fields, "interval": interval, **changes})


def reach(level: float, units: int = 300) -> float:
    """Half the width of Hesterberg's interval of the line."""
    t = scipy_stats.t.ppf((1 + level) / 2, units - 1)
    return 10 - 20 * scipy_stats.norm.cdf(-np.sqrt(units / (units - 1)) * t)


def ends(interval: Interval | None) -> tuple[float, float]:
    assert interval is not None
    return interval.low, interval.high


@pytest.mark.parametrize("level", LEVELS)
def test_the_interval_of_one_seed_has_the_level_that_is_asked_for(level: float) -> None:
    interval = combine([made()], level).interval
    assert interval is not None
    assert interval.level == level
    stored = level == 0.95  # the cell's own
    half = reach(level)
    expected = (1, 99) if stored else (50 - half, 50 + half)
    assert ends(interval) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("level", LEVELS)
def test_seeds_widen_the_interval_of_their_mean_by_students_t(level: float) -> None:
    values = [49.0, 50.0, 54.0]
    seeds = [made(value=value, seed=seed) for seed, value in enumerate(values)]
    score = combine(seeds, level)
    error = np.std(values, ddof=1) / np.sqrt(3)
    half = np.hypot(reach(level), scipy_stats.t.ppf((1 + level) / 2, 2) * error)
    assert score.value == 51
    assert ends(score.interval) == pytest.approx((max(0, 51 - half), min(100, 51 + half)), abs=1e-6)
    assert score.interval.level == level
    points = combine([cell.model_copy(update={"unit": "points"}) for cell in seeds], level)
    assert ends(points.interval) == pytest.approx((51 - half, 51 + half), abs=1e-6)


@pytest.mark.parametrize(
    "changes", [{"prompt_set": "q"}, {"replicates": (50.0, 51.0)}, {"replicates": ()}]
)
def test_seeds_on_other_prompts_or_draws_have_a_mean_and_no_interval(
    changes: dict[str, Any],
) -> None:
    score = combine([made(seed=0), made(seed=1, value=52.0, **changes)])
    assert (score.value, score.interval) == (51, None)
    mixed = [made("b", seed=0), made("b", seed=1, **changes)]
    found = difference(score, combine(mixed))
    assert found.value == 1
    assert (found.interval, found.p_value) == (None, None)
    assert found.reason.startswith("no paired interval")


def test_what_is_not_identified_stays_so_over_seeds() -> None:
    unknown = Interval(low=0.0, high=100.0, kind=NOT_IDENTIFIED)
    seeds = [made(seed=0, interval=unknown, replicates=()), made(seed=1, value=60.0)]
    score = combine(seeds, 0.8)
    assert (score.value, ends(score.interval), score.interval.level) == (55, (0, 100), 0.8)
    assert "is not identified" in difference(score, combine([made("b")])).reason


def shifted(system: str, draws: np.ndarray, value: float, **changes: Any) -> Cell:
    return made(system, value, replicates=tuple(draws.tolist()), **changes)


@pytest.mark.parametrize("level", LEVELS)
def test_a_difference_is_over_the_differences_of_draws(level: float) -> None:
    """b has the draws of a and a line of width 2 on top: the common noise cancels."""
    noise = np.random.default_rng(1).normal(50, 7, 2001)
    a = shifted("a", noise + 2 + (LINE - 50) / 10, 52)
    b = shifted("b", noise, 50)
    found = difference(combine([a]), combine([b]), level)
    assert found.value == 2
    half = reach(level) / 10
    assert ends(found.interval) == pytest.approx((2 - half, 2 + half), abs=1e-6)
    assert found.interval.level == level


def test_equal_seeds_are_paired_and_others_add_both_spreads() -> None:
    flat = np.full(2001, 50.0)

    def seeds(system: str, values: list[float], first: int = 0) -> list[Cell]:
        return [shifted(system, flat, v, seed=first + n) for n, v in enumerate(values)]

    a, b = seeds("a", [48, 50, 52]), seeds("b", [47.9, 50.1, 52])
    t = scipy_stats.t.ppf(0.975, 2) / np.sqrt(3)
    paired = difference(combine(a), combine(b))
    assert ends(paired.interval)[1] == pytest.approx(t * 0.1, abs=1e-6)
    apart = difference(combine(a), combine(seeds("b", [47.9, 50.1, 52], first=7)))
    both = np.hypot(np.std([48, 50, 52], ddof=1), np.std([47.9, 50.1, 52], ddof=1))
    assert ends(apart.interval)[1] == pytest.approx(t * both, abs=1e-6)


def test_bounds_of_a_difference_take_the_worst_of_one_and_the_best_of_the_other() -> None:
    a = made("a", 60.0, n_scored=290, n_failed=10, bounds=(58.0, 61.0))
    b = made("b", 50.0, n_scored=280, n_failed=20, bounds=(47.0, 54.0))
    found = difference(combine([a]), combine([b]))
    assert found.bounds == (4, 14)
    assert difference(combine([a]), combine([made("b")])).bounds == (8, 11)
    assert difference(combine([made()]), combine([made("b")])).bounds is None
    unbounded = a.model_copy(update={"bounds": None})
    assert difference(combine([unbounded]), combine([b])).bounds is None


ROWS = {"a": (1.0, None, 0.0, 1.0, 1.0), "b": (0.0, 0.0, 0.0, None, 1.0)}


def test_a_difference_is_over_the_prompts_that_both_have() -> None:
    cells = []
    for system, rows in ROWS.items():
        scored = [100 * row for row in rows if row is not None]
        sample = Resampled(
            units=4, span=(0.0, 100.0), values=tuple(None if r is None else 100 * r for r in rows)
        )
        cells.append(
            made(
                system, float(np.mean(scored)), n_expected=5, n_scored=4, n_failed=1,
                resampled=sample, replicates=(1.0,) * 50, bounds=(0.0, 100.0),
            )
        )  # fmt: skip
    found = difference(*(combine([cell]) for cell in cells))
    assert found.value == pytest.approx(100 * (2 / 3 - 1 / 3), abs=1e-6)  # prompts 0, 2 and 4
    assert found.note == "over the 3 judgments that both have (of a: 4, b: 4)"
    counts = resample_counts("p", 5, 50)[:, [0, 2, 4]]
    gaps = counts @ [1, 0, 0] / np.maximum(counts.sum(axis=1), 1)
    low, high = ends(found.interval)
    assert low <= 100 * np.quantile(gaps, 0.025) <= 100 * np.quantile(gaps, 0.975) <= high


def test_marks_follow_the_level_of_the_board() -> None:
    """The gap of 3 has draws of a line from -7 to 13: told apart at 20 %, not at 50 %."""
    noise = np.random.default_rng(2).normal(50, 7, 2001)
    cells = [shifted("best", noise + LINE - 47, 53), shifted("next", noise, 50), made("low", 20)]
    for level, mark in ((0.2, ""), (0.5, "tied"), (0.95, "tied")):
        board = build_board(BoardSpec(name="b", title="B", level=level), cells)
        marks = {row.system.name: row.entries[0].standing for row in board.rows}
        assert marks == {"best": "best", "next": mark, "low": ""}, level
        assert [row.tied for row in board.rows] == [False, mark == "tied", False]
        assert {row.entries[0].interval.level for row in board.rows} == {level}
        (line,) = compare_systems(cells, "best", "next", level).lines
        assert line.ahead == ("" if mark else "first")
        claim = Claim(id="c", better="best", worse="next", suite="s", metric="m")
        result = judge_claim(claim, combine_all(cells, level), level)
        assert result.verdict == ("not shown" if mark else "holds")
        assert result.interval.level == level


def test_the_best_of_a_column_is_ranked_and_has_a_value() -> None:
    systems = (SystemSpec(name="teacher", ranked=False),)
    cells = [made("teacher", 90.0), made("a", 30.0), made("b", 60.0), made("c", None)]
    for higher, best, ranks in (
        (True, "b", {"b": 1, "a": 2, "teacher": None, "c": None}),
        (False, "a", {"a": 1, "b": 2, "teacher": None, "c": None}),
    ):
        turned = [cell.model_copy(update={"higher_is_better": higher}) for cell in cells]
        board = build_board(BoardSpec(name="b", title="B", systems=systems), turned)
        assert {row.system.name: row.rank for row in board.rows} == ranks
        marks = {row.system.name: row.entries[0].standing for row in board.rows}
        assert [name for name, mark in marks.items() if mark == "best"] == [best]
