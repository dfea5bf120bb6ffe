"""Planned runs: hosted models and their prices, and failed rows that are forgotten."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from harness.api.executors import check_machines, local_paths, stays_here
from harness.api.hosted_models import hosted, price_of
from harness.cli.estimate import show_hosted
from harness.core.errors import EnvironmentProblem, UnknownName
from harness.engine.calls import CallSettings
from harness.engine.plan import Plan
from harness.engine.store import Store
from harness.nano.faults import FaultScript, fault
from harness.nano.server import NanoServer
from harness.reproduce import evaluate, reproduce

JUDGE = "openai:gpt-4-1106-preview"


def test_hosted_models_are_counted_and_priced(monkeypatch: pytest.MonkeyPatch) -> None:
    made = evaluate("nano:target", "alpaca_eval2", judge=JUDGE, edition="nano", limit=10)
    ((name, asked),) = hosted(made.plan, made.todo(None)).items()
    assert (name, asked.unknown) == ("gpt-4-1106-preview", 0)
    assert asked.requests >= 10
    assert asked.tokens_in > asked.tokens_out > 0
    price, batch = (price_of(name, CallSettings(batch=batch)) for batch in (False, True))
    assert price is not None
    assert batch is not None
    assert batch.cost(1000, 10) == pytest.approx(price.cost(1000, 10) / 2)
    assert price_of(f"{name}@http://127.0.0.1:9/v1", CallSettings()) is None


def test_a_missing_key_is_noticed_before_the_first_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    made = evaluate("nano:target", "alpaca_eval2", judge=JUDGE, edition="nano", limit=3)
    with pytest.raises(EnvironmentProblem, match="OPENAI_API_KEY is not set"):
        made.run(tmp_path / "store")
    assert made.store is not None
    assert not made.store.ids()


def test_several_machines_without_a_cluster_are_noticed_before_the_first_stage(
    tmp_path: Path,
) -> None:
    launch = ["train.launch.processes=2", "train.launch.machines=2"]
    made = reproduce("dpo", limit=4, overrides=launch)
    with pytest.raises(EnvironmentProblem, match="train dpo: a launch over 2 machines needs a cl"):
        made.run(tmp_path / "store")
    assert made.store is not None
    assert not made.store.ids()
    check_machines(made.todo(None), CallSettings(executor="ray"))


def test_what_leaves_this_process_and_what_stays() -> None:
    made = evaluate("nano:target", "alpaca_eval2", judge=JUDGE, edition="nano", limit=3)
    here = {s.operation.name for s in made.plan.stages.values() if stays_here(made.plan, s)}
    assert here == {"judge_alpaca"}
    assert not local_paths(made.plan)


def test_paths_that_a_plan_reads_are_those_that_exist(tmp_path: Path) -> None:
    outputs = tmp_path / "outputs.jsonl"
    outputs.write_text("")
    plan = Plan()
    for ref in (str(outputs), str(tmp_path / "absent"), "org/model", "nano:target"):
        plan.stage("import_model", ref=ref)
    assert local_paths(plan) == [str(outputs)]


def test_stages_are_computed_again_on_request(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    made = evaluate("nano:target", "alpaca_eval2", edition="nano", limit=3)
    made.run(store)
    assert made.todo(store) == []
    before = made.cells
    assert made.forget(store, "judge_alpaca") >= 2  # and the scores
    names = [stage.operation.name for stage in made.todo(store)]
    assert names[-1] == "score_alpaca"
    assert "sample" not in names
    made.run(store)
    assert made.cells == before
    assert made.forget(store, "all") == len(made.plan.needed(made.targets, []))
    with pytest.raises(UnknownName, match='did you mean "sample"'):
        made.forget(store, "smaple")


def test_failed_rows_are_forgotten_with_what_was_made_of_them(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    calls = CallSettings(retries=0, concurrency=1)
    with NanoServer(faults=FaultScript(faults=(fault("500@1,2"),))) as flaky:
        judge = f"openai:nano-oracle@{flaky.url}"
        made = evaluate("nano:target", "alpaca_eval2", judge=judge, edition="nano", limit=6)
        made.run(store, calls=calls)
        assert sum(cell.n_failed for cell in made.cells if cell.metric == "win_rate") > 0
        (asked,) = made.account.models.values()
        assert made.forget_failures(store) == 2
        assert made.todo(store)
        made.run(store, calls=calls)
        (again,) = made.account.models.values()
        assert again.requests < asked.requests
        assert made.forget_failures(store) == 0


def test_the_requests_of_a_search_are_bounds_on_a_line_of_their_own() -> None:
    made = reproduce("explore_instruct", "paper", overrides=["models.base.ref=nano:symbols"])
    out = io.StringIO()
    show_hosted(Console(file=out, width=200), made.plan, made.todo(None), CallSettings())
    expected, bound = out.getvalue().splitlines()
    assert "about" in expected
    assert "at most 9,790 requests, at most 14,685,000 tokens in" in bound
    assert "at most 51.40 USD" in bound
    assert "about" not in bound
