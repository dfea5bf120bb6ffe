"""What methods declare and plan as preconditions, and the exam of KCA against planted facts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from harness.core.errors import UserError
from harness.core.records import Cell, parse
from harness.data.truths import truth_identity
from harness.engine.operations import Artifact, Row
from harness.engine.registry import entries, load
from harness.nano import planted
from harness.reproduce import reproduce
from methods.kca.decisions import Outcome
from tests.operation_runs import rows_artifact, run_operation

__all__ = ["rows_artifact", "run_operation"]

# Operations by method, in the order in which they are planned; none where suites measure all.
PLANNED: Mapping[str, tuple[str, ...]] = {
    "wrpo": ("compare_answers", "grade_pairs"),
    "fusechat3": ("compare_answers", "grade_pairs"),
    "fusellm": ("compare_readings",),
    "fusechat": ("compare_readings", "measure_changes", "measure_changes"),
    "psycot": ("score_ratings",),
    "adpa": ("compare_answers",),
    "kca": ("check_exam",),
    "seft": (),
    "mktod": (),
    "explore_instruct": (),
}
SUITES = {
    "psycot": ["personality_essays"],
    "fusellm": ["perplexity"],
    "fusechat": ["perplexity"],
    "kca": ["knowledge_exam"],
}


@pytest.mark.parametrize("name", [name for name in PLANNED if PLANNED[name]])
def test_a_method_measures_what_its_table_lists(name: str) -> None:
    made = reproduce(name, limit=4, suites=SUITES.get(name, ["alpaca_eval2"]))
    stages = [made.plan.stages[handle.id] for handle in made.preconditions]
    found = tuple(dict.fromkeys(stage.operation.name for stage in stages))
    assert found == tuple(dict.fromkeys(PLANNED[name]))
    assert {stage.params.suite for stage in stages} == {"preconditions"}  # type: ignore[attr-defined]
    assert {stage.params.scale for stage in stages} == {"nano"}  # type: ignore[attr-defined]
    assert made.board_spec().preconditions


@pytest.mark.parametrize("name", PLANNED)
def test_each_method_of_a_paper_declares_its_preconditions(name: str) -> None:
    declared = load("methods", name).preconditions
    assert declared is not None
    if isinstance(declared.listed, tuple):
        assert any(line.needs for line in declared.listed)
    assert (declared.plan is None) == (not PLANNED[name])


@pytest.mark.parametrize("name", [name for name in PLANNED if not PLANNED[name]])
def test_figures_that_are_only_named_belong_to_suites(name: str) -> None:
    suites = entries("suites")
    for line in load("methods", name).preconditions.lines(None):
        assert line.suite in suites
        metrics = [metric.name for metric in load("suites", line.suite).metrics]
        wanted = line.metric.split(":")[0]
        assert any(metric.split(":")[0] == wanted for metric in metrics)


def examined(n: int, right: int, question: str, need: bool = True) -> Row:
    return {
        "id": question,
        "messages": [{"role": "user", "content": question}],
        "requirement": {"value": {"need": need}},
        "outcome": Outcome(n=n, right=right).model_dump(mode="json"),
    }


def test_the_exam_is_compared_with_what_the_base_model_saw(
    run_operation: Callable[..., Artifact], rows_artifact: Callable[[list[Row]], Artifact]
) -> None:
    seen = planted.planted("half")
    facts = planted.listed(planted.split("train"))
    known = [fact.question for fact in facts if fact.name in seen][:3]
    unknown = [fact.question for fact in facts if fact.name not in seen][:3]
    rows = [
        examined(3, 3, known[0]),
        examined(3, 0, known[1]),  # judged wrongly
        examined(0, 0, known[2]),  # not examined
        examined(3, 1, unknown[0]),
        examined(3, 3, unknown[1]),  # judged wrongly
        examined(3, 0, unknown[2]),
        examined(0, 0, "Greet Mira.", need=False),
    ]
    about: dict[str, Any] = {
        "suite": "preconditions", "scale": "nano", "system": "known_half", "rounds": 50,
        "base": "nano:known_half", "base_digest": truth_identity("nano:known_half", "facts"),
    }  # fmt: skip
    made = run_operation("check_exam", about, examined=rows_artifact(rows))
    cells = {c["metric"]: parse(Cell, c, "cells") for c in made.read_json("cells.json")}
    assert (cells["known"].value, cells["known"].n_expected) == (50, 6)
    assert (cells["exam_right"].value, cells["exam_right"].n_expected) == (60, 5)
    assert cells["unknown_found"].value == pytest.approx(200 / 3)
    assert made.rows()[-1]["seen"] is None
    with pytest.raises(UserError, match="it is unknown which facts org/base has seen"):
        run_operation(
            "check_exam",
            {**about, "base": "org/base", "base_digest": ""},
            examined=rows_artifact(rows),
        )
