"""Judging operations on their own: refusals, orders, and the published length-control tables."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import harness.judging.operations
import harness.suites.alpaca_eval2.cells
from harness.core.errors import BadData, CrucibleError
from harness.engine.operations import Artifact, Row
from harness.judging.judge import open_judge, protocol
from harness.nano import world
from harness.suites.alpaca_eval2.cells import reference_digest
from harness.suites.alpaca_eval2.metrics import instruction_id
from harness.suites.scoring import prompt_set_hash

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


def judging(kind: str, **more: Any) -> dict[str, Any]:
    judge = "nano:oracle"
    rules = protocol(kind)
    return {"judge": judge, "fingerprint": open_judge(judge, rules).fingerprint, **more}


def answered(item: world.Item, text: str | None) -> Row:
    return {
        "id": item.id,
        "messages": [{"role": "user", "content": item.turns[0]}],
        "responses": [] if text is None else [text],
        "difficulty": item.difficulty,
        "category": item.category,
    }


@pytest.fixture
def pair(rows_artifact: Make) -> tuple[Artifact, Artifact]:
    """Good answers and the baseline's, to six prompts."""
    items = world.items("alpaca_eval2", 6)
    good = rows_artifact([answered(i, world.reference_answer(i)) for i in items])
    return good, rows_artifact([answered(i, world.baseline_answer(i)) for i in items])


def test_a_judge_that_changed_since_the_plan_is_refused(
    pair: tuple[Artifact, Artifact], run_operation: Run
) -> None:
    good, baseline = pair
    stale = judging("arena", fingerprint="0123456789abcdef")
    with pytest.raises(CrucibleError, match="changed since the plan was made"):
        run_operation("judge_arena", stale, generations=good, baseline=baseline)


def test_a_baseline_for_other_prompts_is_refused(
    pair: tuple[Artifact, Artifact], run_operation: Run, rows_artifact: Make
) -> None:
    good, baseline = pair
    rows = baseline.rows()
    with pytest.raises(BadData, match="no answer to prompt"):
        run_operation(
            "judge_arena", judging("arena"), generations=good, baseline=rows_artifact(rows[1:])
        )
    rows[0]["messages"] = rows[1]["messages"]
    with pytest.raises(BadData, match="answers another prompt"):
        run_operation(
            "judge_alpaca", judging("alpaca"), generations=good, baseline=rows_artifact(rows)
        )


def test_batches_do_not_change_a_judgment(
    pair: tuple[Artifact, Artifact], run_operation: Run
) -> None:
    good, baseline = pair
    one, many = (
        run_operation(
            "judge_arena",
            judging("arena", batch_size=size),
            generations=good,
            baseline=baseline,
        ).rows()
        for size in (1, 4)
    )
    assert one == many


def test_equal_answers_are_a_draw_without_a_call(
    pair: tuple[Artifact, Artifact], run_operation: Run
) -> None:
    _, baseline = pair
    rows = run_operation(
        "judge_alpaca", judging("alpaca"), generations=baseline, baseline=baseline
    ).rows()
    assert all(row["preference"] == 0.5 and row["games"] == [] for row in rows)


def test_the_order_depends_on_the_instruction_alone(
    pair: tuple[Artifact, Artifact], run_operation: Run
) -> None:
    good, baseline = pair
    there, back = (
        run_operation("judge_alpaca", judging("alpaca"), generations=a, baseline=b).rows()
        for a, b in ((good, baseline), (baseline, good))
    )
    orders = [[row["games"][0]["first"] for row in rows if row["games"]] for rows in (there, back)]
    assert orders[0] == orders[1]


def test_published_tables_replace_the_nano_anchors(
    tmp_path: Path, run_operation: Run, rows_artifact: Make
) -> None:
    assert harness.suites.alpaca_eval2.cells
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
    with pytest.raises(BadData, match="changed since the plan"):
        run_operation("score_alpaca", params | {"reference_digest": "old"}, judgments=rows)


def test_cells_are_plain_json_without_nan(
    pair: tuple[Artifact, Artifact], run_operation: Run, rows_artifact: Make
) -> None:
    assert harness.judging.operations
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


def test_the_prompt_set_is_ids_and_texts_whatever_their_order() -> None:
    forward = {"a": ["x"], "b": ["y", "z"]}
    assert prompt_set_hash(forward) == prompt_set_hash(dict(reversed(forward.items())))
    assert prompt_set_hash(forward) != prompt_set_hash({"a": ["x"], "b": ["y"]})
    assert prompt_set_hash(forward) != prompt_set_hash({"b": ["x"], "a": ["y", "z"]})
