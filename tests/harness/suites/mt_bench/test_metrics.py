"""MT-Bench aggregation: golden tables, invariances, missing and repeated rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.errors import BadData
from harness.stats.bootstrap import percentile_interval, resample_counts
from harness.suites.mt_bench.metrics import (
    PairRecord,
    Rating,
    aggregate_pairs,
    aggregate_single,
    pair_outcome,
)
from tests.golden_vectors import vectors

Golden = Callable[[str], Path]
CATEGORIES = [
    "writing",
    "roleplay",
    "reasoning",
    "math",
    "coding",
    "extraction",
    "stem",
    "humanities",
]
OFFICIAL = {question: CATEGORIES[(question - 81) // 10] for question in range(81, 161)}


def test_golden_single_aggregation(golden: Golden) -> None:
    data = vectors(golden("mt_bench/single_aggregation.json"))
    assert data["record_fields"] == ["question_id", "model", "turn", "score"]
    ratings = [Rating(*record) for record in data["records"]]
    expected, right = data["expected"], data["expected"]["right"]
    lines = {line.model: line for line in aggregate_single(ratings, OFFICIAL, "set", rounds=50)}
    assert set(lines) == set(expected["reference_average"])
    for model, line in lines.items():
        assert line.average == pytest.approx(expected["reference_average"][model], abs=1e-9)
        assert line.turns[1] == pytest.approx(expected["reference_turn1"][model], abs=1e-9)
        assert line.turns[2] == pytest.approx(expected["reference_turn2"][model], abs=1e-9)
        assert line.mean_of_turns == pytest.approx(right["mean_of_turn_means"][model], abs=1e-9)
        assert line.n_missing == right["n_missing"][model]
        assert line.categories == pytest.approx(right["per_category"][model], abs=1e-9)
        for key, value in right["per_category_turn"][model].items():
            assert line.category_turns[key] == pytest.approx(value, abs=1e-9)


def test_golden_pairwise_aggregation(golden: Golden) -> None:
    data = vectors(golden("mt_bench/pairwise_aggregation.json"))
    records = [PairRecord(**dict(zip(data["record_fields"], r))) for r in data["records"]]
    found = aggregate_pairs(records, data["baseline"])
    assert set(found) == set(data["expected"])
    for model, expected in data["expected"].items():
        ours = {key: getattr(found[model], key) for key in expected}
        assert ours == pytest.approx(expected, abs=1e-12)
    assert aggregate_pairs(records * 2, data["baseline"]) == found


SCORES = st.lists(
    st.tuples(*[st.sampled_from([None, -1.0, 1.0, 5.5, 10.0, 11.0])] * 2), min_size=1, max_size=10
)


def ratings_of(scores: list[tuple]) -> list[Rating]:
    return [
        Rating(81 + q, "m", turn + 1, score)
        for q, pair in enumerate(scores)
        for turn, score in enumerate(pair)
    ]


@given(SCORES)
def test_laws_of_the_average(scores: list[tuple]) -> None:
    rows = ratings_of(scores)
    (line,) = aggregate_single(rows, OFFICIAL, "set", rounds=20)
    assert line.n_scored + line.n_missing == line.n_expected == 2 * len(scores)
    (again,) = aggregate_single(rows[::-1] + rows, OFFICIAL, "set", rounds=20)
    assert again == line
    if line.average is None:
        assert line.n_scored == 0
        return
    questions = sum(any(score is not None and 1 <= score <= 10 for score in p) for p in scores)
    assert (line.interval is None) == (questions == 1)
    if line.interval is not None:
        assert line.interval.low <= line.average <= line.interval.high
    if line.n_missing == 0:
        assert line.average == pytest.approx(line.mean_of_turns)
        assert line.bounds is None
    else:
        assert line.bounds is not None
        assert line.bounds[0] <= line.average + 1e-12
        assert line.average <= line.bounds[1] + 1e-12


def test_standard_error_is_clustered_by_question() -> None:
    pairs = [(2.0, 2.0), (4.0, 4.0), (6.0, 6.0), (8.0, 8.0)]
    (line,) = aggregate_single(ratings_of(pairs), OFFICIAL, "set", rounds=20)
    means = [2.0, 4.0, 6.0, 8.0]
    spread = math.sqrt(sum((m - 5.0) ** 2 for m in means) / 3)
    assert line.standard_error == pytest.approx(spread / 2)


def test_average_bounds_and_interval_of_three_questions_by_hand() -> None:
    """Ratings 2, 4; 6 and a missing one; 9, 9."""
    rows = [(81, 1, 2.0), (81, 2, 4.0), (82, 1, 6.0), (83, 1, 9.0), (83, 2, 9.0)]
    ratings = [Rating(question, "m", turn, score) for question, turn, score in rows]
    (line,) = aggregate_single(ratings, OFFICIAL, "set", rounds=60, level=0.8)
    assert line.average == 6
    assert (line.n_expected, line.n_scored, line.n_missing) == (6, 5, 1)
    assert line.bounds == pytest.approx((31 / 6, 40 / 6))
    assert line.turns == pytest.approx({1: 17 / 3, 2: 6.5})
    assert line.mean_of_turns == pytest.approx((17 / 3 + 6.5) / 2)
    assert line.standard_error == pytest.approx(math.sqrt(3 / 2 * (36 + 0 + 36)) / 5)
    drawn = resample_counts("set", 3, 60)
    assert line.replicates == pytest.approx(drawn @ [6, 6, 18] / (drawn @ [2, 1, 2]))
    expected = percentile_interval(
        line.replicates, 0.8, point=6.0, units=3, span=(1.0, 10.0), kind=line.interval.kind
    )
    assert line.interval == expected


def test_category_means_weighted_by_rows_give_the_average() -> None:
    rows = [Rating(q, "m", t, float((q * t) % 10 + 1)) for q in range(81, 161) for t in (1, 2)]
    (line,) = aggregate_single(rows, OFFICIAL, "set", rounds=0)
    assert list(line.categories) == list(CATEGORIES)
    mean = sum(value for value in line.categories.values() if value is not None) / 8
    assert line.average == pytest.approx(mean)
    assert line.interval is None


def test_missing_questions_of_a_known_set_are_counted() -> None:
    (line,) = aggregate_single(
        [Rating(81, "m", 1, 7.0)], OFFICIAL, "set", questions=[81, 82], rounds=5
    )
    assert (line.n_expected, line.n_scored, line.n_missing) == (4, 1, 3)
    assert line.standard_error is None


def test_bad_ratings_are_refused() -> None:
    row = Rating(81, "m", 1, 7.0)
    with pytest.raises(BadData, match="two ratings"):
        aggregate_single([row, Rating(81, "m", 1, 8.0)], OFFICIAL, "set")
    with pytest.raises(BadData, match="turn 3"):
        aggregate_single([Rating(81, "m", 3, 7.0)], OFFICIAL, "set")
    with pytest.raises(BadData, match="not in the prompt set"):
        aggregate_single([row], OFFICIAL, "set", questions=[82])
    with pytest.raises(BadData, match="no category"):
        aggregate_single([row], {}, "set")
    with pytest.raises(BadData, match="no ratings"):
        aggregate_single([], OFFICIAL, "set")


WINNERS = st.sampled_from(["model_1", "model_2", "tie", "error"])
GAMES = st.lists(st.tuples(WINNERS, WINNERS), min_size=1, max_size=20)
OTHER = {"model_1": "model_2", "model_2": "model_1", "tie": "tie", "error": "error"}


@given(GAMES)
def test_relabelling_the_sides_swaps_nothing_and_changing_roles_swaps_wins(games: list) -> None:
    rows = [PairRecord(q, "a", "b", g1, g2, 1) for q, (g1, g2) in enumerate(games)]
    relabelled = [
        PairRecord(q, "b", "a", OTHER[g1], OTHER[g2], 1) for q, (g1, g2) in enumerate(games)
    ]
    a = aggregate_pairs(rows, "b")["a"]
    assert aggregate_pairs(relabelled, "b")["a"] == a
    b = aggregate_pairs(rows, "a")["b"]
    assert (a.win, a.loss, a.tie, a.n_failed) == (b.loss, b.win, b.tie, b.n_failed)
    if a.win_rate_adjusted is not None and b.win_rate_adjusted is not None:
        assert a.win_rate_adjusted + b.win_rate_adjusted == pytest.approx(1.0)


@given(WINNERS, WINNERS)
def test_order_swap_of_a_pair_negates_it(g1: str, g2: str) -> None:
    flipped = {"win": "loss", "loss": "win", "tie": "tie", "error": "error"}
    ours = pair_outcome(g1, g2, model_first=True)
    assert pair_outcome(g1, g2, model_first=False) == flipped[ours]


def test_bad_pairs_are_refused() -> None:
    with pytest.raises(BadData, match="on one side"):
        aggregate_pairs([PairRecord(81, "a", "b", "tie", "tie", 1)], "c")
    with pytest.raises(BadData, match="winner is"):
        aggregate_pairs([PairRecord(81, "a", "b", "A", "tie", 1)], "b")
    rows = [
        PairRecord(81, "a", "b", "tie", "tie", 1),
        PairRecord(81, "a", "b", "tie", "model_1", 1),
    ]
    with pytest.raises(BadData, match="two verdicts"):
        aggregate_pairs(rows, "b")


def test_models_are_listed_best_first_and_unrated_ones_last() -> None:
    scores = {"b": 7.0, "none": None, "a": 7.0, "c": 9.0}
    ratings = [Rating(81, model, 1, score) for model, score in scores.items()]
    lines = aggregate_single(ratings, OFFICIAL, "set", turns=(1,), rounds=5)
    assert [line.model for line in lines] == ["c", "a", "b", "none"]


def test_two_questions_have_a_standard_error_and_a_thousand_resamples() -> None:
    ratings = [Rating(81, "m", 1, 4.0), Rating(82, "m", 1, 6.0)]
    (line,) = aggregate_single(ratings, OFFICIAL, "set", turns=(1,))
    assert line.standard_error == pytest.approx(math.sqrt(2 * 2) / 2)
    assert (len(line.replicates), line.interval.level) == (1000, 0.95)


def test_a_repeated_comparison_does_not_hide_the_next() -> None:
    rows = [PairRecord(q, "a", "b", "model_1", "model_1", 1) for q in (81, 81, 82)]
    assert aggregate_pairs(rows, "b")["a"].win == 2
    assert aggregate_pairs([*rows, PairRecord(81, "a", "b", "tie", "tie", 2)], "b")["a"].tie == 1
