"""Scores, their intervals and differences from hand-made cells: every field and every sentence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats as scipy_stats

from harness.core.errors import BadData
from harness.core.records import Cell, Interval, Resampled
from leaderboards.intervals import holding, interval_of, units_of
from leaderboards.pairing import Difference
from leaderboards.scores import (
    combine,
    combine_all,
    contrast,
    difference,
    mismatch,
    mismatch_of,
    scope_of,
    tidy,
)
from tests.leaderboards.test_by_hand import LINE, ends, made, reach


def test_cells_are_rounded_to_the_stored_precision() -> None:
    sample = Resampled(units=2, span=(0.0, 1.0), values=(0.12345678, None), weights=(2.00000049, 1),
                       columns=((1.23456789,), (0.5,)))  # fmt: skip
    odd = made(value=1.23456789, interval=Interval(low=0.99999949, high=2.00000051, kind="k"),
               bounds=(-0.0000001, 3.0000001), replicates=(1.23456, -0.00001), resampled=sample,
               details={"b": 0.12345678, "a": 7, "c": "x"},
               artifacts={"z": "1", "y": "2"})  # fmt: skip
    (found,) = tidy([odd, odd])
    assert found.value == 1.234568
    assert ends(found.interval) == (0.999999, 2.000001)
    assert found.bounds == (0.0, 3.0)
    assert str(found.bounds) == "(0.0, 3.0)"  # and not -0.0
    assert found.replicates == (1.2346, 0.0)
    assert list(found.details.items()) == [("a", 7), ("b", 0.123457), ("c", "x")]
    assert list(found.artifacts.items()) == [("y", "2"), ("z", "1")]
    rounded = {"values": (0.123457, None), "weights": (2.0, 1), "columns": ((1.234568,), (0.5,))}
    assert found.resampled == Resampled(units=2, span=(0.0, 1.0), **rounded)


def test_cells_are_sorted_and_equal_ones_are_one() -> None:
    def named(suite: str, metric: str, system: str, seed: int) -> Cell:
        return made(system, seed=seed, suite=suite, metric=metric)

    wanted = [named("s", "m", "a", 1), named("s", "m", "b", 0), named("s", "n", "a", 0),
              named("t", "l", "a", 0)]  # fmt: skip
    found = tidy([*wanted[::-1], wanted[1], wanted[0]])
    assert [
        c.model_copy(update={"replicates": w.replicates}) for c, w in zip(found, wanted)
    ] == wanted
    assert list(combine_all(wanted[::-1])) == [
        ("a", "s", "m"), ("a", "s", "n"), ("a", "t", "l"), ("b", "s", "m")
    ]  # fmt: skip
    seeds = [made(seed=seed, value=float(seed)) for seed in (3, 1, 2)]
    (score,) = combine_all(seeds).values()
    assert [cell.seed for cell in score.cells] == [1, 2, 3]
    with pytest.raises(BadData, match="two different cells for a, s m, seed 1; expected one"):
        combine_all([*seeds, made(seed=1, value=9.0)])


@pytest.mark.parametrize(
    ("shift", "taken"), [(2e-4, True), (-2e-4, True), (4e-4, False), (-4e-4, False)]
)
def test_replicates_near_those_of_the_rows_become_theirs(shift: float, taken: bool) -> None:
    """Ten equal rows have replicates of 0.5; a suite rounds its own differently by a few units."""
    sample = Resampled(units=10, span=(0.0, 1.0), values=(0.5,) * 10)
    cell = made(value=0.5, resampled=sample, replicates=(0.5, 0.5 + shift, 0.5))
    (found,) = tidy([cell], compact=True)
    assert found.replicates == ((0.5,) * 3 if taken else (0.5, 0.5 + shift, 0.5))
    assert tidy([cell])[0].replicates == (0.5, 0.5 + shift, 0.5)


def test_counts_are_summed_and_one_primary_cell_makes_a_primary_score() -> None:
    seeds = [made(seed=0, n_scored=290, n_failed=10, bounds=(48.0, 52.0), primary=False),
             made(seed=1, value=60.0)]  # fmt: skip
    score = combine(seeds)
    assert (score.n_expected, score.n_scored, score.n_failed) == (600, 590, 10)
    assert score.primary
    assert not combine(seeds[:1]).primary
    assert score.bounds == (54.0, 56.0)  # of the other seed its value
    assert score.failed == "10 of 600 judgments failed: between 54.0 (all lost) and 56.0 (all won)"
    assert score.unresolved == 10
    assert score.n_seeds == 2
    unbounded = [seeds[0].model_copy(update={"bounds": None}), seeds[1]]
    assert combine(unbounded).bounds is None
    assert combine(unbounded).failed == "10 of 600 judgments failed"
    scored = Resampled(units=300, span=(0.0, 100.0), failed_scored=True)
    assert combine([seeds[0].model_copy(update={"resampled": scored}), seeds[1]]).unresolved == 0
    assert combine([made()]).failed == ""


def test_details_over_seeds_are_a_mean_or_vary() -> None:
    seeds = [{"n": 1, "x": 0.1, "flag": True, "word": "a", "both": 1, "one": 5},
             {"n": 2, "x": 0.2, "flag": False, "word": "b", "both": "1"}]  # fmt: skip
    found = combine([made(seed=n, details=own) for n, own in enumerate(seeds)]).details
    assert found == dict.fromkeys(("both", "flag", "one", "word"), "varies") | {
        "n": 1.5, "x": 0.15
    }  # fmt: skip
    assert list(found) == sorted(found)
    assert combine([made(details=seeds[0])]).details == seeds[0]
    same = combine([made(seed=n, details={"k": True, "n": 3}) for n in range(3)]).details
    assert same == {"k": True, "n": 3}
    assert type(same["n"]) is int


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ([{"value": None, "details": {"reason": "no rows"}}], "no rows"),
        ([{"value": None, "n_scored": 0, "n_failed": 7}], "all 7 judgments failed"),
        ([{"value": None, "n_scored": 1, "n_failed": 7}], "the suite gave no value"),
        ([{"value": None, "n_scored": 0}], "the suite gave no value"),
        ([{}, {"value": None, "n_scored": 0, "n_failed": 7}, {"value": None}],
         "seed 1, 2 without a value: all 7 judgments failed"),
        ([{}, {}], ""),
    ],
)  # fmt: skip
def test_what_is_missing_has_a_reason(cells: list[dict[str, Any]], reason: str) -> None:
    score = combine([made(seed=n, **changes) for n, changes in enumerate(cells)])
    assert score.reason == reason
    if score.value is None:
        other = combine([made("b")])
        assert difference(other, score) == Difference(reason=f"a: {reason}")


def test_seeds_of_one_score_agree_in_direction() -> None:
    with pytest.raises(
        BadData, match=r"a, s m: higher_is_better differs over seeds \(False, True\)"
    ):
        combine([made(), made(seed=1, higher_is_better=False)])
    with pytest.raises(BadData, match=r"unit differs over seeds \(%, points\)"):
        combine([made(), made(seed=1, unit="points")])


# Intervals


def test_the_interval_of_one_cell_is_its_own_or_follows_from_its_replicates() -> None:
    stored = Interval(low=1.0, high=99.0, kind="stored")
    sample = Resampled(units=300, span=(0.0, 100.0))
    one = sample.model_copy(update={"units": 1})
    for changes, level, wanted in (
        ({}, 0.95, (1, 99)),
        ({}, 0.8, (50 - reach(0.8), 50 + reach(0.8))),
        ({"replicates": ()}, 0.8, (1, 99)),  # there is nothing else
        ({"interval": None}, 0.95, (50 - reach(0.95), 50 + reach(0.95))),
        ({"interval": None, "resampled": sample}, 0.95, None),  # its suite gave none on purpose
        ({"interval": None, "replicates": ()}, 0.95, None),
        ({"resampled": one}, 0.95, None),
        ({"n_scored": 1}, 0.95, None),
        ({"interval": stored.model_copy(update={"low": 60.0})}, 0.95, (50, 99)),
    ):
        found = combine([made(**changes)], level).interval
        assert (None if found is None else ends(found)) == (wanted and pytest.approx(wanted))
    assert combine([made()], 0.8).interval.kind == "stored"  # type: ignore[union-attr]
    kind = combine([made(interval=None)], 0.8).interval.kind  # type: ignore[union-attr]
    assert kind == "bootstrap over prompts"
    assert interval_of([made()], None, 0.95) is None


def test_few_units_and_the_span_of_a_cell_are_taken_into_account() -> None:
    few = Resampled(units=5, span=(0.0, 55.0))
    half = scipy_stats.t.ppf(0.9, 4) * LINE.std() * np.sqrt(5 / 4)
    found = combine([made(resampled=few)], 0.8).interval
    assert ends(found) == pytest.approx((50 - half, 55.0), abs=1e-6)
    assert units_of(made(resampled=few)) == 5
    assert units_of(made(n_scored=7)) == 7
    seeds = [made(resampled=few, unit="points"), made(seed=1, unit="points")]
    over = combine(seeds, 0.8).interval  # of the fewest units, within the span of the first
    assert ends(over)[0] == pytest.approx(50 - half, abs=1e-6)
    assert ends(over)[1] == pytest.approx(55.0)


def test_seeds_of_preconditions_on_other_prompts_rise_and_fall_together() -> None:
    up, down = LINE, LINE[::-1]
    cells = [
        made(seed=n, suite="preconditions", prompt_set=str(n), replicates=tuple(draws.tolist()))
        for n, draws in enumerate((up, down))
    ]
    assert ends(combine(cells).interval) == pytest.approx((50 - reach(0.95), 50 + reach(0.95)))
    same = [cell.model_copy(update={"prompt_set": "p"}) for cell in cells]
    assert ends(combine(same).interval) == (50, 50)  # the draws cancel
    other = [cell.model_copy(update={"suite": "s"}) for cell in cells]
    assert combine(other).interval is None


def test_percentages_stay_between_0_and_100() -> None:
    for values, wanted in (([1.0, 99.0], (0, 100)), ([98.0, 99.0], None), ([1.0, 2.0], None)):
        cells = [made(seed=n, value=value, interval=None) for n, value in enumerate(values)]
        low, high = ends(combine(cells).interval)
        assert 0 <= low < high <= 100
        assert wanted is None or (low, high) == wanted
    assert ends(holding(Interval(low=1.00000000049, high=2, kind="k"), 2.5)) == (1.0, 2.5)


# Differences


def test_a_difference_needs_the_same_prompts_and_draws() -> None:
    a = combine([made("a")])
    for changes, reason in (
        ({"prompt_set": "q", "n_expected": 120, "n_scored": 120},
         "prompt set differs (a: p of 300 prompts; b: q of 120 prompts)"),
        ({"replicates": (1.0,)}, "the cells hold different numbers of replicates"),
    ):  # fmt: skip
        found = difference(a, combine([made("b", 40.0, **changes)]))
        assert found == Difference(value=10.0, reason=f"no paired interval: {reason}")
    bare = [combine([made(name, 40.0, replicates=())]) for name in "ab"]
    assert difference(*bare).reason == "no paired interval: the cells hold no replicates"
    single = [combine([made(n, resampled=Resampled(units=1, span=(0, 100)))]) for n in "ab"]
    assert difference(*single).reason == "no paired interval: only one prompt is common"
    seeds = combine([made("b"), made("b", seed=1, n_expected=301)])
    assert " of 300 or 301 prompts)" in mismatch(combine([made(prompt_set="q")]), seeds)


def test_scores_of_several_judges_or_scales_mismatch() -> None:
    a, b = combine([made("a")]), combine([made("b", judge_fingerprint="g")])
    assert mismatch(a, b) == "judge fingerprint differs (a: f; b: g)"
    assert mismatch(a, combine([made("b", scale="paper")])) == "scale differs (a: nano; b: paper)"
    mixed = combine([made("c"), made("c", seed=1, judge_fingerprint="g")])
    assert mismatch(mixed, mixed) == "judge fingerprint differs (c: f, g; c: f, g)"
    assert mismatch(a, b, ("prompt_set",)) == ""
    assert mismatch_of([a, a, b]) == mismatch(a, b)
    assert mismatch_of([a, a]) == ""
    assert (scope_of(1), scope_of(0), scope_of(2)) == ("these checkpoints", "", "")


def rows(system: str, values: list[float | None]) -> Cell:
    scored = [v for v in values if v is not None]
    sample = Resampled(units=len(values), span=(0.0, 100.0), values=tuple(values))
    return made(system, float(np.mean(scored)), resampled=sample, replicates=(50.0,) * 40,
                n_expected=len(values), n_scored=len(scored), n_failed=len(values) - len(scored),
                bounds=(0.0, 100.0))  # fmt: skip


def test_without_a_common_prompt_there_is_no_interval() -> None:
    a, b, c = rows("a", [1.0, None, None]), rows("b", [None, 2.0, 3.0]), rows("c", [1.0, 2.0, 3.0])
    scores = [combine([cell]) for cell in (a, b, c)]
    found = difference(scores[0], scores[1])
    assert found.reason == "no paired interval: no prompt has a value of both systems"
    three = contrast(scores, (1.0, -0.5, -0.5))
    assert three.reason == "no paired interval: no prompt has a value of all systems"
    assert three.value == 1.0 - 0.5 * 2.5 - 0.5 * 2.0


def test_a_contrast_of_three_is_over_the_prompts_of_all() -> None:
    cells = [rows("a", [10.0, 20.0, None, 40.0, 50.0]), rows("b", [0.0, None, 5.0, 8.0, 4.0]),
             rows("c", [1.0, 2.0, 3.0, 4.0, 6.0])]  # fmt: skip
    found = contrast([combine([cell]) for cell in cells], (1.0, -0.5, -0.5))
    assert found.value == pytest.approx(100 / 3 - 0.5 * 4 - 0.5 * 11 / 3)
    assert found.note == "over the 3 judgments that all have (of a: 4, b: 4, c: 5)"
    assert found.bounds == (0 - 50 - 0.5 * 3.2, 100 - 0 - 0.5 * 3.2)


def test_what_is_over_other_judgments_says_so() -> None:
    a = made("a", n_scored=290, n_failed=10, bounds=(45.0, 55.0))
    b = made("b", 40.0)
    found = difference(combine([a]), combine([b]))
    assert found.note == "each over its own scored judgments (a: 290, b: 300)"
    unbounded = combine([a.model_copy(update={"bounds": None})])
    more = difference(unbounded, combine([b]))
    assert more.note == f"{found.note}; the failed ones have no bounds"
    assert difference(combine([made()]), combine([b])).note == ""


@pytest.mark.parametrize(
    ("interval", "bounds", "margin", "side"),
    [
        ((1, 2), None, 0.0, 1), ((-2, -1), None, 0.0, -1), ((-1, 1), None, 0.0, 0),
        ((0, 1), None, 0.0, 0), ((-1, 0), None, 0.0, 0), ((1, 2), None, 1.0, 0),
        ((1, 2), None, 3.0, -1), ((1, 2), (0.5, 3), 0.0, 1), ((1, 2), (-0.5, 3), 0.0, 0),
        ((1, 2), (-2, -1), 0.0, 0), ((-1, 1), (0.5, 3), 0.0, 0), (None, None, 0.0, 0),
    ],
)  # fmt: skip
def test_a_side_is_taken_if_interval_and_bounds_agree(
    interval: tuple[float, float] | None,
    bounds: tuple[float, float] | None,
    margin: float,
    side: int,
) -> None:
    known = interval and Interval(low=interval[0], high=interval[1], kind="k")
    found = Difference(value=1.5, interval=known, bounds=bounds, note="a note")
    assert found.side(margin) == side
    if margin == 0:
        assert found.distinguishable is (None if interval is None else side != 0)
    reversed_ = bounds is not None and side == 0 and interval != (-1, 1)
    assert found.remark(margin).startswith("a note")
    assert ("failed judgments could change the sign" in found.remark(margin)) is reversed_


def test_a_remark_says_what_the_bounds_give() -> None:
    found = Difference(interval=Interval(low=1, high=2, kind="k"), bounds=(-0.123, 12.34))
    said = "failed judgments could change the {}: their bounds give a {} between -0.12 and +12.3"
    assert found.remark() == said.format("sign", "difference")
    assert found.remark(0.5, "slope") == said.format("verdict", "slope")
    assert found.remark(5.0) == said.format("verdict", "difference")
