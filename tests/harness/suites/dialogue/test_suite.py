"""The suites of dialogues on systems whose answers are known, through the real engine."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import BadData, BadRecord, UserError
from harness.core.records import Cell, parse
from harness.engine import registry
from harness.engine.plan import Plan
from harness.engine.run import InlineExecutor
from harness.engine.store import Store
from harness.evaluate import evaluate
from harness.suites.base import Program, System
from harness.suites.conformance import check_suite
from harness.suites.dialogue.programs import replying_by, retrieving
from harness.suites.dialogue.suite import (
    CAMREST_SUITE,
    MULTIWOZ_SUITE,
    SMD_SUITE,
    SUITE,
    DialogueSettings,
)
from harness.suites.editions import resolve_settings, scale_of
from leaderboards.compact import recomputed

SUITES = (SUITE, CAMREST_SUITE, MULTIWOZ_SUITE, SMD_SUITE)
SYSTEMS = "tests.dialogue_systems:"
Run = Callable[..., dict[str, Cell]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """`run(program, knowledge=...)`: the cells by metric."""
    store = Store(tmp_path / "store")

    def cells(made: Program, **settings: Any) -> dict[str, Cell]:
        plan = Plan()
        chosen = parse(DialogueSettings, {"rounds": 40, **settings}, "test")
        handle = SUITE.plan(System.of("system", made, scale="paper"), chosen, plan.stage)
        InlineExecutor().execute(plan, [handle], store)
        data = store.artifact(handle.id).read_json("cells.json")
        return {cell["metric"]: parse(Cell, cell, "cells.json") for cell in data}

    return cells


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
def test_suites_conform(suite: Any) -> None:
    check_suite(suite)
    assert registry.load("suites", suite.name) is suite


def test_the_references_reach_the_ceiling(run: Run) -> None:
    cells = run(replying_by(f"{SYSTEMS}right"))
    for name in ("bleu", "entity_f1_surface_micro", "entity_f1_strict", "recall_name:1"):
        assert cells[name].value == pytest.approx(100), name
    for domain in ("hotel", "restaurant", "attraction"):
        assert cells[f"entity_f1_surface_micro:{domain}"].value == pytest.approx(100)
    bleu = cells["bleu"]
    assert (bleu.n_expected, bleu.n_scored, bleu.n_failed) == (121, 121, 0)
    assert bleu.details["ceiling"] == pytest.approx(100)
    assert bleu.interval is not None
    assert bleu.interval.kind == "bootstrap over dialogues"
    assert bleu.resampled is not None
    assert bleu.resampled.units == 40
    assert bleu.details["records"] == 48
    assert str(bleu.details["data version"])
    assert not cells["bleu_ceiling"].primary  # a column only where it is below 100
    pytest.importorskip("sacrebleu")
    assert cells["sacrebleu"].value == pytest.approx(100)
    assert "tok:13a" in str(cells["sacrebleu"].details["signature"])


def test_without_sacrebleu_its_cell_says_so(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.suites.dialogue.cells.has_sacrebleu", lambda: False)
    cell = run(replying_by(f"{SYSTEMS}right"))["sacrebleu"]
    assert cell.value is None
    assert "not installed (extra dialogue)" in str(cell.details["reason"])


def test_empty_replies_score_nothing_and_stop_nothing(run: Run) -> None:
    cells = run(replying_by(f"{SYSTEMS}empty"))
    assert cells["bleu"].value == cells["entity_f1_surface_micro"].value == 0
    assert cells["bleu"].n_failed == 0
    assert cells["recall_turn:1"].value == 0


def test_replicates_follow_from_columns_and_from_rows(run: Run) -> None:
    cells = run(replying_by(f"{SYSTEMS}right", {"skip": 4}))
    found = {name: recomputed(cell.prompt_set, cell.resampled, 40) for name, cell in cells.items()}
    for name in ("bleu", "entity_f1_strict", "entity_f1_gold_macro", "recall_name:1"):
        assert found[name] == pytest.approx(cells[name].replicates, abs=1e-4), name
    assert found["sacrebleu"] is None


def test_turns_that_were_not_answered_widen_the_bounds(run: Run) -> None:
    cells = run(replying_by(f"{SYSTEMS}right", {"skip": 4}))
    bleu = cells["bleu"]
    assert (bleu.n_expected, bleu.n_scored, bleu.n_failed) == (121, 90, 31)
    assert bleu.value == pytest.approx(100)
    assert bleu.bounds is not None
    assert bleu.bounds[0] < 90
    assert bleu.bounds[1] == pytest.approx(100)
    assert bleu.details["failed: out of order"] == 31
    recall = cells["recall_name:1"]
    assert recall.bounds is not None
    assert recall.bounds[0] < recall.bounds[1] == 100


def test_retrievers_have_recall_and_no_text(run: Run) -> None:
    rule, slots = run(retrieving("value_frequency")), run(retrieving("slot_matching"))
    assert (rule["bleu"].value, rule["bleu"].n_expected) == (None, 0)
    assert rule["bleu"].details["reason"] == "it only retrieves"
    for reading in ("turn", "value", "name"):
        values = [rule[f"recall_{reading}:{k}"].value for k in (1, 5, 7)]
        assert values == sorted(values)  # it never falls in K
    one, five = slots["recall_turn:1"], rule["recall_turn:5"]
    assert one.resampled is not None
    assert 0 < (rule["recall_turn:1"].value or 0) < 100
    assert 0 < (one.value or 0) < 100
    assert one.n_expected == five.n_expected == 59  # turns that mention a place first
    # Systems are paired: one set of turns, one number of draws.
    assert (one.prompt_set, len(one.replicates)) == (five.prompt_set, len(five.replicates))
    assert one.decode_fingerprint != five.decode_fingerprint


def test_the_control_is_solved_by_a_string_rule(run: Run) -> None:
    cells = run(retrieving("value_frequency"), dialogues="nano:distinct_dialogues")
    assert cells["recall_name:1"].value == 100


def test_a_k_above_the_base_takes_all_of_it(run: Run) -> None:
    cells = run(retrieving("value_frequency"), knowledge="session", recall_at=[1, 900])
    assert cells["recall_name:900"].value == 100


def test_condensed_and_shared_bases_are_not_ranked_together(run: Run) -> None:
    found = [run(retrieving("value_frequency"), knowledge=k) for k in ("session", "shared")]
    prints = {cells["recall_turn:1"].judge_fingerprint for cells in found}
    assert len(prints) == 2


def test_records_of_another_base_are_refused(run: Run) -> None:
    with pytest.raises(BadData, match="0123456789abcdef is not in the knowledge base of 48"):
        run(replying_by(f"{SYSTEMS}strange_record"))


def test_one_score_per_record(run: Run) -> None:
    with pytest.raises(BadData, match="one score per retrieved record"):
        run(replying_by(f"{SYSTEMS}uneven"))


def test_unknown_functions_and_wrong_settings_stop_the_plan(run: Run) -> None:
    with pytest.raises(BadRecord, match="no_such"):
        run(replying_by(f"{SYSTEMS}no_such"))
    with pytest.raises(BadRecord, match="volume"):
        run(retrieving("value_frequency", {"volume": 11}))
    with pytest.raises(BadRecord, match="recall_at"):
        run(retrieving("value_frequency"), recall_at=[0])
    with pytest.raises(UserError, match='asks for "reply"'):
        run(Program("respond", lambda *a, **k: None))  # type: ignore[arg-type,return-value]


def turns_file(folder: Path, **changed: Any) -> str:
    turns = [
        {
            "dialogue": number, "turn": 1, "domain": "x", "context": ["cheap food"],
            "response": f"a{number} is cheap", "kb": [{"name": f"a{number}", "price": "cheap"}],
            "gold": [f"a{number}", "cheap"], **changed,
        }
        for number in range(3)
    ]  # fmt: skip
    path = folder / "mine.jsonl"
    path.write_text("".join(json.dumps(turn) + "\n" for turn in turns))
    return str(path)


def test_your_own_dialogues(run: Run, tmp_path: Path) -> None:
    cells = run(retrieving("value_frequency"), dialogues=turns_file(tmp_path))
    assert cells["recall_name:1"].value == pytest.approx(100 / 3)
    assert cells["recall_name:5"].value == 100
    data = cells["recall_name:1"].details["data"]
    assert str(data).startswith("file@")


def test_records_without_a_name_have_no_first_mention(run: Run, tmp_path: Path) -> None:
    ref = turns_file(tmp_path, kb=[{"day": "monday"}])
    cell = run(retrieving("value_frequency"), dialogues=ref)["recall_turn:1"]
    assert (cell.value, cell.n_expected) == (None, 0)
    assert cell.details["reason"] == "no turn to score"


def test_an_empty_base(run: Run, tmp_path: Path) -> None:
    ref = turns_file(tmp_path, kb=[])
    with pytest.raises(BadData, match="no shared knowledge base; set knowledge=session"):
        run(retrieving("value_frequency"), dialogues=ref)
    cells = run(replying_by(f"{SYSTEMS}empty"), dialogues=ref, knowledge="session")
    assert cells["bleu"].value == 0
    retrieved = run(retrieving("slot_matching"), dialogues=ref, knowledge="session")
    assert retrieved["recall_turn:1"].n_expected == 0


def test_a_chat_model_is_asked_with_the_records(tmp_path: Path) -> None:
    short = {"dialogue.decode.max_tokens": 4}
    made = evaluate("nano:target", "dialogue", limit=2, overrides=short)
    store = Store(tmp_path / "store")
    InlineExecutor().execute(made.plan, made.targets, store)
    (handle,) = made.scores.values()
    ask = next(s for s in made.plan.stages.values() if s.operation.name == "ask")
    rows = store.artifact(ask.id).rows()
    assert all(len(row["records"]) == 7 and row["reply"]["failure"] is None for row in rows)
    cells = store.artifact(handle.id).read_json("cells.json")
    assert {cell["scale"] for cell in cells} == {"nano"}
    assert {cell["metric"] for cell in cells} >= {"bleu", "recall_turn:1"}
    cut = sum(row["reply"]["finish"] == "length" for row in rows)
    assert cells[0]["details"].get("n_cut_answers", 0) == cut > 0


def test_stored_outputs_are_joined_by_turn(tmp_path: Path) -> None:
    ref = turns_file(tmp_path)
    answers = tmp_path / "answers.jsonl"
    stored = [{"id": f"{n}/1", "responses": [f"a{n} is cheap"]} for n in range(2)]
    answers.write_text("".join(json.dumps(item) + "\n" for item in stored))
    made = evaluate(str(answers), "dialogue", overrides={"dialogue.dialogues": ref})
    store = Store(tmp_path / "store")
    InlineExecutor().execute(made.plan, made.targets, store)
    cells = store.artifact(made.targets[0].id).read_json("cells.json")
    f1 = next(cell for cell in cells if cell["metric"] == "entity_f1_surface_micro")
    assert (f1["value"], f1["n_scored"], f1["n_failed"]) == (100, 2, 1)


def test_official_editions_need_no_download_to_be_planned() -> None:
    settings = resolve_settings(CAMREST_SUITE, "official", {})
    assert scale_of(settings, "paper") == "paper"
    plan = Plan()
    handle = CAMREST_SUITE.plan(
        System.of("rule", retrieving("value_frequency")), settings, plan.stage
    )
    assert handle.id in plan.stages
    assert resolve_settings(SMD_SUITE, "official", {}).knowledge == "session"  # type: ignore[attr-defined]


@pytest.mark.realdata
def test_ceilings_and_figures_of_the_published_sets(
    run: Run, realdata: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRUCIBLE_DATA", str(realdata("tod").parent))
    ref = "official:camrest_test"
    released = run(replying_by(f"{SYSTEMS}empty"), dialogues=ref, released=True)
    assert released["bleu"].n_expected == 643
    assert released["bleu_ceiling"].value == pytest.approx(95.05, abs=0.005)
    assert released["bleu_ceiling"].primary
    assert released["entity_f1_surface_micro_ceiling"].value == pytest.approx(99.47, abs=0.005)
    rule = run(retrieving("value_frequency"), dialogues=ref)
    assert [round(rule[f"recall_turn:{k}"].value or 0, 1) for k in (1, 5, 7)] == [65.4, 93.1, 96.9]
    slots = run(retrieving("slot_matching"), dialogues=ref)
    assert (slots["recall_turn:1"].value or 0) > 66.2
    assert (slots["recall_turn:7"].value or 0) > 98.5
    rule = run(retrieving("value_frequency"), dialogues="official:mwoz_test")
    assert [round(rule[f"recall_turn:{k}"].value or 0, 1) for k in (1, 5, 7)] == [34.3, 75.0, 78.6]
    assert rule["recall_turn_ceiling"].value == pytest.approx(90.7, abs=0.05)
    slots = run(retrieving("slot_matching"), dialogues="official:mwoz_test")
    assert (slots["recall_turn:1"].value or 0) > 34.3
    assert (slots["recall_turn:7"].value or 0) > 78.6
