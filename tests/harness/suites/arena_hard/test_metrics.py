"""Arena-Hard: golden boards, invariances, position bias, missing games."""

from __future__ import annotations

import gzip
import json
import math
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.errors import BadData, UnknownName
from harness.judging.labels import label_rows
from harness.suites.arena_hard.metrics import (
    GamePair,
    category_scores,
    leaderboard,
    point_scores,
    prompt_replicates,
    row_replicates,
    tabulate,
)
from harness.suites.arena_hard.style import (
    FEATURES,
    StyleCounts,
    style_board,
    style_counts,
    style_differences,
)
from tests.golden_vectors import vectors

LABEL_ROWS = label_rows()

Golden = Callable[[str], Path]
CASES = ("tiny", "five_models", "twelve_models")


def read(golden: Golden, case: str) -> tuple[dict, dict]:
    expected = vectors(golden(f"arena_hard/{case}_expected.json"))
    return vectors(golden(f"arena_hard/{case}_input.json.gz")), expected


def all_cases(golden: Golden) -> Iterator[tuple[str, dict, dict]]:
    """The named cases and any other that lies beside them."""
    folder = golden("arena_hard")
    names = {path.name.removesuffix("_expected.json") for path in folder.glob("*_expected.json")}
    for case in sorted(names):
        yield case, *read(golden, case)


def judgments(data: dict) -> list[GamePair]:
    return [GamePair(j["uid"], j["model"], tuple(j["games"])) for j in data["judgments"]]


def styles(data: dict) -> dict[str, dict[str, StyleCounts]]:
    return {
        model: {uid: StyleCounts(*counts) for uid, counts in rows.items()}
        for model, rows in data["style_metadata"].items()
    }


@pytest.mark.parametrize("case", CASES)
def test_the_named_golden_vectors_are_there(golden: Golden, case: str) -> None:
    read(golden, case)


def test_golden_point_scores(golden: Golden) -> None:
    for case, data, expected in all_cases(golden):
        table = tabulate(judgments(data), weight=data["weight"])
        assert point_scores(table) == pytest.approx(expected["point_scores"], abs=1e-9), case
        lines = leaderboard(table, case, rounds=10)
        assert {line.model: line.n_rows for line in lines} == expected["n_rows"]
        assert sum(line.n_failed for line in lines) == expected["n_null_records"]


def test_golden_bradley_terry(golden: Golden) -> None:
    for case, data, expected in all_cases(golden):
        scores = point_scores(tabulate(judgments(data), weight=data["weight"]))
        for model, rate in expected["v01_bt"]["win_rate_vs_baseline"].items():
            ours = scores.get(model, 0.5)
            assert ours == pytest.approx(rate, abs=1e-6), case
            elo = 1000 + 400 * math.log10(ours / (1 - ours))
            assert elo == pytest.approx(expected["v01_bt"]["elo"][model], abs=1e-3)
        for model, rate in expected["nostyle_exact_mle_bt"].items():
            assert scores.get(model, 0.5) == pytest.approx(rate, abs=1e-6), case


def test_golden_row_bootstrap(golden: Golden) -> None:
    for case, data, expected in all_cases(golden):
        table = tabulate(judgments(data), weight=data["weight"])
        replicates = row_replicates(table, rounds=4000)
        for column, model in zip(replicates.T, table.models):
            sd = expected["analytic_sd"][model]
            assert column.std() == pytest.approx(sd, rel=0.08), case
            # The reference's own 100 draws: mean within 4 sd / 10, quantiles within a few more.
            assert column.mean() == pytest.approx(expected["bootstrap_mean"][model], abs=0.4 * sd)
            low, high = np.quantile(column, [0.05, 0.95])
            assert low == pytest.approx(expected["bootstrap_q05"][model], abs=0.7 * sd)
            assert high == pytest.approx(expected["bootstrap_q95"][model], abs=0.7 * sd)


@pytest.mark.parametrize(
    ("key", "features"),
    [
        ("style_exact_mle", FEATURES),
        ("style_length_only_intended", ("length",)),
        ("style_markdown_only_intended", FEATURES[1:]),
    ],
)
def test_golden_style_control(golden: Golden, key: str, features: tuple[str, ...]) -> None:
    for case, data, expected in all_cases(golden):
        table = tabulate(judgments(data), weight=data["weight"])
        board = style_board(
            table, styles(data), data["baseline"], case, features=features, rounds=0
        )
        for model, rate in expected[key]["win_prob"].items():
            if model != data["baseline"]:
                assert board.win_rates[model] == pytest.approx(rate, abs=1e-6), (case, model)
        found = list(board.coefficients.values())
        assert found == pytest.approx(expected[key]["style_coefs"], abs=1e-5), case
        if features == FEATURES:
            assert list(expected["feature_order"]) == list(FEATURES)
            assert board.feature_mean == pytest.approx(expected["feature_mean"], abs=1e-6)
            assert board.feature_std == pytest.approx(expected["feature_std"], rel=1e-5)


