"""Cells of AlpacaEval 2: the published tables, and failed judgments."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.core.errors import BadData
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
