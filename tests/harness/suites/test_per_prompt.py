"""Suites from a function of prompt and answer: cells, failures, versions, conformance."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from harness.core.errors import BadData
from harness.engine.operations import Row
from harness.engine.plan import Plan
from harness.suites.base import Metric, Suite, System
from harness.suites.conformance import check_suite
from harness.suites.per_prompt import per_prompt_suite
from tests.harness.suites.conftest import Evaluate

METRICS = (
    Metric("answered", "%", "answers that give one"),
    Metric("brief", "%", "answers of at most 40 characters", primary=False),
)


def score(row: Row, response: str) -> Mapping[str, float]:
    return {"answered": float("Answer:" in response), "brief": len(response) <= 40}


def suite(
    version: int = 1, score: Callable[[Row, str], Mapping[str, float]] = score, **more: str
) -> Suite:
    prompts = more.get("prompts", "nano:alpaca_eval2")
    return per_prompt_suite(
        "test_suite",
        version=version,
        summary="s",
        prompts=prompts,
        score=score,
        metrics=METRICS,
    )


def test_every_metric_becomes_a_cell_with_interval_and_links(evaluate: Evaluate) -> None:
    outcome = evaluate(suite(), "good")
    answered, brief = outcome.cells["answered"], outcome.cells["brief"]
    texts = [row["responses"][0] for row in outcome.rows("score:test_suite")]
    assert answered.value == 100 * sum("Answer:" in text for text in texts) / 24
    assert brief.value == 100 * sum(len(text) <= 40 for text in texts) / 24
    assert (answered.primary, brief.primary) == (True, False)
    assert brief.interval is not None
    assert brief.interval.low <= outcome.value("brief") <= brief.interval.high
    assert len(brief.replicates) == 60
    assert {"samples", "generations"} <= set(brief.artifacts)
    assert outcome.rows("score:test_suite")[0]["metrics"]["answered"] == 1.0
    assert evaluate(suite(), "evasive").value("answered") < 50


def test_what_could_not_be_answered_is_counted_and_bounded(evaluate: Evaluate) -> None:
    cell = evaluate(suite(), "failing").cells["answered"]
    assert cell.n_failed > 0
    assert (cell.n_expected, cell.value) == (24, 100.0)
    assert cell.bounds == (pytest.approx(100 * cell.n_scored / 24), 100.0)


def test_two_versions_have_two_fingerprints(evaluate: Evaluate) -> None:
    first = evaluate(suite(), "good").cells["answered"]
    later = evaluate(suite(version=2), "good").cells["answered"]
    assert first.judge_fingerprint != later.judge_fingerprint
    assert first.prompt_set == later.prompt_set


@pytest.mark.parametrize(
    "found",
    [{"answered": 1.0}, {"answered": 2.0, "brief": 0}, {"answered": float("nan"), "brief": 0}],
)
def test_a_score_that_is_no_share_of_each_metric_is_refused(
    found: dict[str, float], evaluate: Evaluate
) -> None:
    with pytest.raises(BadData, match=r'row "alpaca_eval2/.*expected a share in \[0, 1\]'):
        evaluate(suite(score=lambda row, response: found), "good")


def test_it_conforms_and_its_stages_follow_the_version() -> None:
    check_suite(suite())
    plans = [Plan(), Plan(), Plan()]
    handles = []
    for plan, version in zip(plans, (1, 1, 2)):
        model = plan.stage("import_model", ref="nano:target")
        made = suite(version)
        handles.append(made.plan(System("s", model), made.settings(), plan.stage))
    assert handles[0] == handles[1] != handles[2]


def test_the_function_of_another_package_cannot_take_the_name() -> None:
    def other(row: Row, response: str) -> Mapping[str, float]:
        return {}

    suite()
    other.__module__ = "somewhere_else"
    with pytest.raises(ValueError, match="already defined"):
        suite(score=other)
