"""KCA as a method: its plans, the paper's settings and figures, stored replies, the figure."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import BadData, UserError
from harness.core.records import Cell
from harness.engine.io import read_json
from harness.engine.operations import Artifact
from harness.engine.recipe import load_recipe
from harness.engine.store import Store
from harness.reproduce import reproduce
from methods.kca import figure
from methods.kca.figure import knowledge_gap, pearson
from methods.kca.instructions import instruction_row, numbered
from methods.kca.method import KCA, RECIPE
from methods.kca.operations import part_of
from tests.golden_vectors import vectors
from tests.operation_runs import rows_artifact, run_operation

__all__ = ["rows_artifact", "run_operation"]


def test_all_strategies_share_one_exam_and_the_base_model_is_not_trained() -> None:
    made = reproduce("kca", suites=["knowledge_exam"])
    stages = Counter(stage.operation.name for stage in made.plan.stages.values())
    trained = [system for system in made.recipe.systems if "base" not in system.name]
    assert stages["train_sft"] == len(trained)
    base = made.models[made.recipe.seed, "base"]
    assert base is not None
    assert made.plan.stages[base.id].operation.name == "import_model"
    rows = [s.params for s in made.plan.stages.values() if s.operation.name == "kca_rows"]
    assert {row.strategy for row in rows} == {"standard", "open_book", "discard", "refusal"}
    exams = {
        handle.id
        for stage in made.plan.stages.values()
        if stage.operation.name == "kca_rows"
        for handle in stage.inputs.values()
    }
    assert len(exams) == 4  # half (robust and released), quarter, all; and none per strategy


def test_the_paper_profile_has_the_papers_settings() -> None:
    recipe = load_recipe(KCA.recipe, RECIPE, "paper")
    sft = recipe.sft
    assert sft.per_device_batch_size * sft.accumulation_steps == 128
    assert (sft.learning_rate, sft.epochs, sft.warmup_ratio, sft.max_length) == (
        2e-5,
        3,
        0.03,
        2048,
    )
    assert (recipe.exam.form, recipe.exam.layout, recipe.exam.shots) == ("letters", "paper", 5)
    assert (recipe.decision.tau, recipe.helper.temperature) == (0.6, 1.0)
    assert len(recipe.suites) == 6


def test_claims_quote_the_papers_figures() -> None:
    with RECIPE.with_name("expected.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 264
    figures = {(row["row"], row["suite"], row["metric"]): float(row["value"]) for row in rows}
    sets = {
        "lima": "LIMAEval", "vicuna": "VicunaEval", "wizardlm": "WizardLMEval",
        "truthfulqa": "TruthfulQA",
    }  # fmt: skip
    names = {
        "hallucination_rate": "hallucination_rate_pct_gpt4",
        "hallucination_rate:answered": "hallucination_rate_pct_gpt4",
        "helpfulness": "helpful_score_1_10_gpt4",
    }
    claims = load_recipe(KCA.recipe, RECIPE, "paper").claims
    for claim in claims:
        for side in ("better", "worse"):
            row = f"Llama-2-7B:{claim[side]}_tuning"
            key = (row, sets[claim["suite"].removeprefix("hallucination_")], names[claim["metric"]])
            assert figures[key] == claim[f"paper_{side}"], claim["id"]
    assert len(claims) == 16


def test_the_sum_of_consistent_and_inconsistent_depends_on_the_set_alone() -> None:
    with RECIPE.with_name("expected.csv").open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["table"].startswith("fig4")]
    sums: dict[str, dict[str, float]] = {}
    for row in rows:
        found = sums.setdefault(row["suite"], {})
        found[row["row"]] = found.get(row["row"], 0.0) + float(row["value"])
    for found in sums.values():
        assert max(found.values()) - min(found.values()) <= 1.3  # two values read off, 0.6 each


@pytest.mark.parametrize("scale", ["small", "paper"])
def test_a_rehearsal_runs_on_nano_models(scale: str) -> None:
    made = reproduce("kca", scale, rehearse=True)
    models = {
        stage.params.ref
        for stage in made.plan.stages.values()
        if stage.operation.name == "import_model"
    }
    assert models == {"nano:target", "nano:helper", "nano:oracle"}
    assert [system.name for system in made.recipe.systems][:2] == ["standard", "same_ids"]


def test_in_the_control_the_base_model_knows_all() -> None:
    claims: dict[str, set[str]] = {}
    for profile, ref in (("nano", "nano:known_half"), ("nano-control", "nano:known_all")):
        made = reproduce("kca", profile)
        recipe: Any = made.recipe
        assert recipe.models.base.ref == ref
        claims[profile] = {str(claim["id"]) for claim in recipe.claims}
        models = {
            s.params.ref for s in made.plan.stages.values() if s.operation.name == "import_model"
        }
    assert not models & {"nano:known_half", "nano:known_quarter"}
    assert claims["nano-control"] < claims["nano"]


def test_instructions_of_any_form_keep_their_ids_and_none_is_lost() -> None:
    forms: list[dict[str, Any]] = [
        {"input": "I", "output": "R"},
        {"instruction": "I", "input": "", "output": "R"},
        {"messages": [{"role": "user", "content": "I"}, {"role": "assistant", "content": "R"}]},
        {"conversations": [{"from": "human", "value": "I"}, {"from": "gpt", "value": "R"}]},
    ]
    rows = [instruction_row(item, "row") for item in forms]
    assert len({row["id"] for row in rows}) == 1
    unique, repeated = numbered(rows)
    assert [row["id"][-2:] for row in unique[1:]] == ["#2", "#3", "#4"]
    assert list(repeated.values()) == [4]
    for item in ({"input": "I"}, {"output": "R"}, {"input": 1, "output": "R"}, {}):
        with pytest.raises(BadData, match="row 7: expected instruction or input"):
            instruction_row(item, "row 7")
    with pytest.raises(BadData, match="repeats the number"):
        numbered([{"id": "a"}, {"id": "a"}, {"id": "a#2"}])


def test_stored_replies_become_the_same_parts(
    golden: Callable[[str], Path], run_operation: Callable[..., Artifact], tmp_path: Path
) -> None:
    given = vectors(golden("kca/training_instances.json"))["inputs"]
    files = {}
    for name, key in (("classified", "classification_rows"), ("examined", "examined_rows")):
        files[name] = str(tmp_path / f"{name}.json")
        Path(files[name]).write_text(json.dumps(given[key]), encoding="utf-8")
    rows = run_operation("import_kca_replies", files).rows()
    assert len(rows) == len(given["classification_rows"])
    found = Counter(
        part_of({**row, "outcome": {"n": 0, "right": 0, "predicted": []}}) for row in rows
    )
    assert found == {"no_need": 3, "unexamined": 7, "unparsed": 1}
    known = {row["messages"][0]["content"]: row["knowledge"]["value"] for row in rows}
    assert known["Explain the tax law of Atlantis."] == ""
    assert known["Write a haiku on rain."] is None
    recipe = ["data.replay.classified=" + files["classified"]]
    recipe += ["data.replay.examined=" + files["examined"]]
    made = reproduce("kca", overrides=recipe, suites=["knowledge_exam"])
    stages = [s.operation.name for s in made.plan.stages.values()]
    assert "import_instructions" not in stages
    with pytest.raises(UserError, match="no stored replies"):
        reproduce("kca", overrides=[*recipe[:1], "data.replay.examined=absent.json"])


def test_stored_replies_are_parsed_again_by_either_parser(
    run_operation: Callable[..., Artifact], tmp_path: Path
) -> None:
    asked = {"input": "When was it?", "output": "In 1755."}
    exam = "#Question: Q?\n#Options: (A) a (B) b (C) c (D) d\n#Analysis: x\n#Answer: (A) a"
    lines = {
        "classified": [{"raw_response": "#Prediction: Need", "original_input": asked}] * 2,
        "examined": [
            {"raw_response": exam, "original_input": {"knowledge": " K ", "original_input": asked}}
        ],
    }
    files = {}
    for name, items in lines.items():
        files[name] = str(tmp_path / f"{name}.jsonl")
        text = "\n".join(json.dumps(item) for item in items)
        Path(files[name]).write_text(text, encoding="utf-8")
    first, again = run_operation("import_kca_replies", files).rows()
    assert first["exam"]["value"]["tests"][0]["answer"] == "A"
    assert first["knowledge"]["value"] == "K"
    assert again["id"] == f"{first['id']}#2"
    assert again["exam"]["value"] is None
    released = run_operation("import_kca_replies", {**files, "parser": "released"}).rows()
    assert released[0]["requirement"]["failure"] == "the released parser reads no prediction"


def cell(system: str, suite: str, metric: str, value: float, replicates: list[float]) -> Cell:
    return Cell(
        system=system, suite=suite, metric=metric, value=value, n_expected=9, n_scored=9,
        n_failed=0, scale="nano", judge=None, judge_fingerprint=None, decode_fingerprint=None,
        prompt_set="p", replicates=tuple(replicates),
    )  # fmt: skip


def test_the_figure_of_a_board(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cells = []
    for name, known, invented in (("a", 80.0, 70.0), ("b", 40.0, 45.0), ("c", 10.0, 5.0)):
        draws = [known - 1, known + 1]
        cells.append(cell(f"{name}_base", "knowledge_exam", "inconsistent", known, draws))
        cells.append(cell(name, "hallucination", "hallucination_rate", invented, [invented] * 2))
    pairs = [(f"{name}_base", name) for name in "abc"]
    gap = knowledge_gap(cells, pairs)
    assert gap.correlation == pytest.approx(0.977, abs=1e-3)
    assert gap.interval == pytest.approx((gap.correlation, gap.correlation))
    (tmp_path / "cells.jsonl").write_text(
        "\n".join(json.dumps(one.model_dump(mode="json")) for one in cells), encoding="utf-8"
    )
    figure.main([str(tmp_path), *(f"{base}={tuned}" for base, tuned in pairs)])
    assert "correlation over 3 base models: 0.977" in capsys.readouterr().out
    with pytest.raises(UserError, match="no hallucination hallucination_rate of d"):
        knowledge_gap(cells, [("a_base", "d")])
    with pytest.raises(SystemExit, match="usage"):
        figure.main([str(tmp_path)])


def test_a_constant_side_has_no_correlation() -> None:
    assert pearson([1, 2], [3, 3]) is None
    assert pearson([1], [3]) is None


def test_the_chain_runs_from_instructions_to_cells(tmp_path: Path) -> None:
    overrides = {"sft.max_steps": 2, "data.limit": 30, "models.helper.ref": "nano:helper"}
    made = reproduce("kca_refusal", overrides=overrides, suites=["hallucination", "knowledge_exam"])
    store = Store(tmp_path)
    made.run(store)
    by_name = {stage.operation.name: id for id, stage in made.plan.stages.items()}
    report = read_json(store.folder(by_name["kca_outcomes"]) / "report.json")
    assert report["instances"] == 146
    cells = {(c.system, c.suite, c.metric): c for c in made.cells}
    known = cells["base", "knowledge_exam", "consistent"]
    unknown = cells["base", "knowledge_exam", "inconsistent"]
    assert known.value is not None
    assert unknown.value is not None
    assert known.value + unknown.value == pytest.approx(100)
    rates = cells["refusal", "hallucination", "hallucination_rate"]
    assert (rates.n_expected, rates.n_failed) == (146, 0)
