"""Checks as stages: permission, resumption, what a row gets."""

from __future__ import annotations

import json
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import BadData, EnvironmentProblem, UserError
from harness.data.prompts import prompts_identity
from harness.engine.calls import CallSettings, Services
from harness.engine.operations import Artifact, Row
from harness.engine.plan import Plan
from harness.engine.registry import load_operation
from harness.engine.run import InlineExecutor
from harness.engine.store import Store
from harness.verification import operations
from harness.verification.code import isolation
from harness.verification.operations import (
    VerifyCodeParams,
    VerifyMathematicsParams,
    verify_code,
    verify_mathematics,
)

ROWS: list[Row] = [
    {"id": "p", "tests": "assert f(1) == 2\nassert f(2) == 3", "answer": "2", "responses": [
        "```python\ndef f(x): return x + 1\n```", "```python\ndef f(x): return 2\n```", "No."]},
    {"id": "q", "tests": ["assert f() is None"], "answer": 7, "responses": ["def f(): pass"]},
]  # fmt: skip


class Context:
    def __init__(self, allow: bool) -> None:
        self.services = Services(CallSettings(allow_code_execution=allow))


def run(function: Any, params: Any, rows: list[Row] = ROWS, allow: bool = True) -> list[Row]:
    batches = iter([[row] for row in rows])
    found = function(Context(allow), params, batches, responses=Artifact("r", Path()))
    return [row for batch in found for row in batch]


def test_code_needs_the_permission_of_the_run() -> None:
    with pytest.raises(UserError, match="--allow-code-execution"):
        run(verify_code, VerifyCodeParams(), allow=False)
    with pytest.raises(ValueError):
        VerifyCodeParams(allow_code_execution=True)  # type: ignore[call-arg]


def test_a_look_at_code_runs_nothing_and_needs_no_permission() -> None:
    first, second = run(verify_code, VerifyCodeParams(static_only=True), allow=False)
    assert [check["static_ok"] for check in first["checks"]] == [True, True, False]
    assert set(second["checks"][0]) == {"static_ok", "reason"}


def test_code_of_each_response_is_checked() -> None:
    try:
        how = isolation()
    except EnvironmentProblem as problem:
        pytest.skip(str(problem))
    first, second = run(verify_code, VerifyCodeParams())
    passed = [(c["static_ok"], c["tests_passed"], c["tests_total"]) for c in first["checks"]]
    assert passed == [(True, 2, 2), (True, 1, 2), (False, 0, 2)]
    assert second["checks"][0]["isolation"] == how
    assert first["responses"] == ROWS[0]["responses"]


def test_mathematics_of_each_response_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    if find_spec("math_verify") is None:
        pytest.skip("needs math-verify")
    monkeypatch.setattr(os, "cpu_count", lambda: 1)  # a child process each
    rows = [{"id": "p", "answer": 7, "responses": ["\\boxed{7}", "It is 8.", "?"]}]
    (row,) = run(verify_mathematics, VerifyMathematicsParams(timeout_s=30), rows)
    assert [check["correct"] for check in row["checks"]] == [True, False, None]


@pytest.mark.parametrize(
    ("function", "params", "field"),
    [
        (verify_code, VerifyCodeParams(), "tests"),
        (verify_mathematics, VerifyMathematicsParams(), "answer"),
    ],
)
def test_rows_without_a_gold_answer_or_tests_are_named(
    function: Any, params: Any, field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.verification.mathematics.find_spec", lambda name: True)
    with pytest.raises(BadData, match=f'row "x" has no {field}'):
        run(function, params, [{"id": "x", field: [], "responses": ["a"]}])


def test_from_responses_to_training_rows_in_the_engine(tmp_path: Path) -> None:
    try:
        isolation()
    except EnvironmentProblem as problem:
        pytest.skip(str(problem))
    path = tmp_path / "rows.jsonl"
    rows = [{**row, "prompt": "?", "system": "a", "rewards": [0.1] * 3} for row in ROWS[:1]]
    path.write_text("\n".join(map(json.dumps, rows)))
    plan = Plan()
    responses = plan.stage("import_prompts", ref=str(path), digest=prompts_identity(str(path)))
    checked = plan.stage("verify_code", responses=responses, limits={"wall_s": 20.0})
    table = plan.stage("candidate_table", answered=[checked], domain="code")
    rules = {"code": {"verified": True, "gap": None, "split": "pairs_first"}}
    chosen = plan.stage(
        "select_training_rows", candidates=[table], part="preference", rules=rules, seed=1
    )
    store = Store(tmp_path / "store")
    with pytest.raises(UserError, match="--allow-code-execution"):
        InlineExecutor().execute(plan, [chosen], store)
    allowed = InlineExecutor(Services(CallSettings(allow_code_execution=True)))
    assert len(allowed.execute(plan, [chosen], store).executed) == 3
    assert InlineExecutor().execute(plan, [chosen], store).executed == ()
    (row,) = store.artifact(chosen.id).rows()
    assert row["responses"] == {
        "chosen": ROWS[0]["responses"][0],
        "rejected": ROWS[0]["responses"][1],
    }


def test_the_operations_are_registered() -> None:
    for name in ("verify_code", "verify_mathematics", "candidate_table", "select_training_rows"):
        assert load_operation(name).name == name
    assert operations.verify_code is verify_code
