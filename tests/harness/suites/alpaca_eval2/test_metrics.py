"""AlpacaEval figures: win rates, lengths, warnings, evaluation with intervals, reference data."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from harness.core.errors import BadData
from harness.data.forms import instruction_id
from harness.stats.bootstrap import paired_difference, percentile_interval, resample_counts
from harness.suites.alpaca_eval2.length_control import Rows, of_baseline
from harness.suites.alpaca_eval2.metrics import (
    average_length,
    evaluate_board,
    extreme_change,
    read_reference,
    win_rate,
)

PREFERENCES = arrays(np.float64, st.integers(1, 30), elements=st.floats(0, 1))


@given(PREFERENCES)
def test_win_rates_of_both_sides_add_to_one_hundred(preferences: np.ndarray) -> None:
    ours, theirs = win_rate(preferences), win_rate(1 - preferences)
    assert ours.win_rate + theirs.win_rate == pytest.approx(100.0)
    assert ours.n_wins + ours.n_wins_base + ours.n_draws == ours.n_total == len(preferences)
    assert ours.standard_error == pytest.approx(theirs.standard_error, abs=1e-9)


def test_discrete_win_rate_counts_draws_half() -> None:
    found = win_rate([0.2, 0.5, 0.9, 1.0, float("nan")])
    assert found.discrete_win_rate == 100 * 2.5 / 4
    assert (found.n_wins, found.n_wins_base, found.n_draws, found.n_total) == (2, 1, 1, 4)


def test_win_rate_refuses_nonsense() -> None:
    with pytest.raises(BadData, match="no judged row"):
        win_rate([float("nan")])
    with pytest.raises(BadData, match="expected 0 to 1"):
        win_rate([1.3])
    assert win_rate([1.0]).standard_error == 0.0


def test_average_length_counts_code_points() -> None:
    assert average_length(["é" * 3, "ab"]) == 2
    with pytest.raises(BadData):
        average_length([])


@pytest.mark.parametrize(
    ("raw", "controlled", "warns"),
    [
        (20, 9.9, True),
        (20, 10.1, False),
        (20, 40.1, True),
        (50, 37.4, True),
        (50, 62.6, True),
        (50, 62.4, False),
        (80, 59.9, True),
        (80, 89.9, False),
        (80, 90.1, True),
    ],
)
def test_extreme_change_rule(raw: float, controlled: float, warns: bool) -> None:
    assert extreme_change(raw, controlled) is warns


def model(seed: int, n: int = 80) -> Rows:
    generator = np.random.default_rng(seed)
    return Rows(
        generator.uniform(size=n),
        generator.integers(0, 2000, n).astype(float),
        generator.integers(0, 2000, n).astype(float),
        generator.normal(size=n),
    )


def test_evaluation_has_intervals_bounds_and_shared_draws() -> None:
    first, second = model(0), model(1)
    first.preferences[:4] = np.nan
    a, b = evaluate_board([first, second], "set", rounds=200, level=0.8)
    for scores in (a, b):
        lc = scores.length_controlled.lc_win_rate
        for found, draws, value in (
            (scores.interval, scores.replicates, scores.raw.win_rate),
            (scores.lc_interval, scores.lc_replicates, lc),
        ):
            assert found == percentile_interval(
                draws, 0.8, point=value, units=scores.n_scored, span=(0.0, 100.0)
            )
    drawn = resample_counts("set", 80, 200)[:, 4:]
    assert a.replicates == pytest.approx(100 * (drawn @ first.preferences[4:]) / drawn.sum(axis=1))
    assert (a.n_expected, a.n_scored) == (80, 76)
    assert a.bounds is not None
    assert a.bounds[1] - a.bounds[0] == pytest.approx(100 * 4 / 80)
    assert b.bounds is None
    (alone,) = evaluate_board([second], "set", rounds=200)
    assert np.array_equal(alone.replicates, b.replicates)
    gap = paired_difference(b.replicates, alone.replicates, b.raw.win_rate, alone.raw.win_rate)
    assert gap.interval.low == gap.interval.high == 0.0


def test_given_results_replace_the_fit() -> None:
    rows = model(2)
    (scores,) = evaluate_board([rows], "set", results=[of_baseline(80)], rounds=20)
    assert scores.length_controlled.lc_win_rate == 50.0
    assert scores.lc_interval.low == scores.lc_interval.high == 50.0


def test_models_of_different_sizes_are_refused() -> None:
    with pytest.raises(BadData, match="one row per prompt"):
        evaluate_board([model(0, 10), model(1, 11)], "set")


def write_gamed(folder: Path, rows: int = 3) -> None:
    lines = ["preference,index,std_delta_len,instruction_difficulty,not_gamed_baseline,model"]
    for name in ("verbose", "concise"):
        lines += [f"0.5,{k},{k - 1}.0,{k / 10},False,{name}" for k in range(rows)]
    (folder / "df_gamed.csv").write_text("\n".join(lines) + "\n")


def test_reference_from_the_table_or_from_baseline_outputs(tmp_path: Path) -> None:
    write_gamed(tmp_path)
    texts = ["one", "two", "three"]
    outputs = [{"instruction": text, "output": "x"} for text in texts]
    (tmp_path / "alpaca_eval_gpt4_baseline.json").write_text(json.dumps(outputs))
    first = read_reference(tmp_path)
    assert first.ids == tuple(map(instruction_id, texts))
    assert first.difficulty.tolist() == [0.0, 0.1, 0.2]
    assert len(first.anchors.preferences) == 6
    table = ["index,instruction_difficulty,instruction_sha256_16"]
    table += [f"{k},{k / 10},{instruction_id(texts[k])}" for k in (2, 0, 1)]
    (tmp_path / "instruction_table.csv").write_text("\n".join(table))
    second = read_reference(tmp_path)
    assert second.ids == first.ids
    assert second.difficulty.tolist() == first.difficulty.tolist()


def test_missing_reference_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"df_gamed\.csv not found"):
        read_reference(tmp_path)
    write_gamed(tmp_path)
    with pytest.raises(BadData, match="order of the instructions"):
        read_reference(tmp_path)
    (tmp_path / "instruction_table.csv").write_text("index,difficulty\n0,1\n")
    with pytest.raises(BadData, match="cannot read column"):
        read_reference(tmp_path)


@pytest.mark.realdata
def test_instruction_ids_of_the_real_set(realdata: Callable[[str], Path]) -> None:
    import gzip

    folder = realdata("alpaca_eval2")
    with gzip.open(folder / "instructions.jsonl.gz", "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            assert instruction_id(row["instruction"]) == row["instruction_sha256_16"]
