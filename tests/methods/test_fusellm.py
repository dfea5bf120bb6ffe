"""FuseLLM and its baselines: what their plans ask for, the paper's figures, and one small run."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import BadRecord
from harness.distillation.explicit_fusion import Models
from harness.engine.plan import Plan
from harness.engine.recipe import ModelSpec, load_recipe
from harness.engine.registry import load
from harness.engine.run import InlineExecutor
from harness.engine.store import Store
from harness.nano.rehearsal import Rehearsal
from harness.reproduce import reproduce
from methods.fusellm.method import FUSELLM, RECIPE, FuseLLMRecipe

METHODS = {"fusellm": 4, "fusellm_avgce": 4, "distillation": 2, "clm": 0}  # teachers at nano


def nano(*overrides: str) -> FuseLLMRecipe:
    return load_recipe(FuseLLMRecipe, RECIPE, "nano", overrides)


def planned(name: str, recipe: FuseLLMRecipe) -> tuple[Plan, Any]:
    plan = Plan()
    return plan, plan.stages[load("methods", name).plan(recipe, plan.stage).id]


def names(plan: Plan) -> list[str]:
    return [stage.operation.name for stage in plan.stages.values()]


@pytest.mark.parametrize("name", METHODS)
def test_a_training_has_the_targets_teacher_first_and_the_sources_mapped(name: str) -> None:
    plan, train = planned(name, nano())
    teachers = train.inputs.get("teachers", ())
    assert len(teachers) == METHODS[name]
    made = [plan.stages[one.id].operation.name for one in teachers]
    assert made == (["make_teacher"] + ["map_teacher"] * (len(made) - 1) if made else [])
    assert names(plan).count("import_documents") == 1
    assert train.params.loss.lm_weight == (1.0 if name == "clm" else 0.9)
    assert train.params.loss.with_base == (name != "distillation")
    assert train.params.loss.fusion == ("avg_ce" if name == "fusellm_avgce" else "min_ce")
    for stage in plan.stages.values():  # whoever reads the corpus reads the same tokens
        if "bos" in type(stage.params).model_fields:
            assert (stage.params.bos, stage.params.eos) == (False, True)


def test_an_average_is_of_experts_in_parts_of_the_corpus() -> None:
    plan, merge = planned("parameter_averaging", nano())
    assert merge.params.rule.method == "linear"
    experts = [plan.stages[one.id] for one in merge.inputs["targets"]]
    assert [stage.params.loss.lm_weight for stage in experts] == [1.0] * 3
    domains = [plan.stages[stage.inputs["corpus"].id].params.domains for stage in experts]
    assert tuple(domains) == nano().experts
    assert names(plan).count("make_teacher") == 0
    with pytest.raises(BadRecord, match="two models or more; found 1"):
        planned("parameter_averaging", nano('experts=[["fact"]]'))
    plan, merge = planned("parameter_averaging", nano("experts=[]"))
    copies = [plan.stages[one.id] for one in merge.inputs["targets"]]
    assert [stage.params.seed for stage in copies] == [42, 43, 44]
    assert names(plan).count("import_documents") == 1


def test_any_number_of_sources_and_another_teacher() -> None:
    recipe = nano()
    spec = ModelSpec(ref="nano:source_c")
    for count in (1, 5):
        models = Models(target=recipe.models.target, sources=(spec,) * count)
        _, train = planned("fusellm", recipe.model_copy(update={"models": models}))
        assert len(train.inputs["teachers"]) == 1 + count
    models = recipe.models.model_copy(update={"teacher": spec})
    plan, _ = planned("distillation", recipe.model_copy(update={"models": models}))
    assert "map source_c" in [stage.label for stage in plan.stages.values()]


def test_the_paper_profile_holds_the_papers_settings() -> None:
    recipe = reproduce("fusellm", "paper").recipe
    train, loss = recipe.train, recipe.train.loss
    assert recipe.models.target.ref == "meta-llama/Llama-2-7b-hf"
    assert [spec.ref for spec in recipe.models.sources] == [
        "openlm-research/open_llama_7b_v2", "mosaicml/mpt-7b",
    ]  # fmt: skip
    assert (recipe.data.documents, recipe.data.max_tokens) == ("JeanKaddour/minipile", 2000)
    assert (recipe.teachers.k, recipe.mapping.vocabulary) == (10, "mined")
    assert (train.learning_rate, train.epochs, train.warmup_ratio) == (1e-5, 1, 0.008)
    assert (train.weight_decay, train.adam_beta2, train.max_grad_norm) == (0.1, 0.95, 1.0)
    assert (train.block_size, train.level, train.scheduler) == (2048, "block", "cosine")
    assert train.per_device_batch_size * train.accumulation_steps == 128
    assert (loss.lm_weight, loss.temperature, loss.fusion, loss.divergence) == (
        0.9, 1.0, "min_ce", "ce",
    )  # fmt: skip


def test_claims_quote_the_table_of_expected_figures() -> None:
    with RECIPE.with_name("expected.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    figures = {(row["row"], row["suite"].split("/")[-1]): float(row["value"]) for row in rows}
    systems = {
        "fusellm": "FuseLLM-7B", "clm": "Llama-2-CLM-7B", "target": "Llama-2-7B",
        "distillation": "Llama-2-7B KD from 13B",
    }  # fmt: skip
    averages = {
        "bbh_average": ("average of 27", "BBH average"),
        "commonsense": ("average of 5", "CommonSense average"),
        "multipl_e": ("average of 10", "MultiPL-E average"),
    }
    claims = reproduce("fusellm", "paper").recipe.claims
    assert len(rows) == 289
    assert len(claims) == 7
    for claim in claims:
        for side in ("better", "worse"):
            keys = [(systems[claim[side]], name) for name in averages[claim["metric"]]]
            assert claim[f"paper_{side}"] in [figures.get(key) for key in keys], claim["id"]


def test_a_rehearsal_keeps_the_systems_on_nano_models_documents_and_tasks() -> None:
    recipe = load_recipe(FuseLLMRecipe, RECIPE, "paper")
    tiny = Rehearsal().recipe(recipe)
    assert (tiny.systems, tiny.claims, tiny.mapping) == (
        recipe.systems, recipe.claims, recipe.mapping,
    )  # fmt: skip
    assert tiny.models.target.ref == "nano:target"
    assert tiny.models.teacher is not None
    assert tiny.train.loss == recipe.train.loss
    made = reproduce("fusellm", "paper", rehearse=True)
    refs = {getattr(s.params, "ref", "nano:") for s in made.plan.stages.values()}
    assert all(ref.startswith("nano:") for ref in refs)
    assert {stage.params.scale for stage in made.plan.stages.values() if "scale" in
            type(stage.params).model_fields} == {"rehearsal"}  # fmt: skip


def test_systems_share_the_stages_they_have_in_common() -> None:
    found = names(reproduce("fusellm", "nano").plan)
    assert found.count("import_documents") == 2 + 3  # to train on, held out, and the experts'
    assert found.count("make_teacher") == 4
    assert found.count("map_teacher") == 3 + 3  # and as released
    assert found.count("train_fusion") == 7 + 3  # and the experts


def test_a_small_run_from_documents_to_a_checkpoint(tmp_path: Path) -> None:
    recipe = nano("data.limit=16", "train.max_steps=2", "train.per_device_batch_size=2")
    store = Store(tmp_path / "store")
    plan = Plan()
    made = FUSELLM.plan(recipe, plan.stage)
    InlineExecutor().execute(plan, [made], store)
    log = json.loads((store.folder(made.id) / "training_log.json").read_text())["log"]
    assert [entry["step"] for entry in log] == [1, 2]
    assert all(entry["fusion"] > 0 for entry in log)
    mapped = [s for s in plan.stages.values() if s.operation.name == "map_teacher"]
    for stage in mapped:
        report = json.loads((store.folder(stage.id) / "alignment.json").read_text())
        assert (report["base"], report["documents"]) == ("nano:target@2", 16)
        assert report["transferable"] > 0.8
