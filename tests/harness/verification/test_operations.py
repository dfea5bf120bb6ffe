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
from harness.verification.code import CodeCheck, Limits, isolation
from harness.verification.mathematics import MathCheck
from harness.verification.operations import (
    VerifyCodeParams,
    VerifyFinalAnswersParams,
    VerifyMathematicsParams,
    verify_code,
    verify_final_answers,
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


def test_settings_of_the_operations() -> None:
    common = {"field": "answer", "timeout_s": 5.0, "memory_mb": 2048, "batch_size": 64}
    assert VerifyMathematicsParams().model_dump() == common
    assert VerifyFinalAnswersParams().model_dump() == {**common, "rule": "values"}
    code = VerifyCodeParams()
    assert (code.field, code.entry_point, code.limits, code.static_only, code.batch_size) == (
        "tests", "entry_point", Limits(), False, 8,
    )  # fmt: skip
    assert "static_only" not in code.model_dump()
    assert VerifyCodeParams(static_only=True).model_dump()["static_only"] is True
    for kind, least in (
        (VerifyMathematicsParams, {"memory_mb": 256, "batch_size": 1}),
        (VerifyCodeParams, {"batch_size": 1}),
    ):
        assert kind(**least).model_dump(include=set(least)) == least
        for name, value in {**least, "timeout_s": 0}.items():
            with pytest.raises(ValueError):
                kind(**{name: value - 1})
    with pytest.raises(ValueError):
        VerifyMathematicsParams(timeout_s=0)


@pytest.mark.parametrize(
    ("name", "version", "batch"),
    [
        ("verify_mathematics", 1, 3),
        ("verify_final_answers", 1, 3),
        ("verify_code", 2, 3),
    ],
)
def test_stages_of_the_operations(name: str, version: int, batch: int) -> None:
    known = load_operation(name)
    assert (known.version, known.rows) == (version, "responses")
    assert known.batch_size is not None
    assert known.batch_size(known.params(batch_size=batch)) == batch
    algebra = ("math-verify", "latex2sympy2_extended", "sympy")
    assert known.libraries == (() if name == "verify_code" else algebra)


class Checker:
    """Stands for `MathChecker`: what it was made with and asked."""

    made: list[Any] = []

    def __init__(self, *args: Any) -> None:
        Checker.made.append(args)

    def __enter__(self) -> Checker:
        return self

    def __exit__(self, *_: object) -> None:
        Checker.made.append("closed")

    def check(self, gold: str, response: str) -> MathCheck:
        return MathCheck(correct=gold == response, reason=f"{gold}|{response}")

    check_answer: Any = check


def test_each_response_meets_the_gold_answer_of_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "MathChecker", Checker)
    monkeypatch.setattr(Checker, "made", [])
    rows: list[Row] = [
        {"id": "p", "gold": 7, "responses": ["7", "8"]},
        {"id": "q", "gold": "x", "responses": ["The answer is x."]},
    ]
    settings = {"field": "gold", "timeout_s": 3.0, "memory_mb": 512}
    first, second = run(verify_mathematics, VerifyMathematicsParams(**settings), rows)
    assert first["checks"] == [
        {"correct": True, "reason": "7|7"},
        {"correct": False, "reason": "7|8"},
    ]
    assert second["checks"] == [{"correct": False, "reason": "x|The answer is x."}]
    assert Checker.made == [(3.0, 512), "closed"]
    first, second = run(verify_final_answers, VerifyFinalAnswersParams(**settings), rows)
    assert (first["found"], second["found"]) == (["7", "8"], ["x"])
    assert second["checks"] == [{"correct": True, "reason": "x|x"}]
    assert first["gold"] == 7
    with pytest.raises(BadData, match='row "r" has no gold'):
        run(verify_final_answers, VerifyFinalAnswersParams(**settings), [{"id": "r"}])


def test_the_released_rule_needs_no_algebra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "MathChecker", None)
    params = VerifyFinalAnswersParams(rule="compat")
    rows: list[Row] = [{"id": "p", "answer": "35", "responses": ["It is 3.5", "It is 7"]}]
    (row,) = run(verify_final_answers, params, rows)
    assert row["checks"] == [{"correct": True, "reason": ""}, {"correct": False, "reason": ""}]
    assert (row["found"], row["id"]) == (["35", "7"], "p")
    with pytest.raises(BadData, match='row "r" has no answer'):
        run(verify_final_answers, params, [{"id": "r", "answer": ""}])


def test_code_is_checked_with_the_settings_of_run_and_row(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    def check(*args: Any, **more: Any) -> CodeCheck:
        calls.append((args, more))
        return CodeCheck(static_ok=True, tests_passed=1, tests_total=1)

    monkeypatch.setattr(operations, "check_code", check)
    rows: list[Row] = [
        {"id": "p", "own": "assert a\nassert b", "name": "f", "responses": ["```\nx\n```"]},
        {"id": "q", "own": ["assert c"], "name": None, "responses": ["y"]},
    ]
    params = VerifyCodeParams(field="own", entry_point="name", limits=Limits(files=3))
    (first, _) = run(verify_code, params, rows)
    allowed = {"allow_code_execution": True, "allow_weak_isolation": False}
    assert calls == [
        (("x\n", ("assert a", "assert b"), Limits(files=3)), {"entry_point": "f", **allowed}),
        (("y", ["assert c"], Limits(files=3)), {"entry_point": "", **allowed}),
    ]
    assert first["checks"][0]["tests_passed"] == 1
    long = [{"id": "r", "own": ["a"], "responses": ["x = 1\n" + "#" * 100_000 + "\n("]}]
    (row,) = run(verify_code, params.model_copy(update={"static_only": True}), long, allow=False)
    assert row["checks"] == [{"static_ok": True, "reason": ""}]
