"""The domain suites through the engine: nano answers, stored answers, published questions."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import BadData, UserError
from harness.core.records import Cell, parse
from harness.engine import registry
from harness.engine.operations import Row
from harness.engine.plan import Plan
from harness.engine.run import InlineExecutor
from harness.engine.store import Store
from harness.models.references import model_identity
from harness.suites.base import Suite, System
from harness.suites.domain.mathematics import problem_fields
from harness.suites.domain.suite import BRAINSTORMING, MATH, REWRITING
from harness.testing import check_suite
from tests.harness.suites.test_end_to_end import broken, sound

__all__ = ["broken"]

JUDGED = [BRAINSTORMING, REWRITING]
FAIR = "nano:oracle?position_bias=0&verbosity_bias=0&noise=0"
needs_algebra = pytest.mark.skipif(find_spec("math_verify") is None, reason="needs math-verify")


@pytest.mark.parametrize("suite", [*JUDGED, MATH], ids=lambda suite: suite.name)
def test_the_suites_conform(suite: Suite) -> None:
    check_suite(suite)
    assert registry.load("suites", suite.name) is suite
    assert set(suite.editions) == {"nano", "official"}


@pytest.mark.parametrize("suite", JUDGED, ids=lambda suite: suite.name)
def test_better_answers_beat_the_baseline(suite: Suite, evaluate: Any) -> None:
    good, bad = (evaluate(suite, quality, judge=FAIR) for quality in ("excellent", "evasive"))
    assert good.value("beat_rate") > 90
    assert bad.value("beat_rate") < 10
    for outcome in (good, bad):
        for cell in outcome.cells.values():
            sound(cell, 60)
        details = outcome.cells["beat_rate"].details
        assert details["win"] + details["tie"] + details["lose"] == 24
        assert outcome.cells["beat_rate"].judge_fingerprint
        rates = [outcome.value(f"{name}_rate") for name in ("win", "tie", "lose")]
        assert sum(rates) == pytest.approx(100)
        assert outcome.value("contradiction_rate") == outcome.value("unparsed_rate") == 0


def test_the_baseline_against_itself_decides_nothing(evaluate: Any) -> None:
    cell = evaluate(BRAINSTORMING, "baseline", judge=FAIR).cells["beat_rate"]
    assert cell.value is None
    assert (cell.details["tie"], cell.n_scored) == (24, 24)


def test_exchanging_the_sides_mirrors_the_beat_rate(evaluate: Any, tmp_path: Path) -> None:
    there = evaluate(BRAINSTORMING, "mixed")
    said = [
        {"id": row["id"], "answers": [row["turns"][0]["answers"]["model"]]}
        for row in reversed(there.rows("judge_domain"))  # joined by id, not by line
    ]
    path = tmp_path / "answers.json"
    path.write_text(json.dumps(said), encoding="utf-8")
    back = evaluate(BRAINSTORMING, "baseline", baseline=str(path))
    assert there.value("beat_rate") + back.value("beat_rate") == pytest.approx(100)
    path.write_text(json.dumps([*said, {**said[0], "answers": ["another"]}]), encoding="utf-8")
    with pytest.raises(BadData, match="different answers"):
        evaluate(BRAINSTORMING, "baseline", baseline=str(path))
    by_line = [{"output": row["answers"][0]} for row in said]
    for lacking in (said[1:], by_line):
        path.write_text(json.dumps(lacking), encoding="utf-8")
        with pytest.raises(BadData, match="no answer to prompt"):
            evaluate(BRAINSTORMING, "baseline", baseline=str(path))


def test_a_single_order_shows_the_position_bias_that_both_orders_find(evaluate: Any) -> None:
    judge = "nano:oracle?position_bias=3&noise=0"
    both = evaluate(BRAINSTORMING, "baseline", judge=judge)
    single = evaluate(BRAINSTORMING, "baseline", judge=judge, orders="single")
    assert both.value("contradiction_rate") == 100
    assert both.cells["contradiction_rate"].details["first_shown_share"] == 1
    assert both.cells["beat_rate"].value is None
    assert single.value("beat_rate") == 0  # the baseline is shown first
    assert "contradiction_rate" not in single.cells
    assert len(single.rows("judge_domain")[0]["turns"][0]["games"]) == 1


@pytest.mark.usefixtures("broken")
def test_reviews_without_a_verdict_are_no_ties(evaluate: Any) -> None:
    strict = evaluate(BRAINSTORMING, "mixed", judge="broken?share=0.8")
    cell = strict.cells["beat_rate"]
    sound(cell, 60)
    assert 0 < cell.n_failed < cell.n_expected == 24
    assert cell.bounds[0] < cell.value < cell.bounds[1]
    assert 0 < strict.value("unparsed_rate") < 50
    compat = evaluate(BRAINSTORMING, "mixed", judge="broken?share=0.8", parser="compat")
    assert compat.cells["beat_rate"].n_failed == 0
    assert compat.value("unparsed_rate") > 0
    assert compat.value("tie_rate") > strict.cells["beat_rate"].details["tie"] / 24
    assert compat.cells["beat_rate"].judge_fingerprint != cell.judge_fingerprint


def test_answers_that_were_never_generated_stay_in_the_number(evaluate: Any) -> None:
    outcome = evaluate(BRAINSTORMING, "failing")
    cell = outcome.cells["beat_rate"]
    assert 0 < cell.n_failed < cell.n_expected == 24
    assert "failed: no answer was generated: the prompt is too long" in cell.details
    assert outcome.value("unparsed_rate") == 0
    assert evaluate(BRAINSTORMING, "empty").value("beat_rate") == 0


def test_further_baselines_have_scores_of_their_own(evaluate: Any) -> None:
    more = {"wordy": "nano:verbose", "same": "nano:plain"}
    outcome = evaluate(BRAINSTORMING, "mixed", baselines=more)
    cells = outcome.cells
    assert cells["beat_rate:same"].value == cells["beat_rate"].value
    assert not cells["beat_rate:wordy"].primary
    assert (
        cells["beat_rate:wordy"].artifacts["judgments"] != cells["beat_rate"].artifacts["judgments"]
    )
    assert not [name for name in cells if name.startswith("win_rate:")]


def test_another_system_of_the_run_may_be_the_other_side() -> None:
    plan = Plan()
    model = plan.stage("import_model", ref="nano:target")
    other = System("other", model, seed=1)
    system = System("mine", model, peers={"other": other})
    chosen = parse(BRAINSTORMING.settings, {"baseline": "system:other"}, "test")
    BRAINSTORMING.plan(system, chosen, plan.stage)
    names = [stage.operation.name for stage in plan.stages.values()]
    assert names.count("sample") == 2
    official = parse(BRAINSTORMING.settings, BRAINSTORMING.editions["official"], "test")
    with pytest.raises(UserError, match='set baseline = "system:<name>"'):
        BRAINSTORMING.plan(system, official, plan.stage)


def run(suite: Suite, outputs: str, tmp_path: Path, **settings: Any) -> dict[str, Cell]:
    """The cells of stored outputs."""
    plan, store = Plan(), Store(tmp_path / "store")
    model = plan.stage("import_model", ref=outputs, digest=model_identity(outputs))
    chosen = parse(suite.settings, {"rounds": 60, **settings}, "test")
    handle = suite.plan(System("stored", model, stored=True), chosen, plan.stage)
    InlineExecutor().execute(plan, [handle], store)
    cells = store.artifact(handle.id).read_json("cells.json")
    return {cell["metric"]: parse(Cell, cell, "cells.json") for cell in cells}


def write(path: Path, rows: list[Row]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


PROBLEMS: list[Row] = [
    {"id": "a", "problem": "?", "level": "Level 1", "type": "Algebra", "answer": "0.5"},
    {"id": "b", "level": "Level 5", "type": "Geometry", "solution": "so \\boxed{(1, 2)}"},
    {"id": "c", "level": "Level 5", "type": "Algebra", "solution": "\\boxed{x+1}"},
    {"id": "d", "level": "Level ?", "type": "Algebra", "answer": 0},
]
ANSWERS = ["\\boxed{\\frac12}", "### Response: The answer is (2,1).", "\\boxed{1+x}", "I give up"]


@needs_algebra
def test_mathematics_counts_values_levels_subjects_and_what_is_missing(tmp_path: Path) -> None:
    problems = [{**row, "prompt": f"Problem {row['id']}?"} for row in PROBLEMS]
    said = [{"id": row["id"], "output": text} for row, text in zip(PROBLEMS, ANSWERS)]
    files = [write(tmp_path / "p.jsonl", problems), write(tmp_path / "a.jsonl", said[::-1])]
    cells = run(MATH, files[1], tmp_path, prompts=files[0])
    assert {name: cell.value for name, cell in cells.items()} == {
        "accuracy": 50,
        "unanswered_rate": 25,
        "accuracy:level_1": 100,
        "accuracy:level_5": 50,
        "accuracy:Algebra": pytest.approx(200 / 3),
        "accuracy:Geometry": 0,
    }
    assert all(cell.n_failed == 0 and cell.interval for cell in cells.values() if cell.n_scored > 1)
    assert cells["accuracy:level_5"].n_expected == 2
    released = run(MATH, files[1], tmp_path, prompts=files[0], compare="compat")
    assert released["accuracy"].value == 25
    assert released["accuracy"].judge_fingerprint != cells["accuracy"].judge_fingerprint
    lost = write(tmp_path / "lost.jsonl", [{**said[0], "output": None}, *said[1:]])
    cell = run(MATH, lost, tmp_path, prompts=files[0])["accuracy"]
    assert (cell.n_expected, cell.n_scored, cell.n_failed) == (4, 3, 1)
    assert cell.bounds == (25, 50)


@needs_algebra
def test_nano_mathematics_compares_the_answer_line(evaluate: Any) -> None:
    assert evaluate(MATH, "excellent", limit=8).value("accuracy") == 100
    wrong = evaluate(MATH, "wrong", limit=8)
    assert wrong.value("accuracy") < 50
    assert wrong.value("unanswered_rate") == 0


def test_a_problem_without_a_gold_answer_is_named() -> None:
    with pytest.raises(BadData, match='problem "x" has no gold answer; expected `answer`'):
        problem_fields({"id": "x", "solution": "no box"})
    found = problem_fields({"id": "x", "solution": "\\boxed{7}", "level": 3})
    assert found == {"answer": "7", "level": 3, "subject": None}


@pytest.fixture
def published(realdata: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    root = realdata("explore_instruct").parent
    monkeypatch.setenv("CRUCIBLE_DATA", str(root))
    return root


@needs_algebra
@pytest.mark.realdata
def test_published_problems_are_right_about_themselves(published: Path, tmp_path: Path) -> None:
    from harness.data import official

    problems = official.prompts("official:explore_math")[:60]
    said = [{"id": row["id"], "output": row["solution"]} for row in problems]
    outputs = write(tmp_path / "said.jsonl", said)
    cells = run(MATH, outputs, tmp_path, prompts="official:explore_math", limit=60)
    assert cells["accuracy"].value == 100
    assert "official:explore_math@" in str(cells["accuracy"].details["data"])


@pytest.mark.realdata
def test_published_questions_are_judged(published: Path, tmp_path: Path) -> None:
    from harness.data import official

    for suite, number in ((BRAINSTORMING, 208), (REWRITING, 94)):
        edition = suite.editions["official"]
        rows = official.prompts(edition["prompts"])
        assert len(rows) == number
        files = [
            write(tmp_path / f"{side}.jsonl", [{"id": row["id"], "output": text} for row in rows])
            for side, text in (("mine", "A longer answer of mine."), ("theirs", "Short."))
        ]
        settings = {**edition, "baseline": files[1], "judge": "nano:oracle?unknown=generic&noise=0"}
        cells = run(suite, files[0], tmp_path, **settings, limit=20)
        assert cells["beat_rate"].n_expected == cells["beat_rate"].n_scored == 20
