"""Every built-in method: conformance, and the paper's settings resolved."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from harness.api.recipes import recipe_of
from harness.engine import registry
from harness.engine.recipe import load_recipe, profiles
from harness.reproduce import reproduce
from harness.testing import check_method

ROOT = Path(__file__).resolve().parents[2]
METHODS = list(registry.entries("methods"))


@pytest.mark.parametrize("name", METHODS)
def test_conformance(name: str) -> None:
    method, path = recipe_of(name)
    for profile in profiles(path):
        check_method(method, load_recipe(method.recipe, path, profile))


PREDICTED = [path.parent.name for path in sorted(ROOT.glob("methods/*/prediction.md"))]


@pytest.mark.parametrize("name", PREDICTED)
def test_a_prediction_names_every_claim_of_mechanism_and_control(name: str) -> None:
    _, path = recipe_of(name)
    told = path.with_name("prediction.md").read_text(encoding="utf-8")
    cells = {cell.strip(" *") for line in told.splitlines() for cell in line.split("|")[1:2]}
    named = {claim for cell in cells for claim in cell.split(", ")}
    claims = {
        profile: {claim["id"] for claim in reproduce(name, profile).recipe.claims}
        for profile in ("nano", "nano-control")
    }
    assert claims["nano"] & claims["nano-control"]
    for profile, ids in claims.items():
        assert ids <= named, profile


def test_the_paper_profile_holds_the_papers_settings() -> None:
    recipe = reproduce("wrpo", "paper").recipe
    train, sft = recipe.train, recipe.sft
    assert recipe.models.target.ref == "meta-llama/Meta-Llama-3-8B-Instruct"
    assert len(recipe.models.sources) == 10
    assert recipe.models.reward.ref == "RLHFlow/ArmoRM-Llama3-8B-v0.1"
    assert (recipe.sampling.n, recipe.sampling.temperature, recipe.sampling.top_p) == (5, 0.8, 0.95)
    assert recipe.data.sft_fraction == pytest.approx(1 / 3)
    assert (sft.learning_rate, sft.epochs, sft.warmup_ratio) == (7e-6, 1, 0.1)
    assert sft.per_device_batch_size * sft.accumulation_steps == 128
    assert (train.learning_rate, train.settings.beta) == (3e-7, 0.01)
    assert (train.settings.alpha_end, train.settings.alpha_mode) == (0.1, "dynamic")
    assert train.per_device_batch_size * train.accumulation_steps == 128
    assert (train.max_length, train.max_prompt_length, recipe.seed) == (2048, 1800, 42)


def test_claims_quote_the_table_of_expected_figures() -> None:
    with (ROOT / "methods/wrpo/expected.csv").open(encoding="utf-8", newline="") as stream:
        figures = {
            (row["row"], row["suite"], row["metric"]): float(row["value"])
            for row in csv.DictReader(stream)
        }
    rows = {
        "target": "Target",
        "sft": "Target-SFT",
        "dpo": "Target-SFT-DPO",
        "wrpo": "Target-SFT-WRPO",
    }
    claims = reproduce("wrpo", "nano").recipe.claims
    compared = [claim for claim in claims if "better" in claim]
    assert (len(claims), len(compared)) == (17, 16)  # and a dose-response, which is ours
    for claim in compared:
        for side in ("better", "worse"):
            key = (rows[claim[side]], claim["suite"], claim["metric"])
            assert claim[f"paper_{side}"] == figures[key], claim["id"]


@pytest.mark.parametrize(
    "name", sorted({e.recipe or n for n, e in registry.entries("methods").items()})
)
def test_scores_of_a_nano_world_have_one_scale(name: str) -> None:
    """A board takes one scale: a suite on the training itself is no exception in a control."""
    _, path = recipe_of(name)
    for profile in profiles(path):
        if profile.startswith("nano"):
            made = reproduce(name, profile)
            scales = {made.plan.stages[handle.id].params.scale for handle in made.targets}
            assert scales == {"nano"}, profile


def test_a_claim_about_systems_that_a_profile_lacks_is_left_out() -> None:
    claims = {
        profile: {claim["id"] for claim in reproduce("wrpo", profile).recipe.claims}
        for profile in ("nano", "small")
    }
    assert claims["nano"] - claims["small"] == {"wrpo-dose-lc"}


def test_systems_share_the_stages_they_have_in_common() -> None:
    made = reproduce("wrpo", "nano")
    names = [stage.operation.name for stage in made.plan.stages.values()]
    assert names.count("import_prompts") == 1 + 3  # training, and one per suite
    assert names.count("train_sft") == 1
    assert names.count("reference_logps") == 1
    trained = sum(
        system.method not in ("target", "source", "sft") for system in made.recipe.systems
    )
    assert names.count("train_preference") == trained


def test_seeds_replicate_everything_random_and_nothing_else() -> None:
    one, two = reproduce("wrpo", "nano", seeds=1), reproduce("wrpo", "nano", seeds=2)
    assert set(one.plan.stages) < set(two.plan.stages)
    shared = {"import_model", "import_prompts", "import_answers"}
    names = [stage.operation.name for stage in two.plan.stages.values()]
    for operation in shared:
        alone = [stage.operation.name for stage in one.plan.stages.values()]
        assert names.count(operation) == alone.count(operation)


def test_a_baseline_runs_alone_beside_the_target() -> None:
    made = reproduce("simpo", "nano")
    assert [system.name for system in made.recipe.systems] == ["target", "simpo"]
