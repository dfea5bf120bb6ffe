"""AlpacaEval's cells, anchors, orders and annotations by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.core.errors import BadData
from harness.core.hashing import file_digest
from harness.core.records import Cell
from harness.data.forms import instruction_id
from harness.engine.operations import Artifact, Row
from harness.judging.records import Judged, JudgedTurn
from harness.stats.bootstrap import resample_counts
from harness.suites.alpaca_eval2 import length_control
from harness.suites.alpaca_eval2.annotation_files import Annotations, read_annotations
from harness.suites.alpaca_eval2.annotation_verdicts import read_annotation_verdicts
from harness.suites.alpaca_eval2.cells import difficulty_of, reference_digest
from harness.suites.alpaca_eval2.length_control import (
    FORMULAS,
    Anchors,
    Rows,
    design_matrix,
    fit,
    length_identified,
    of_baseline,
)
from harness.suites.alpaca_eval2.metrics import average_length, lc_bounds, win_rate
from tests.judging_runs import judging

Run = Callable[..., Artifact]
Make = Callable[[list[Row]], Artifact]
CELL: dict[str, Any] = {
    "suite": "s", "system": "m", "scale": "nano", "judge": "j", "judge_fingerprint": "f",
    "rounds": 60, "level": 0.9,
}  # fmt: skip
PREFERENCES = [1.0, 0.25, 0.5, None, 0.75, 0.0]
LENGTHS = [(10, 8), (4, 8), (6, 6), (9, 1), (2, 4), (12, 7)]


def rows(preferences: list[float | None] = PREFERENCES, **more: Any) -> list[Row]:
    return [
        {
            "id": f"p{n}",
            "prompt": f"prompt {n}",
            "answers": {"model": "x" * own, "baseline": "y" * other},
            "games": [],
            "preference": preference,
            **{key: value[n] for key, value in more.items()},
        }
        for n, (preference, (own, other)) in enumerate(zip(preferences, LENGTHS, strict=True))
    ]


def cells_of(made: Artifact) -> dict[str, Cell]:
    return {c["metric"]: Cell.model_validate(c) for c in made.read_json("cells.json")}


def test_the_win_rate_and_its_counts(run_operation: Run, rows_artifact: Make) -> None:
    cells = cells_of(run_operation("score_alpaca", CELL, judgments=rows_artifact(rows())))
    cell = cells["win_rate"]
    assert (cell.value, cell.n_expected, cell.n_scored, cell.n_failed) == (50, 6, 5, 1)
    assert cell.bounds == pytest.approx((250 / 6, 350 / 6))
    known = {
        "n_wins": 2, "n_wins_base": 2, "n_draws": 1, "n_total": 5, "discrete_win_rate": 50,
        "avg_length": 7, "avg_length_baseline": 5,
        "standard_error": pytest.approx(100 * math.sqrt(0.625 / 4) / math.sqrt(5)),
    }  # fmt: skip
    assert cell.details == known
    drawn = resample_counts(cell.prompt_set, 6, 60)
    below = drawn @ [1, 1, 1, 0, 1, 1]
    assert cell.replicates == pytest.approx(100 * (drawn @ [1, 0.25, 0.5, 0, 0.75, 0]) / below)
    assert cell.resampled.values == (100, 25, 50, None, 75, 0)
    assert (cell.resampled.units, cell.resampled.span) == (5, (0, 100))
    assert (cell.interval.level, cell.interval.kind) == (0.9, "bootstrap over prompts")
    lc = cells["lc_win_rate"]
    assert lc.details["formula"] == "length_controlled_minimal"
    assert lc.details["standard_error"] == pytest.approx(np.std(lc.replicates, ddof=1))
    assert lc.bounds[0] <= lc.value <= lc.bounds[1]
    assert (lc.details["folds"], lc.details["lc_mode"], lc.details["avg_length"]) == (
        "stable", "exact", 7
    )  # fmt: skip


def test_the_baseline_against_itself_is_fifty(run_operation: Run, rows_artifact: Make) -> None:
    same = [{**row, "answers": {"model": "x", "baseline": "x"}} for row in rows([0.5] * 6)]
    cells = cells_of(run_operation("score_alpaca", CELL, judgments=rows_artifact(same)))
    assert [cells[name].value for name in ("lc_win_rate", "win_rate")] == [50, 50]
    assert [cells[name].resampled.span for name in cells] == [None, None]
    assert cells["lc_win_rate"].details["C"] is None
    few = cells_of(run_operation("score_alpaca", CELL, judgments=rows_artifact(rows()[2:4])))
    assert [(c.value, c.n_expected, c.n_scored) for c in few.values()] == [(None, 2, 1)] * 2
    two = cells_of(run_operation("score_alpaca", CELL, judgments=rows_artifact(rows()[:2])))
    assert two["win_rate"].value == 62.5


def test_anchors_are_standardised_by_variant(
    run_operation: Run, rows_artifact: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Anchors | None] = []
    original = length_control.fit_board

    def watch(models: Any, *, anchors: Anchors | None, **more: Any) -> Any:
        seen.append(anchors)
        return original(models, anchors=anchors, **more)

    monkeypatch.setattr("harness.suites.alpaca_eval2.metrics.fit_board", watch)
    levels = [1, 2, 3, 4, 1, 2]
    judged = rows_artifact(rows(difficulty=levels))
    variants = (rows_artifact(rows(difficulty=levels)[:4]), rows_artifact(rows()[2:3]))
    cells = cells_of(run_operation("score_alpaca", CELL, judgments=judged, anchors=variants))
    assert cells["lc_win_rate"].details["formula"] == "length_controlled_v1"
    found = seen[0]
    assert found is not None
    assert found.preferences.tolist() == [1, 0.25, 0.5, 0.5]  # the fourth failed
    gaps = np.array([-2, 4, 0, -8])
    assert found.length_gaps == pytest.approx([*(gaps / gaps.std(ddof=1))[:3], 0])
    assert found.difficulty.tolist() == [-1.5, -0.5, 0.5, 0.5]  # levels less 2.5
    plain = cells_of(run_operation("score_alpaca", CELL, judgments=judged))
    assert plain["lc_win_rate"].details["formula"] == "length_controlled_noreg"


def test_a_difficulty_is_given_or_the_centred_level() -> None:
    def of(**fields: Any) -> float | None:
        return difficulty_of(
            Judged("alpaca", "a", "s", (JudgedTurn("q", "a", "b"),), 0.5, "", fields)
        )

    assert [of(difficulty=4), of(difficulty=1), of()] == [1.5, -1.5, None]
    assert of(instruction_difficulty=0.0, difficulty=4) == 0


def test_the_identity_of_tables_is_that_of_the_files_at_hand(tmp_path: Path) -> None:
    assert reference_digest("") == ""
    (tmp_path / "df_gamed.csv").write_text("x")
    (tmp_path / "other.csv").write_text("y")
    assert reference_digest(str(tmp_path)) == file_digest(tmp_path / "df_gamed.csv")


def test_published_constants_of_the_length_control() -> None:
    assert pytest.approx([10 ** (-4 + 8 * n / 9) for n in range(10)]) == length_control.STRENGTHS
    assert (length_control.ANCHOR_WEIGHT, length_control.FOLDS) == (0.1, 5)
    given = Rows(np.array([1.0, 0.0]), np.array([1.0, 5.0]), np.array([3.0, 3.0]),
                 np.array([0.5, -0.5]))  # fmt: skip
    anchors = Anchors(np.array([0.25]), np.array([2.0]), np.array([0.75]))
    features, labels, weights = design_matrix(given, anchors, FORMULAS["length_controlled_v1"])
    # Gaps 2 and -2 with standard deviation sqrt(8).
    tanh = math.tanh(2 / math.sqrt(8))
    assert features == pytest.approx(
        np.array([[math.tanh(2), 0.75, 0], [tanh, 0.5, 1], [-tanh, -0.5, 1]])
    )
    assert (labels.tolist(), weights.tolist()) == ([0.25, 1, 0], [0.1, 1, 1])
    alone, _, _ = design_matrix(given, anchors, FORMULAS["length_controlled_noreg"])
    assert alone.shape == (2, 3)
    short, _, _ = design_matrix(given, anchors, FORMULAS["length_controlled_minimal"])
    assert short[:, 1].tolist() == [1, 1]
    assert {name: (f.anchored, f.difficulty, f.columns) for name, f in FORMULAS.items()} == {
        "length_controlled_v1": (True, True, ("length", "difficulty", "bias")),
        "length_controlled_noreg": (False, True, ("length", "difficulty", "bias")),
        "length_controlled_minimal": (False, False, ("length", "bias")),
    }


@pytest.mark.parametrize(
    ("gaps", "identified"),
    [
        *[([0, 0], True), ([3, 3], False), ([3, 5], True), ([4.9, 2.9], True)],
        *[([5.1, 3.1], False), ([-3, -5], True), ([1.0, -1.0], True)],
    ],
)
def test_zero_must_lie_within_four_deviations(gaps: list[float], identified: bool) -> None:
    """Of 3 and 5 the mean is 4 and the deviation 1; of 3.1 and 5.1 the mean is 4.1."""
    ours = 10.0 - np.array(gaps, float)
    given = Rows(np.full(2, 0.5), ours, np.full(2, 10.0))
    assert length_identified(given) is identified


def test_the_result_is_the_mean_of_predictions() -> None:
    found = of_baseline(4)
    assert (found.lc_win_rate, found.standard_error, found.strength) == (50, 0, None)
    assert (found.coefficients, found.n_fitted, found.anchored) == ((0, 0, 0), 0, True)
    rng = np.random.default_rng(0)
    given = Rows(
        rng.uniform(size=40), rng.uniform(0, 9, 40), rng.uniform(0, 9, 40), rng.normal(size=40)
    )
    made = fit(given, formula="length_controlled_noreg")
    bias, slope = made.coefficients[2], made.coefficients[1]
    predicted = 1 / (1 + np.exp(-(slope * given.difficulty + bias)))
    assert made.predictions == pytest.approx(predicted)
    assert made.lc_win_rate == pytest.approx(100 * predicted.mean())
    assert made.standard_error == pytest.approx(100 * predicted.std(ddof=1) / math.sqrt(40))
    assert (made.n_fitted, made.anchored, made.mode, made.folds) == (40, False, "exact", "stable")


def test_bounds_refit_with_all_failed_rows_lost_and_won() -> None:
    rng = np.random.default_rng(1)
    preferences = rng.uniform(size=30)
    preferences[3:6] = np.nan
    sizes = [rng.uniform(0, 9, 30) for _ in range(2)]
    whole, failing = (Rows(np.where(np.isnan(preferences), end, preferences), *sizes)
                      for end in (0.5, np.nan))  # fmt: skip
    shape = "length_controlled_minimal"
    results = [fit(each, formula=shape) for each in (whole, failing, whole)]
    none, bounds, last = lc_bounds([whole, failing, whole], results, formula=shape)
    ends = [
        fit(Rows(np.where(np.isnan(preferences), end, preferences), *sizes), formula=shape)
        for end in (0.0, 1.0)
    ]
    values = [each.lc_win_rate for each in (*ends, results[1])]
    assert (none, last) == (None, None)
    assert bounds == pytest.approx((min(values), max(values)))


def test_preferences_at_their_limits() -> None:
    found = win_rate([0.0, 1.0, 0.5, 0.51, 0.49])
    assert (found.n_wins, found.n_wins_base, found.n_draws) == (2, 2, 1)
    for wrong in ([-0.01], [1.01]):
        with pytest.raises(BadData, match="expected 0 to 1"):
            win_rate(wrong)
    assert average_length([3, 4, "ab", 2]) == 2


def test_both_orders_are_asked_and_averaged(
    pair: tuple[Artifact, Artifact], run_operation: Run, rows_artifact: Make
) -> None:
    good, baseline = pair
    from harness.judging.judge import open_judge
    from harness.suites.alpaca_eval2.judging import JudgeAlpacaParams, rules

    params = JudgeAlpacaParams(judge="nano:oracle", fingerprint="", orders="both")
    asked = judging("alpaca", orders="both",
                    fingerprint=open_judge("nano:oracle", rules(params)).fingerprint)  # fmt: skip
    made = run_operation("judge_alpaca", asked, generations=good, baseline=baseline).rows()
    switched = run_operation("judge_alpaca", judging("alpaca"), generations=good,
                             baseline=baseline).rows()  # fmt: skip
    played = [pair for pair in zip(made, switched, strict=True) if pair[0]["games"]]
    assert len(played) > 2  # the others are equal to the baseline
    for row, one in played:
        first, second = row["games"]
        assert {first["first"], second["first"]} == {"model", "baseline"}
        assert first["first"] == one["games"][0]["first"]
        shares = [
            g["verdict"] if g["first"] == "model" else 1 - g["verdict"] for g in (first, second)
        ]
        assert row["preference"] == pytest.approx(sum(shares) / 2)
        assert len(one["games"]) == 1
    empty = [{**row, "responses": [], "error": "late"} for row in good.rows()]
    lost = run_operation("judge_alpaca", judging("alpaca"), generations=rows_artifact(empty),
                         baseline=baseline).rows()  # fmt: skip
    assert [game["first"] for game in lost[0]["games"]] == ["baseline"]
    assert lost[0]["preference"] is None


def annotation(text: str, preference: Any, **more: Any) -> Row:
    return {"instruction": text, "output_1": "bb", "generator_1": "base", "output_2": "ccc",
            "generator_2": "m", "preference": preference, **more}  # fmt: skip


def test_annotations_are_read_by_model_and_judge(tmp_path: Path) -> None:
    path = tmp_path / "annotations.json"
    given = [annotation(" a ", 1.25), annotation("b", 0, output_2=None), annotation("c", -1),
             annotation("d", None),
             annotation("a", 2, generator_2="other", annotator="j")]  # fmt: skip
    path.write_text(json.dumps(given))
    first, second = read_annotations(path)
    assert (first.model, first.judge, first.baseline) == (
        "m", "weighted_alpaca_eval_gpt4_turbo", "base"
    )  # fmt: skip
    assert first.preferences.tolist() == pytest.approx([0.25, 0.5, math.nan, math.nan], nan_ok=True)
    assert first.model_lengths.tolist() == pytest.approx([3, math.nan, 3, 3], nan_ok=True)
    assert first.baseline_lengths.tolist() == [2] * 4
    assert first.ids[0] == instruction_id(" a ")
    assert first.trimmed_ids[0] == instruction_id("a")
    assert first.joined({instruction_id("a")}).ids[0] == instruction_id("a")
    assert first.joined({instruction_id("a"), instruction_id(" a ")}).ids == first.ids
    assert (second.judge, second.written(0)) == ("j", 2.0)
    assert first.source.endswith("annotations.json")
    plain = Annotations("m", "j", "b", ("x",), np.ones(1), np.ones(1), np.ones(1), "s")
    assert plain.joined({"y"}) is plain


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"instruction": 3}, "row 1: no instruction text"),
        ({"generator_2": True}, "row 1: generator_2 is true"),
        ({"generator_2": " "}, 'row 1: generator_2 is " "'),
        ({"annotator": ["x" * 99]}, r'row 1: annotator is \["' + "x" * 58 + ";"),
        ({"preference": "best"}, "preference 'best'"),
    ],
)
def test_rows_that_are_no_annotations_are_named(tmp_path: Path, row: Row, message: str) -> None:
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps([annotation("a", 1), {**annotation("b", 1), **row}]))
    with pytest.raises(BadData, match=message):
        read_annotations(path)
    short = annotation("b", 1)
    del short["preference"]
    path.write_text(json.dumps([annotation("a", 1), short]))
    with pytest.raises(BadData, match="row 1: no preference"):
        read_annotations(path)


def test_orders_are_read_from_the_table_beside_the_file(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    (folder / "annotations.json").write_text(
        json.dumps([annotation("a", 1.25), annotation("b", 1.75), annotation("c", 2)])
    )
    ids = [instruction_id(text) for text in "abc"]
    table = [
        "instruction_sha256_16,is_switched_seed0",
        f"{ids[0]},True",
        f"{ids[1]},0",
        f"{ids[2]},",
    ]
    (tmp_path / "instruction_table.csv").write_text("\n".join(table))
    found = read_annotation_verdicts(folder)
    assert [item.shares for item in found.items] == [
        [("model", 0.25)], [("baseline", 0.75)], []
    ]  # fmt: skip
    assert (found.repeated, found.items[0].lengths) == (0, (3.0, 2.0))


def test_a_model_in_two_files_is_found_with_others_between(tmp_path: Path) -> None:
    for name, model in (("1", "m"), ("2", "other"), ("3", "a")):
        (tmp_path / name).mkdir()
        rows = [annotation("x", 1.5, generator_2=model)]
        (tmp_path / name / "annotations.json").write_text(json.dumps(rows))
    assert [item.model for item in read_annotations(tmp_path)] == ["a", "m", "other"]
    (tmp_path / "4").mkdir()
    (tmp_path / "4" / "annotations.json").write_text(json.dumps([annotation("x", 1.5)]))
    with pytest.raises(BadData, match="m is annotated in both"):
        read_annotations(tmp_path)


def test_of_two_broken_files_the_first_is_named(tmp_path: Path) -> None:
    for name in "ba":
        (tmp_path / name).mkdir()
        (tmp_path / name / "annotations.json").write_text("{")
    with pytest.raises(BadData, match=r"a/annotations\.json"):
        read_annotations(tmp_path)