def test_golden_reference_style_fit_is_near(golden: Golden) -> None:
    for case, data, expected in all_cases(golden):
        if case == "tiny":
            continue  # 24 prompts: the original stops far from the optimum
        table = tabulate(judgments(data), weight=data["weight"])
        board = style_board(table, styles(data), data["baseline"], case, rounds=0)
        for model, rate in expected["style_reference_lbfgs50"]["win_prob"].items():
            if model != data["baseline"]:
                assert board.win_rates[model] == pytest.approx(rate, abs=1.5e-2), case


def test_golden_style_row_bootstrap(golden: Golden) -> None:
    for case, data, expected in all_cases(golden):
        if "style_boot" not in expected:
            continue
        table = tabulate(judgments(data), weight=data["weight"])
        board = style_board(
            table, styles(data), data["baseline"], case, rounds=60, level=0.9, resample="rows"
        )
        for model, interval in board.intervals.items():
            reference = expected["style_boot"][model]
            width = reference["q95"] - reference["q05"]
            # The reference adds its unconverged fit (up to 0.015) to the noise of 100 draws.
            assert interval.low == pytest.approx(reference["q05"], abs=0.015 + 0.25 * width)
            assert interval.high == pytest.approx(reference["q95"], abs=0.015 + 0.25 * width)


def test_prompt_bootstrap_of_golden_games_is_wider_than_rows(golden: Golden) -> None:
    for case, data, _ in all_cases(golden):
        table = tabulate(judgments(data), weight=data["weight"])
        if len(table.uids) < 100:
            continue
        ratio = prompt_replicates(table, case).std(axis=0) / row_replicates(table, 1000).std(axis=0)
        assert 1.2 < np.median(ratio) < 1.8, case


LABELS = st.sampled_from([*LABEL_ROWS, None, "NULL_SCORE", "A"])
BOARD = st.lists(st.tuples(LABELS, LABELS), min_size=1, max_size=12)
MIRROR = str.maketrans("AB", "BA")


def one_model(games: list[tuple[str | None, str | None]], **options: object):
    rows = [GamePair(f"q{k:02}", "m", pair) for k, pair in enumerate(games)]
    return tabulate(rows, **options)


def mirrored(label: str | None) -> str | None:
    return label.translate(MIRROR) if label in LABEL_ROWS else label


@given(BOARD)
def test_swapping_the_sides_and_mirroring_labels_changes_nothing(games: list) -> None:
    table = one_model(games)
    swapped = one_model([(mirrored(second), mirrored(first)) for first, second in games])
    first, second = point_scores(table)["m"], point_scores(swapped)["m"]
    assert first == second or (math.isnan(first) and math.isnan(second))


@given(BOARD)
def test_exchanging_model_and_baseline_gives_the_complement(games: list) -> None:
    score = point_scores(one_model(games))["m"]
    other = point_scores(one_model([(second, first) for first, second in games]))["m"]
    assert math.isnan(score) or score + other == pytest.approx(1.0)


@given(BOARD)
def test_weight_one_is_the_plain_mean_of_verdicts(games: list) -> None:
    kept = [pair for pair in games if all(game in LABEL_ROWS for game in pair)]
    verdicts = [1 - LABEL_ROWS[first][0] for first, _ in kept]
    verdicts += [LABEL_ROWS[second][0] for _, second in kept]
    score = point_scores(one_model(games, weight=1))["m"]
    assert math.isnan(score) if not kept else score == pytest.approx(np.mean(verdicts))


@given(BOARD, st.randoms(use_true_random=False))
def test_record_order_is_irrelevant(games: list, shuffle: random.Random) -> None:
    rows = [GamePair(f"q{k:02}", "m", pair) for k, pair in enumerate(games)]
    moved = rows.copy()
    shuffle.shuffle(moved)
    first, second = (leaderboard(tabulate(r), "set", rounds=20)[0] for r in (rows, moved))
    assert first == second
    assert np.array_equal(first.replicates, second.replicates, equal_nan=True)


@given(BOARD)
def test_counts_add_up_and_bounds_hold(games: list) -> None:
    line = leaderboard(one_model(games), "set", rounds=20)[0]
    assert line.n_scored + line.n_failed == line.n_expected == len(games)
    if line.score is not None:
        assert (line.interval is None) == (line.n_scored == 1)
    if line.interval is not None:
        assert line.interval.low <= line.score <= line.interval.high
    if line.bounds and line.score is not None:
        assert line.bounds[0] <= line.score <= line.bounds[1]


