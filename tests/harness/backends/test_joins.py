"""What stored outputs answer, counted before anything is asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.backends.joins import stored_joins
from harness.core.errors import BadData
from harness.engine.plan import Plan
from harness.models.references import model_identity

QUESTIONS = [{"id": f"q{number}", "prompt": f"Question {number}?"} for number in range(4)]


def written(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return str(path)


def planned(tmp_path: Path, outputs: list[dict[str, Any]]) -> tuple[Plan, Any]:
    plan = Plan()
    file = written(tmp_path / "outputs.jsonl", outputs)
    questions = written(tmp_path / "questions.jsonl", QUESTIONS)
    model = plan.stage("import_model", ref=file, digest=model_identity(file))
    prompts = plan.stage("import_prompts", ref=questions, limit=3)
    return plan, plan.stage("sample", prompts=prompts, model=model, n=1)


def test_each_suite_is_told_how_many_of_its_prompts_a_file_answers(tmp_path: Path) -> None:
    outputs: list[dict[str, Any]] = [{"id": f"q{number}", "answers": ["x"]} for number in (0, 3)]
    plan, samples = planned(tmp_path, [*outputs, {"id": "q2", "answers": [None]}])
    (join,) = stored_joins(plan, {"mine": samples})
    assert (join.records, join.prompts, join.answered, join.lacking) == (3, 3, 2, 1)
    assert str(join).endswith(
        "outputs.jsonl: 3 records, 1 null; 2 of 3 prompts of mine (1 of them without a usable "
        "output)"
    )


def test_a_file_for_other_prompts_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    plan, samples = planned(tmp_path, [{"id": "q3", "answers": ["x"]}])
    with pytest.raises(BadData, match="answers none of the 3 prompts of mine; the first is"):
        stored_joins(plan, {"mine": samples})


def test_a_baseline_from_a_file_is_counted_and_a_model_is_not(tmp_path: Path) -> None:
    plan = Plan()
    questions = written(tmp_path / "questions.jsonl", QUESTIONS)
    baseline = written(tmp_path / "base.jsonl", [{"id": "q1", "answers": ["x"]}])
    prompts = plan.stage("import_prompts", ref=questions)
    model = plan.stage("import_model", ref="nano:target", digest=model_identity("nano:target"))
    answers = plan.stage("import_answers", prompts=prompts, source=baseline)
    samples = plan.stage("sample", prompts=prompts, model=model)
    assert [join.answered for join in stored_joins(plan, {"mine": answers})] == [1]
    assert stored_joins(plan, {"mine": samples}) == []
