"""FuseChat and its baselines: what their plans ask for, the papers' figures, and one small run."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from harness.cli.main import app
from harness.core.errors import BadRecord
from harness.engine.plan import Plan
from harness.engine.recipe import load_recipe
from harness.engine.registry import load
from harness.engine.run import InlineExecutor
from harness.engine.store import Store
from harness.models.checkpoints import load_causal_lm
from harness.reproduce import reproduce
from methods.fusechat.method import FUSECHAT, RECIPE, FuseChatRecipe


def recipe(profile: str = "nano", *overrides: str) -> FuseChatRecipe:
    return load_recipe(FuseChatRecipe, RECIPE, profile, overrides)


def planned(name: str, resolved: FuseChatRecipe) -> tuple[Plan, Any]:
    plan = Plan()
    return plan, plan.stages[load("methods", name).plan(resolved, plan.stage).id]


def count(plan: Plan, operation: str) -> int:
    return [stage.operation.name for stage in plan.stages.values()].count(operation)


@pytest.mark.parametrize(("profile", "sources"), [("nano", 3), ("paper", 5), ("paper-v1", 2)])
def test_each_source_is_fused_alone_with_the_pivot_and_all_are_merged(
    profile: str, sources: int
) -> None:
    plan, merge = planned("fusechat", recipe(profile))
    assert merge.operation.name == "merge_models"
    fused = [plan.stages[one.id] for one in merge.inputs["targets"]]
    assert [stage.operation.name for stage in fused] == ["train_fusion"] * sources
    (base,) = {plan.stages[stage.inputs["model"].id].id for stage in fused}
    assert merge.inputs["base"].id == base
    for stage in fused:
        pivot, source = (plan.stages[one.id] for one in stage.inputs["teachers"])
        assert (pivot.operation.name, source.operation.name) == ("make_teacher", "map_teacher")
        assert pivot.inputs["model"].id == base
        assert (stage.params.packing, stage.params.level) == ("none", "document")
    assert count(plan, "import_documents") == 1


def test_systems_share_their_fused_models() -> None:
    found = reproduce("fusechat", "nano").plan
    assert count(found, "train_fusion") == 3 + 2  # pairs; SFT and all at once
    assert count(found, "make_teacher") == 4
    assert (count(found, "merge_models"), count(found, "merge_by_mergekit")) == (4, 2)


def test_the_papers_settings() -> None:
    for profile, target, sources in (
        ("paper", "openchat/openchat_3.5", 5), ("paper-v1", "openchat/openchat_3.5", 2)
    ):  # fmt: skip
        found = reproduce("fusechat", profile).recipe
        train, loss = found.train, found.train.loss
        assert (found.models.target.ref, len(found.models.sources)) == (target, sources)
        assert (train.learning_rate, train.epochs, train.warmup_ratio) == (5e-6, 3, 0.03)
        assert (train.weight_decay, train.scheduler, train.block_size) == (0, "cosine", 2048)
        assert train.per_device_batch_size * train.accumulation_steps == 128
        assert (loss.lm_weight, loss.fusion, loss.temperature) == (0.9, "min_ce", 1.0)
        assert (found.teachers.k, found.mapping.vocabulary) == (10, "statistics")
    rules = {}
    for profile in ("paper", "paper-v1"):
        for system in reproduce("fusechat", profile).recipe.systems:
            made = system.set.get("mergekit") or system.set.get("merge.rule") or {}
            rules[profile, system.name] = {**made, **made.get("parameters", {})}
    assert rules["paper", "fusechat"]["select_topk"] == 0.1
    assert rules["paper", "fusechat_ta"]["weight"] == 0.3
    assert rules["paper", "fusechat_ties"]["density"] == 0.6
    assert rules["paper-v1", "fusechat_linear"]["weights"] == [1.0, 2.0]
    assert rules["paper-v1", "fusechat_dare"]["weights"] == [0.25, 0.5]
    assert reproduce("fusechat", "paper-v1").recipe.merge.rule.method == "varm"


def test_claims_quote_the_tables_of_expected_figures() -> None:
    with RECIPE.with_name("expected.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 326
    figures = {
        (row["paper"][:11], row["row"], row["suite"].split(" (")[0], row["metric"]): row["value"]
        for row in rows
    }
    v1 = {
        "fusechat_varm": "FuseChat-7B VaRM", "fusechat_linear": "FuseChat-7B Linear",
        "multi": "OpenChat-3.5-7B Multi", "sft": "OpenChat-3.5-7B CLM", "target": "OpenChat-3.5-7B",
    }  # fmt: skip
    v2 = {
        "fusechat": "FuseChat-7B (SCE)", "multi": "OpenChat-3.5-7B Multi",
        "sft": "OpenChat-3.5-7B SFT", "target": "OpenChat-3.5-7B",
    }  # fmt: skip
    checked = 0
    for profile in ("nano", "paper", "paper-v1"):
        for claim in reproduce("fusechat", profile).recipe.claims:
            first = claim["better"] == "fusechat_varm"
            for side in ("better", "worse"):
                if f"paper_{side}" not in claim:
                    continue
                names, paper = (v1, "FuseChat v1") if first else (v2, "FuseChat v2")
                lc = claim["metric"] == "lc_win_rate"
                metric = "LC win rate (%)" if lc else "judge score 1-10" if first else "average"
                suite = "AlpacaEval 2.0" if lc else "MT-Bench/average" if first else "MT-Bench"
                key = (paper, names[claim[side]], suite, metric)
                assert float(figures[key]) == claim[f"paper_{side}"], claim["id"]
                checked += 1
    assert checked >= 24


def test_rehearsals_keep_systems_and_use_nano_models() -> None:
    for profile in ("small", "paper", "paper-v1"):
        made = reproduce("fusechat", profile, rehearse=True)
        refs = {getattr(stage.params, "ref", "nano:") for stage in made.plan.stages.values()}
        assert all(ref.startswith("nano:") for ref in refs)
        given = reproduce("fusechat", profile).recipe
        assert made.recipe.systems == given.systems
        assert made.recipe.merge == given.merge


def test_some_sources_may_be_merged_and_unknown_ones_are_named() -> None:
    _, merge = planned("fusechat", recipe("nano", "merged=[2, 0]"))
    assert len(merge.inputs["targets"]) == 2
    with pytest.raises(BadRecord, match=r"source 3 is asked for; the recipe has 3 \(from 0\)"):
        planned("fusechat", recipe("nano", "merged=[3]"))
    with pytest.raises(BadRecord, match="source 7"):
        planned("fusechat_pair", recipe("nano", "source=7"))


def test_a_small_run_from_dialogues_to_a_merged_model(tmp_path: Path) -> None:
    resolved = recipe("nano", "data.limit=16", "train.max_steps=2", 'merge.rule={method="varm"}')
    store, plan = Store(tmp_path / "store"), Plan()
    made = FUSECHAT.plan(resolved, plan.stage)
    InlineExecutor().execute(plan, [made], store)
    folder = store.folder(made.id)
    card = json.loads((folder / "merge.json").read_text())
    assert len(card["models"]) == 4
    weights = [listed for listed in card["weights"].values() if listed]
    assert weights
    assert all(sum(listed) == pytest.approx(1) and min(listed) > 0 for listed in weights)
    fused = [plan.stages[one.id] for one in plan.stages[made.id].inputs["targets"]]
    states = [load_file(store.folder(stage.id) / "model.safetensors") for stage in fused]
    merged = load_file(folder / "model.safetensors")
    name = "model.layers.0.mlp.up_proj.weight"
    expected = sum(w * state[name] for w, state in zip(card["weights"][name], states))
    torch.testing.assert_close(merged[name], expected)
    assert not torch.equal(states[0][name], states[1][name])
    shown = CliRunner().invoke(app, ["show", made.id], env={"CRUCIBLE_HOME": str(store.root)})
    assert "weights    1 x model.norm.weight: 0." in shown.output
    model, _ = load_causal_lm(folder)
    assert model.config.model_type == "llama"


def test_merging_without_training_takes_models_of_one_shape(tmp_path: Path) -> None:
    store, plan = Store(tmp_path / "store"), Plan()
    made = load("methods", "merge").plan(recipe("nano", "merged=[0]"), plan.stage)
    with pytest.raises(
        Exception, match=r"does not fit the base.*model_type is qwen3; expected llama"
    ):
        InlineExecutor().execute(plan, [made], store)
