"""Suites: conformance of the built-ins and the stages they plan."""

from __future__ import annotations

from typing import Any

import pytest

from harness.core.errors import BadRecord, UserError
from harness.core.records import parse
from harness.engine import registry
from harness.engine.plan import Handle, Plan
from harness.judging.judge import open_judge, protocol
from harness.suites.alpaca_eval2 import suite as alpaca_eval2
from harness.suites.arena_hard import suite as arena_hard
from harness.suites.base import Decode, Suite, System
from harness.suites.mt_bench import suite as mt_bench
from harness.testing import check_judge, check_suite

SUITES = [alpaca_eval2.SUITE, arena_hard.SUITE, mt_bench.SUITE]


class Recorder:
    """A `stage` that only writes down what it was asked for."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, name: str, /, **arguments: Any) -> Handle:
        self.calls.append((name, arguments))
        return Handle(f"{name}-{len(self.calls)}")

    def names(self) -> list[str]:
        return [name for name, _ in self.calls]

    def of(self, name: str) -> list[dict[str, Any]]:
        return [arguments for called, arguments in self.calls if called == name]


def planned(suite: Suite, decode: Decode | None = None, **settings: Any) -> Recorder:
    stage = Recorder()
    system = System("tuned", Handle("model"), scale="nano", seed=3, decode=decode)
    handle = suite.plan(system, parse(suite.settings, settings, "test"), stage)
    assert handle.id == f"{stage.names()[-1]}-{len(stage.calls)}"
    return stage


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
def test_built_in_suites_conform(suite: Suite) -> None:
    check_suite(suite)
    assert registry.load("suites", suite.name) is suite


@pytest.mark.parametrize("kind", ["alpaca", "arena", "rating", "pairwise"])
def test_the_oracle_conforms(kind: str) -> None:
    check_judge(open_judge("nano:oracle", protocol(kind)))


def test_alpaca_eval_judges_the_anchors_like_the_system() -> None:
    stage = planned(alpaca_eval2.SUITE)
    assert stage.names() == [
        "import_prompts",
        "import_answers",
        "sample",
        "judge_alpaca",
        "import_answers",
        "import_answers",
        "judge_alpaca",
        "judge_alpaca",
        "score_alpaca",
    ]
    system, *anchors = stage.of("judge_alpaca")
    assert all(call["baseline"] == system["baseline"] for call in anchors)
    assert all(call["fingerprint"] == system["fingerprint"] for call in anchors)
    assert [call["source"] for call in stage.of("import_answers")] == [
        "nano:plain",
        "nano:verbose",
        "nano:concise",
    ]
    (score,) = stage.of("score_alpaca")
    assert len(score["anchors"]) == 2
    assert score["judge_fingerprint"] == system["fingerprint"]


def test_alpaca_eval_without_anchors_passes_none() -> None:
    stage = planned(alpaca_eval2.SUITE, anchors=[])
    assert stage.names().count("judge_alpaca") == 1
    assert "anchors" not in stage.of("score_alpaca")[0]


def test_arena_hard_plans_one_line() -> None:
    stage = planned(arena_hard.SUITE, limit=5, style_features=["length"])
    assert stage.names() == [
        "import_prompts",
        "import_answers",
        "sample",
        "judge_arena",
        "score_arena",
    ]
    assert stage.of("import_prompts")[0]["limit"] == 5
    assert stage.of("sample")[0]["temperature"] == 0
    assert stage.of("score_arena")[0]["style_features"] == ("length",)


def test_mt_bench_answers_each_category_at_its_temperature() -> None:
    stage = planned(mt_bench.SUITE)
    first, second = stage.of("sample")[::2], stage.of("sample")[1::2]
    assert [call["temperature"] for call in first] == [0.0, 0.1, 0.7]
    assert [call["temperature"] for call in second] == [0.0, 0.1, 0.7]
    assert stage.names()[-4:] == [
        "sample",
        "join_rows",
        "judge_mt_bench",
        "score_mt_bench",
    ]
    follow = stage.of("follow_up")
    assert all(call["responses"].id.startswith("sample-") for call in follow)
    assert all(call["prompts"].id.startswith("follow_up-") for call in second)
    assert {call["seed"] for call in first} != {call["seed"] for call in second}


def test_mt_bench_with_one_temperature_needs_no_groups() -> None:
    for stage in (
        planned(mt_bench.SUITE, by_category=False),
        planned(mt_bench.SUITE, decode=Decode(temperature=0.3)),
    ):
        assert stage.names()[:2] == ["import_prompts", "import_answers"]
        assert stage.names()[2:5] == ["sample", "follow_up", "sample"]
    assert stage.of("sample")[0]["temperature"] == 0.3


def test_mt_bench_compares_with_the_baseline_when_asked() -> None:
    stage = planned(mt_bench.SUITE, by_category=False, pairwise=True)
    assert "judge_mt_bench_pairwise" in stage.names()
    (score,) = stage.of("score_mt_bench")
    assert score["pairwise_fingerprint"] != score["judge_fingerprint"]
    assert "pairwise" not in planned(mt_bench.SUITE).of("score_mt_bench")[0]


def test_a_system_may_bring_its_own_decoding() -> None:
    stage = planned(alpaca_eval2.SUITE, decode=Decode(temperature=0.2, max_tokens=64))
    assert stage.of("sample")[0]["temperature"] == 0.2
    plain = planned(alpaca_eval2.SUITE)
    fingerprints = {run.of("score_alpaca")[0]["decode_fingerprint"] for run in (stage, plain)}
    assert len(fingerprints) == 2


def test_a_plan_estimates_rows_and_tokens_of_every_judging_stage() -> None:
    for suite, calls in ((alpaca_eval2.SUITE, 40), (arena_hard.SUITE, 80), (mt_bench.SUITE, 80)):
        plan = Plan()
        model = plan.stage("import_model", ref="nano:target")
        suite.plan(System("s", model), parse(suite.settings, {"limit": 40}, "test"), plan.stage)
        estimates = plan.estimates()
        for id, stage in plan.stages.items():
            if stage.operation.name.startswith("judge_"):
                assert estimates[id].rows == 40
                tokens = estimates[id].tokens
                assert tokens is not None
                assert tokens > 1000 * calls
            if stage.operation.name in ("sample", "follow_up", "join_rows"):
                assert estimates[id].rows


def test_the_judge_and_its_biases_are_part_of_the_plan() -> None:
    fingerprints = {
        planned(arena_hard.SUITE, judge=judge).of("judge_arena")[0]["fingerprint"]
        for judge in ("nano:oracle", "nano:oracle?position_bias=0")
    }
    assert len(fingerprints) == 2
    orders = {
        planned(alpaca_eval2.SUITE, orders=orders).of("score_alpaca")[0]["judge_fingerprint"]
        for orders in ("switched", "both")
    }
    assert len(orders) == 2


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"judge": "nano:orakel"}, UserError, "nano:oracle"),
        ({"prompts": "missing.jsonl"}, UserError, "missing.jsonl"),
        ({"baseline": "missing.jsonl"}, UserError, "missing.jsonl"),
        ({"limt": 3}, BadRecord, 'did you mean "limit"'),
    ],
)
def test_wrong_settings_fail_before_anything_runs(
    settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        planned(arena_hard.SUITE, **settings)
