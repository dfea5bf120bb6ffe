"""Cells of AlpacaEval 2: the published tables, and failed judgments."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.core.errors import BadData
from harness.core.records import Cell
from harness.data.forms import instruction_id
from harness.engine.operations import Artifact, Row
from harness.suites.alpaca_eval2.cells import reference_digest
from tests.judging_runs import judging

Run = Callable[..., Artifact]
Make = Callable[[list[Row]], Artifact]
CELL = {
    "suite": "s",
    "system": "m",
    "scale": "nano",
    "judge": "j",
    "judge_fingerprint": "f",
    "rounds": 50,
}


def test_published_tables_replace_the_nano_anchors(
    tmp_path: Path, run_operation: Run, rows_artifact: Make
) -> None:
    generator = random.Random(0)
    prompts = [f"prompt {n}" for n in range(60)]
    tables = tmp_path / "tables"
    tables.mkdir()
    with (tables / "instruction_table.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["index", "instruction_difficulty", "instruction_sha256_16"])
        writer.writerows([n, n / 60, instruction_id(text)] for n, text in enumerate(prompts))
    with (tables / "df_gamed.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["preference", "std_delta_len", "instruction_difficulty", "index"])
        writer.writerows(
            [0.5 - 0.1 * gap, gap, n / 60, n] for gap in (-1.0, 1.0) for n in range(60)
        )
    rows = rows_artifact(
        [
            {
                "id": f"p{n}",
                "prompt": text,
                "answers": {"model": "x" * generator.randint(5, 90), "baseline": "y" * 40},
                "games": [],
                "preference": generator.random() ** 0.5,
            }
            for n, text in enumerate(prompts)
        ]
    )
    params = CELL | {"reference": str(tables), "reference_digest": reference_digest(str(tables))}
    made = run_operation("score_alpaca", params, judgments=rows)
    by_metric = {cell["metric"]: cell for cell in made.read_json("cells.json")}
    assert by_metric["lc_win_rate"]["details"]["formula"] == "length_controlled_v1"
    plain = run_operation("score_alpaca", CELL, judgments=rows).read_json("cells.json")
    assert plain[0]["details"]["formula"] == "length_controlled_minimal"
    with pytest.raises(BadData, match="tables changed"):
        run_operation("score_alpaca", params | {"reference_digest": "old"}, judgments=rows)


def test_cells_are_plain_json_without_nan(
    pair: tuple[Artifact, Artifact], run_operation: Run, rows_artifact: Make
) -> None:
    good, baseline = pair
    rows = good.rows()
    for row in rows[1:]:
        row["responses"] = []
    judged = run_operation(
        "judge_alpaca", judging("alpaca"), generations=rows_artifact(rows), baseline=baseline
    )
    made = run_operation("score_alpaca", CELL, judgments=judged)
    text = (made.path / "cells.json").read_text(encoding="utf-8")
    cells = json.loads(text, parse_constant=lambda name: pytest.fail(name))
    assert [cell["value"] for cell in cells] == [None, None]
    assert [(cell["n_expected"], cell["n_scored"], cell["n_failed"]) for cell in cells] == [
        (6, 1, 5),
        (6, 1, 5),
    ]


def judged_rows(lengths: list[int], preferences: list[float | None]) -> list[Row]:
    return [
        {
            "id": f"p{n}",
            "prompt": f"prompt {n}",
            "answers": {"model": "x" * length, "baseline": "y" * 40},
            "games": [],
            "preference": preference,
        }
        for n, (length, preference) in enumerate(zip(lengths, preferences, strict=True))
    ]


def cells_of(run_operation: Run, rows: Artifact) -> dict[str, Cell]:
    made = run_operation("score_alpaca", CELL, judgments=rows).read_json("cells.json")
    return {cell["metric"]: Cell.model_validate(cell) for cell in made}


def test_lengths_that_never_vary_identify_no_length_control(
    run_operation: Run, rows_artifact: Make
) -> None:
    generator = random.Random(1)
    preferences: list[float | None] = [generator.random() ** 0.5 for _ in range(60)]
    far = cells_of(run_operation, rows_artifact(judged_rows([80] * 60, preferences)))
    lc = far["lc_win_rate"]
    assert lc.details["length:not_identified"] is True
    assert (lc.interval.low, lc.interval.high) == (0, 100)
    assert (lc.interval.kind, lc.replicates) == ("not identified", ())
    assert far["win_rate"].interval.high < 100
    varied = [generator.randint(30, 80) for _ in range(60)]
    for lengths in ([40] * 60, varied):
        found = cells_of(run_operation, rows_artifact(judged_rows(lengths, preferences)))
        assert "length:not_identified" not in found["lc_win_rate"].details
        assert found["lc_win_rate"].interval.high < 100


def test_a_system_that_won_everything_has_room_below(
    run_operation: Run, rows_artifact: Make
) -> None:
    rows = judged_rows([30 + n for n in range(20)], [1.0] * 20)
    found = cells_of(run_operation, rows_artifact(rows))["win_rate"]
    assert found.value == 100
    assert found.interval.low == pytest.approx(86.09, abs=0.01)


def test_failed_rows_are_no_values(run_operation: Run, rows_artifact: Make) -> None:
    rows = judged_rows([30 + n for n in range(20)], [None, 0.25] + [1.0] * 18)
    found = cells_of(run_operation, rows_artifact(rows))
    assert found["win_rate"].resampled.values[:3] == (None, 25.0, 100.0)
    assert found["win_rate"].resampled.units == found["lc_win_rate"].resampled.units == 19
    assert found["lc_win_rate"].bounds is not None
