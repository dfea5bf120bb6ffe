"""A judge of hallucination against labels, as a suite and by `judge-agreement`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import BadData, UserError
from harness.core.records import Cell, parse
from harness.engine.plan import Plan
from harness.engine.run import InlineExecutor
from harness.engine.store import Store
from harness.judging.agreement import compare
from harness.judging.verdict_sets import read_verdicts, verdicts_of_rows
from harness.nano import knowledge
from harness.suites.base import System
from harness.suites.hallucination import suite as suites
from harness.suites.hallucination.agreement import LabelAnswersParams, labelled
from leaderboards.compact import recomputed

SUITE = suites.HALLUCINATION_JUDGE


def cells_of(judge: str, store: Store, **settings: Any) -> tuple[dict[str, Cell], list[Any]]:
    """Cells of a judge, and its judged rows."""
    plan = Plan()
    system = System("judge", plan.stage("import_model", ref=judge))
    given = parse(SUITE.settings, {"rounds": 40, **settings}, "test")
    handle = SUITE.plan(system, given, plan.stage)
    InlineExecutor().execute(plan, [handle], store)
    data = store.artifact(handle.id).read_json("cells.json")
    judged = next(id for id, stage in plan.stages.items() if stage.operation.name == "ask")
    cells = {cell["metric"]: parse(Cell, cell, "cells.json") for cell in data}
    return cells, store.artifact(judged).rows()


def test_a_perfect_and_an_erring_judge(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    perfect, _ = cells_of("nano:oracle", store)
    for name in ("judge_precision", "judge_recall", "judge_f1", "judge_agreement"):
        assert perfect[name].value == 100, name
    assert perfect["judge_kappa"].value == 1
    assert perfect["judge_kappa"].judge == "people"
    erring, rows = cells_of("nano:oracle?judge_error=0.25", store)
    kappa = erring["judge_kappa"]
    assert recomputed(kappa.prompt_set, kappa.resampled, 40) == pytest.approx(
        kappa.replicates, abs=1e-4
    )
    pairs = [(row["hallucination"]["value"]["score"], row["label"]) for row in rows]
    both = sum(said == label == 1 for said, label in pairs)
    said = sum(said for said, _ in pairs)
    people = sum(label for _, label in pairs)
    assert erring["judge_precision"].value == pytest.approx(100 * both / said)
    assert erring["judge_recall"].value == pytest.approx(100 * both / people)
    assert erring["judge_f1"].value == pytest.approx(200 * both / (said + people))
    assert erring["judge_precision"].interval is not None
    assert erring["judge_kappa"].details["called hallucinated by people"] == people == 32


def test_both_ways_to_measure_a_judge_agree(tmp_path: Path) -> None:
    cells, rows = cells_of("nano:oracle?judge_error=0.25", Store(tmp_path / "store"))
    file = tmp_path / "labels.jsonl"
    people = [
        {"id": row["id"], "question": row["messages"][0]["content"], "response": row["response"],
         "label": bool(row["label"])}
        for row in knowledge.rows("nano:labelled").rows
    ]  # fmt: skip
    file.write_text("".join(json.dumps(row) + "\n" for row in people))
    ours = verdicts_of_rows(rows, "judged", operation="ask", judge="oracle")
    found = compare(ours, read_verdicts(file), rounds=40)
    for name in ("precision", "recall", "kappa", "agreement"):
        figure = found.figure(name)
        assert figure is not None
        assert figure.value == pytest.approx(cells[f"judge_{name}"].value), name
    turned = compare(read_verdicts(file), ours, rounds=40)
    assert turned.figure("precision").value == found.figure("recall").value  # type: ignore[union-attr]


def test_other_answers_are_not_compared(tmp_path: Path) -> None:
    file, other = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    row = {"id": "1", "user_query": "q", "chatgpt_response": "a", "hallucination": "no"}
    file.write_text(json.dumps(row) + "\n")
    other.write_text(json.dumps({**row, "chatgpt_response": "b"}) + "\n")
    with pytest.raises(BadData, match="different answers"):
        compare(read_verdicts(file), read_verdicts(other))


@pytest.mark.parametrize(
    ("label", "expected"),
    [("yes", 1), ("No", 0), (True, 1), (0, 0), (1.0, 1), (" true ", 1)],
)
def test_labels_in_the_forms_of_files(label: object, expected: int) -> None:
    made = labelled({"id": "a", "response": "x", "label": label})
    assert (made["label"], made["responses"]) == (expected, ["x"])
    assert "response" not in made


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"response": "x", "label": 0.5}, "label 0.5; expected a text, and yes or no"),
        ({"response": "x", "label": float("nan")}, "label nan"),
        ({"response": "x", "label": "maybe"}, "label 'maybe'"),
        ({"response": None, "label": 1}, "response is None"),
        ({"label": 1}, "has no answer; expected a column response or chatgpt_response"),
        ({"response": "x"}, "has no label"),
    ],
)
def test_bad_labels_are_named(row: dict[str, Any], message: str) -> None:
    with pytest.raises(BadData, match=message):
        labelled({"id": "a", **row})


def test_columns_can_be_named() -> None:
    found = labelled(
        {"id": "a", "said": "x", "bad": "yes"}, LabelAnswersParams(answer="said", label="bad")
    )
    assert (found["responses"], found["label"]) == (["x"], 1)


def test_a_file_of_outputs_is_no_judge() -> None:
    plan = Plan()
    model = plan.stage("import_model", ref="nano:oracle")
    with pytest.raises(UserError, match="cannot judge"):
        SUITE.plan(System("f", model, stored=True), SUITE.settings(), plan.stage)