def test_all_ties_are_half_with_zero_width() -> None:
    line = leaderboard(one_model([("A=B", "B=A")] * 5), "set")[0]
    assert (line.score, line.interval.low, line.interval.high) == (0.5, 0.5, 0.5)


def test_position_bias_is_visible() -> None:
    always_first = leaderboard(one_model([("A>B", "A>B")] * 4), "set", rounds=5)[0]
    assert always_first.score == 0.5
    assert always_first.contradiction_rate == 1.0
    assert always_first.first_share == 1.0
    fair = leaderboard(one_model([("B>A", "A>B")] * 4), "set", rounds=5)[0]
    assert (fair.score, fair.contradiction_rate, fair.first_share) == (1.0, 0.0, 0.5)


def test_missing_games_are_counted_per_game() -> None:
    games = [(None, "A>B"), ("A>B", "NULL_SCORE"), ("A>B", "[[A]]"), ("A>B", "B>A")]
    line = leaderboard(one_model(games), "set", rounds=5)[0]
    assert line.missing_games == (1, 2)
    assert (line.n_expected, line.n_scored, line.n_failed) == (4, 1, 3)
    assert line.bounds == (0.0, 18 / 20)


def test_a_known_prompt_set_makes_absent_records_failures() -> None:
    rows = [GamePair("q1", "m", ("A>B", "A>B"))]
    line = leaderboard(tabulate(rows, uids=["q1", "q2"]), "set", rounds=5)[0]
    assert (line.n_expected, line.n_failed) == (2, 1)
    with pytest.raises(BadData, match="not in the prompt set"):
        tabulate(rows, uids=["q2"])


def test_bad_boards_are_refused() -> None:
    row = GamePair("q1", "m", ("A>B", "A>B"))
    with pytest.raises(BadData, match="two judgments"):
        tabulate([row, row])
    with pytest.raises(BadData, match="no judgments"):
        tabulate([])
    with pytest.raises(UnknownName, match="prompts"):
        leaderboard(tabulate([row]), "set", resample="prompt")
    with pytest.raises(BadData, match="no cluster"):
        leaderboard(tabulate([row]), "set", clusters={})
    with pytest.raises(UnknownName, match="length"):
        style_board(tabulate([row]), {}, "b", "set", features=("lenght",))
    with pytest.raises(BadData, match="no style counts of m"):
        style_board(tabulate([row]), {}, "b", "set")


def test_topics_are_drawn_whole_and_categories_are_scored_alone() -> None:
    games = [("B>A", "A>B"), ("B>A", "A>B"), ("A>B", "B>A"), ("A>B", "B>A")]
    table = one_model(games)
    topics = {"q00": "x", "q01": "x", "q02": "y", "q03": "y"}
    replicates = prompt_replicates(table, "set", 200, topics)
    assert set(np.round(replicates[:, 0], 6)) == {0.0, 0.5, 1.0}
    assert category_scores(table, topics) == {"x": {"m": 1.0}, "y": {"m": 0.0}}


def test_constant_style_gives_the_plain_score() -> None:
    rng = random.Random(5)
    rows = [
        GamePair(f"q{q:03}", m, (rng.choice(list(LABEL_ROWS)), rng.choice(list(LABEL_ROWS))))
        for q in range(60)
        for m in ("a", "b")
    ]
    table = tabulate(rows)
    same = {m: {uid: StyleCounts(100, 2, 3, 4) for uid in table.uids} for m in ("a", "b", "base")}
    board = style_board(table, same, "base", "set", rounds=30)
    assert board.win_rates == pytest.approx(point_scores(table), abs=1e-7)
    for model, interval in board.intervals.items():
        assert interval.low <= board.win_rates[model] <= interval.high
    bare = style_board(table, same, "base", "set", features=(), rounds=0)
    assert bare.win_rates == pytest.approx(point_scores(table), abs=1e-7)


def test_style_counts_leave_code_out() -> None:
    text = "# Title\n\n- one\n* two\n1. three\n**bold** and __bold__\n```\n# no\n- no **no**\n```\n"
    assert style_counts(text, 12) == StyleCounts(length=12, header=1, list=3, bold=2)


def test_empty_answers_have_no_style_difference() -> None:
    zero = np.zeros((1, 1, 4))
    assert style_differences(zero, zero[0]).tolist() == [[[0.0] * 4]]


@pytest.mark.realdata
def test_style_counts_of_real_answers(realdata: Golden) -> None:
    path = realdata("arena_hard/v2.0_answer_o3-mini-2025-01-31.jsonl.gz")
    differing = total = 0
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            stored = row["metadata"]
            found = style_counts(row["messages"][-1]["content"]["answer"], stored["token_len"])
            kept = [sum(stored[f"{k}_count"].values()) for k in ("header", "list", "bold")]
            differing += [found.header, found.list, found.bold] != kept
            total += 1
    assert total >= 500
    assert differing <= 0.01 * total
