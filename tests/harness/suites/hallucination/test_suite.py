"""The hallucination suites on the nano world, through the real engine."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import EnvironmentProblem, UserError
from harness.core.records import Cell, Record, parse
from harness.engine import registry
from harness.engine.operations import Artifact, Context, Row, operation
from harness.engine.plan import Handle, Plan
from harness.engine.run import InlineExecutor
from harness.engine.store import Store
from harness.nano import knowledge
from harness.suites.base import Suite, System
from harness.suites.editions import resolve_settings
from harness.suites.hallucination import suite as suites
from harness.suites.hallucination.refusals import SENTENCE
from harness.testing import check_suite

ALL = {
    "hallucination": suites.SUITE,
    "hallucination_lima": suites.LIMA,
    "hallucination_vicuna": suites.VICUNA,
    "hallucination_wizardlm": suites.WIZARDLM,
    "hallucination_truthfulqa": suites.TRUTHFULQA,
    "rouge_ms_marco": suites.MS_MARCO,
    "rouge_aci_bench": suites.ACI_BENCH,
    "simple_qa": suites.SIMPLE_QA,
    "hallucination_judge": suites.HALLUCINATION_JUDGE,
}
REPLIES = (
    "right", "wrong", "refused", "partial", "empty", "failed",
)  # fmt: skip


class WrittenParams(Record):
    """replies: what the rows get in turn, of `REPLIES`."""

    replies: tuple[str, ...]


@operation("written_facts", version=1, params=WrittenParams, rows="prompts")
def written_facts(
    context: Context, params: WrittenParams, batches: Iterable[list[Row]], *, prompts: Artifact
) -> Iterator[list[Row]]:
    """Answers of known kinds, in the order of the rows."""
    number = 0
    for batch in batches:
        made = []
        for row in batch:
            made.append({**row, **_written(row, params.replies[number % len(params.replies)])})
            number += 1
        yield made


def _written(row: Row, kind: str) -> Row:
    fact = next(f for f in knowledge.all_facts() if f.question == row["messages"][0]["content"])
    wrong = next(value for value in fact.pool if value != fact.value)
    text = {
        "right": fact.statement,
        "wrong": fact.statement.replace(fact.value, wrong),
        "refused": SENTENCE,
        "partial": f"{SENTENCE} It may be {fact.value}.",
        "empty": " ",
    }.get(kind)
    if text is None:
        return {"responses": [], "finish": [], "error": "the prompt is too long"}
    return {"responses": [text], "finish": ["stop"]}


Run = Callable[..., dict[str, Cell]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """`run(SUITE, ("right", "wrong"), **settings)`: cells of a system with these answers."""

    def evaluate(suite: Suite, replies: tuple[str, ...], **settings: Any) -> dict[str, Cell]:
        plan, store = Plan(), Store(tmp_path / "store")
        answers: list[Handle] = []

        def stage(name: str, /, **given: Any) -> Handle:
            if name == "sample":
                answers.append(
                    plan.stage("written_facts", prompts=given["prompts"], replies=replies)
                )
                return answers[-1]
            if name.startswith("score_") and name != "score_texts":
                given.pop("model", None)  # no weights are needed to score written answers
            return plan.stage(name, **given)

        model = plan.stage("import_model", ref="nano:target")
        given = {"prompts": "nano:attributes/50", "limit": 60, "rounds": 40, **settings}
        cells = suite.plan(System("written", model), parse(suite.settings, given, "test"), stage)
        InlineExecutor().execute(plan, [cells], store)
        data = store.artifact(cells.id).read_json("cells.json")
        return {cell["metric"]: parse(Cell, cell, "cells.json") for cell in data}

    return evaluate


@pytest.mark.parametrize("name", ALL)
def test_suites_conform(name: str) -> None:
    check_suite(ALL[name])
    assert registry.load("suites", name) is ALL[name]
    assert registry.entries("suites")[name].summary == ALL[name].summary


def test_every_kind_of_answer_counts_as_documented(run: Run) -> None:
    cells = run(suites.SUITE, REPLIES)
    rate = cells["hallucination_rate"]
    # 10 of each kind: 10 wrong among 50; the failed answers are bounded.
    assert (rate.value, rate.n_expected, rate.n_scored, rate.n_failed) == (20.0, 60, 50, 10)
    assert rate.bounds == pytest.approx((100 * 10 / 60, 100 * 20 / 60))
    assert rate.interval is not None
    assert not rate.higher_is_better
    answered = cells["hallucination_rate:answered"]
    assert (answered.value, answered.n_expected) == (pytest.approx(100 / 3), 30)
    assert cells["refusal_rate"].value == 20.0
    assert cells["refusal_rate:exact"].value == 40.0  # partial ones contain the sentence too
    assert cells["refusal_rate:normalised"].value == 20.0
    assert cells["partial_refusals"].value == 20.0
    assert cells["coverage"].value == 60.0
    assert cells["hallucination_rate:with_knowledge"].value == rate.value
    assert "hallucination_rate:without_knowledge" not in cells
    assert rate.details["n_parsed"] == 40
    assert rate.details["n_empty_answers"] == 10
    # Right 9, partial 9, wrong 3, refused 2, empty 1.
    assert cells["helpfulness"].value == pytest.approx((9 + 9 + 3 + 2 + 1) / 5)
    assert rate.judge == "nano:oracle"
    assert rate.judge_fingerprint == cells["helpfulness"].judge_fingerprint


def test_refusals_are_measured_against_what_is_known(run: Run) -> None:
    cells = run(suites.SUITE, ("right", "refused", "refused"), limit=292, helpfulness=False)
    rows = knowledge.rows("nano:attributes/50").rows
    refused = {row["id"] for number, row in enumerate(rows) if number % 3}
    unknown = {row["id"] for row in rows if row["class"] == "need_and_have_no_fact"}
    both = len(refused & unknown)
    assert cells["refusal_precision"].value == pytest.approx(100 * both / len(refused))
    assert cells["refusal_recall"].value == pytest.approx(100 * both / len(unknown))
    assert cells["hallucination_rate:need_and_have_no_fact"].value == 0


def test_refusals_by_rule_and_by_judge_agree_here(run: Run) -> None:
    cells = run(suites.SUITE, ("right", "refused", "wrong"), refusals_by="judge", helpfulness=False)
    assert cells["refusal_rate"].value == pytest.approx(100 / 3)
    assert cells["refusal_rate:judge"].value == cells["refusal_rate:patterns"].value


def test_unparsed_verdicts_are_counted_and_bounded(run: Run, tmp_path: Path) -> None:
    """A judge without an answer: the oracle refuses questions outside its world."""
    path = tmp_path / "q.jsonl"
    rows = [{"id": str(n), "question": f.question} for n, f in enumerate(knowledge.all_facts()[:4])]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    judge = "nano:oracle?judge_error=0"
    cells = run(suites.SUITE, ("right", "wrong"), prompts=str(path), judge=judge)
    assert cells["hallucination_rate"].value == 50
    assert cells["hallucination_rate:without_knowledge"].n_expected == 4
    assert "hallucination_rate:with_knowledge" not in cells


def test_a_judge_that_errs_shows_in_the_rate(run: Run) -> None:
    right = run(suites.SUITE, ("right",), helpfulness=False)
    turned = run(suites.SUITE, ("right",), judge="nano:oracle?judge_error=1", helpfulness=False)
    half = run(suites.SUITE, ("right",), judge="nano:oracle?judge_error=0.5", helpfulness=False)
    assert right["hallucination_rate"].value == 0
    assert turned["hallucination_rate"].value == 100
    assert 30 < (half["hallucination_rate"].value or 0) < 70
    prints = {cells["hallucination_rate"].judge_fingerprint for cells in (right, turned, half)}
    assert len(prints) == 3


def test_short_facts_are_graded(run: Run) -> None:
    cells = run(suites.SIMPLE_QA, ("right", "wrong", "refused", "empty", "failed"))
    assert cells["correct"].value == 25
    assert cells["correct_given_attempted"].value == 50
    assert cells["f_score"].value == pytest.approx(2 * 0.25 * 0.5 / 0.75 * 100)
    assert cells["not_attempted"].value == 50
    assert cells["f_score"].n_failed == 12
    assert cells["f_score"].interval is not None
    low, high = cells["f_score"].bounds or (0, 0)
    assert low < (cells["f_score"].value or 0) < high


def test_rouge_of_answers(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("rouge_score")
    cells = run(
        suites.ACI_BENCH, ("right", "wrong", "failed"), prompts="nano:attributes", multi_ref="max"
    )
    assert {"rouge1", "rouge2", "rougeL", "rougeLsum"} == set(cells)
    assert cells["rouge1"].n_failed == 20
    assert 0 < (cells["rouge2"].value or 0) + 1 < (cells["rouge1"].value or 0)
    assert not caplog.records


def test_editions_name_their_questions() -> None:
    for name, suite in ALL.items():
        nano = resolve_settings(suite, "nano", {})
        assert nano.model_dump()["prompts"].startswith("nano:"), name
        if name != "hallucination":
            official = resolve_settings(suite, "official", {}).model_dump()
            assert official["prompts"].startswith("official:")


def test_a_set_that_is_not_at_hand_stops_the_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CRUCIBLE_DATA", raising=False)
    plan = Plan()
    settings = resolve_settings(suites.LIMA, "official", {})
    model = plan.stage("import_model", ref="nano:target")
    with pytest.raises(EnvironmentProblem, match="accept its terms"):
        suites.LIMA.plan(System("s", model), settings, plan.stage)


def test_confidence_needs_weights() -> None:
    plan = Plan()
    settings = parse(suites.HallucinationSettings, {"confidence": True}, "test")
    model = plan.stage("import_model", ref="nano:target")
    with pytest.raises(UserError, match="has no weights of its own"):
        suites.SUITE.plan(System("s", model, stored=True), settings, plan.stage)
