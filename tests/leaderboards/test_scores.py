"""Combining cells over seeds, and paired differences."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.core.errors import BadData
from leaderboards.scores import combine, combine_all, difference, mismatch, tidy


def test_value_is_the_mean_over_seeds_and_counts_are_summed(cell):
    seeds = [cell("a", 50, seed=seed, failed=seed) for seed in range(3)]
    score = combine(seeds)
    assert score.value == pytest.approx(np.mean([c.value for c in seeds]))
    assert (score.n_expected, score.n_scored, score.n_failed) == (360, 357, 3)
    assert score.n_seeds == 3
    assert score.interval is not None
    assert "seeds nested" in score.interval.kind


def test_one_seed_keeps_its_own_interval(cell):
    (alone,) = tidy([cell("a", 50)])
    assert combine([alone]).interval == alone.interval


def test_seeds_widen_the_interval_by_the_spread_between_runs(cell):
    seeds = [cell("a", skill, seed=seed) for seed, skill in enumerate((30, 50, 70))]
    nested, alone = combine(seeds).interval, combine(seeds[1:2]).interval
    assert nested is not None
    assert alone is not None
    assert nested.high - nested.low > 1.5 * (alone.high - alone.low)


def test_preconditions_on_other_prompts_per_seed_have_the_widest_interval(cell):
    def over(suite: str, sets: tuple[str, ...]):
        made = [
            cell("a", 50, seed=seed, suite=suite, prompt_set=name) for seed, name in enumerate(sets)
        ]
        return combine(made).interval

    assert over("toy", ("one", "two")) is None
    apart = over("preconditions", ("one", "two"))
    same = over("preconditions", ("one", "one"))
    assert apart is not None
    assert same is not None
    assert apart.high - apart.low >= same.high - same.low


def test_bounds_of_a_seed_without_failures_are_its_value(cell):
    score = combine([cell("a", 50, seed=0, failed=12), cell("a", 50, seed=1)])
    assert score.bounds is not None
    low, high = score.bounds
    assert low < score.value < high
    assert "12 of 240 judgments failed: between" in score.failed


def test_a_seed_without_a_value_is_named(cell):
    score = combine([cell("a", 50, seed=0), cell("a", 50, seed=1, value=None, interval=None)])
    assert score.n_seeds == 1
    assert score.reason == "seed 1 without a value: the suite gave no value"


def test_all_judgments_failed_is_the_reason(cell):
    lost = cell("a", 50, value=None, interval=None, n_scored=0, n_failed=120, n_expected=120)
    score = combine([lost])
    assert score.value is None
    assert score.reason == "all 120 judgments failed"


def test_details_are_averaged_or_vary(cell):
    seeds = [
        cell("a", 50, seed=seed, details={"length": 100 + seed, "mode": f"m{seed}", "same": "x"})
        for seed in range(2)
    ]
    assert combine(seeds).details == {"length": 100.5, "mode": "varies", "same": "x"}


def test_two_different_cells_for_one_place_are_refused(cell):
    with pytest.raises(BadData, match="two different cells for a"):
        combine_all([cell("a", 50), cell("a", 60)])
    assert len(combine_all([cell("a", 50), cell("a", 50)])) == 1


def test_seeds_of_different_units_are_refused(cell):
    with pytest.raises(BadData, match="unit differs over seeds"):
        combine([cell("a", 50), cell("a", 50, seed=1, unit="points")])


def test_pairing_is_tighter_than_the_two_intervals(cell):
    first, second = combine([cell("a", 52)]), combine([cell("b", 48)])
    delta = difference(first, second)
    assert delta.value == pytest.approx(first.value - second.value)
    width = delta.interval.high - delta.interval.low
    apart = sum((s.interval.high - s.interval.low) ** 2 for s in (first, second)) ** 0.5
    assert width < 0.9 * apart


def test_a_common_seed_cancels(cell):
    """Two systems that share their runs' luck differ by a constant, with no width."""
    base = [cell("a", skill, seed=seed) for seed, skill in enumerate((30, 50, 70))]
    shifted = [
        c.model_copy(
            update={
                "system": "b",
                "value": c.value + 2,
                "replicates": tuple(r + 2 for r in c.replicates),
            }
        )
        for c in base
    ]
    delta = difference(combine(shifted), combine(base))
    assert delta.interval.low == pytest.approx(2)
    assert delta.interval.high == pytest.approx(2)


def test_a_score_against_itself_is_zero(cell):
    score = combine([cell("a", 50, seed=seed) for seed in range(2)])
    delta = difference(score, score)
    assert (delta.value, delta.interval.low, delta.interval.high) == (0, 0, 0)
    assert delta.distinguishable is False


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"prompt_set": "other"}, "prompt set differs"),
        ({"replicates": ()}, "different numbers of replicates"),
        ({"value": None}, "b: the suite gave no value"),
    ],
)
def test_no_paired_interval_without_shared_draws(cell, changes, reason):
    second = cell("b", 50).model_copy(update=changes)
    delta = difference(combine([cell("a", 50)]), combine([second]))
    assert delta.interval is None
    assert delta.distinguishable is None
    assert reason in delta.reason


def test_mismatch_names_both_sides(cell):
    other = combine([cell("b", 50, judge_fingerprint="f2")])
    assert "judge fingerprint differs (a: " in mismatch(combine([cell("a", 50)]), other)
    assert mismatch(other, other) == ""


@settings(max_examples=25, deadline=None)
@given(
    skills=st.lists(st.floats(1, 99), min_size=1, max_size=4),
    rounds=st.integers(1, 30),
    level=st.floats(0.01, 0.99),
)
def test_every_interval_contains_its_point(cell, skills, rounds, level):
    seeds = [cell("a", skill, seed=s, n=7, rounds=rounds) for s, skill in enumerate(skills)]
    for group in (tidy(seeds), tidy(c.model_copy(update={"interval": None}) for c in seeds)):
        score = combine(group, level)
        assert score.interval.low <= score.value <= score.interval.high
        delta = difference(score, combine([cell("b", 50, n=7, rounds=rounds)]), level)
        assert delta.interval.low <= delta.value <= delta.interval.high


@settings(max_examples=25, deadline=None)
@given(value=st.floats(-1e6, 1e6), replicate=st.floats(-1e6, 1e6))
def test_tidying_twice_is_tidying_once(cell, value, replicate):
    odd = cell("a", 50, n=3, rounds=2, value=value, replicates=(replicate,), interval=None)
    assert tidy(tidy([odd])) == tidy([odd])
