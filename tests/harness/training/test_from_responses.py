"""Recipes of methods that learn from responses: one table of settings for several losses."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import BadData, BadRecord, UnknownName
from harness.core.records import parse
from harness.engine.operations import Artifact, Context
from harness.engine.plan import Stage
from harness.engine.run import InlineExecutor
from harness.engine.store import Store
from harness.nano.rehearsal import Rehearsal
from harness.reproduce import Reproduction, reproduce
from harness.training.from_responses import FusionRecipe, PreferenceTraining
from harness.training.given_preferences import Preferences
from harness.training.preference_data import PreferredResponsesParams, preferred_responses
from methods.wrpo.loss import WrpoSettings


def table(loss: str = "wrpo", **settings: Any) -> PreferenceTraining:
    given = {"loss": loss, "settings": settings, "learning_rate": 1e-5}
    return parse(PreferenceTraining, given, "recipe.toml")


def test_each_loss_takes_the_settings_that_it_has() -> None:
    train = table(beta=0.3, alpha_end=0.2, gamma_over_beta=0.5)
    assert isinstance(train.settings, WrpoSettings)
    assert (train.settings.beta, train.settings.alpha_end) == (0.3, 0.2)
    assert train.settings_for("wrpo_two_pairs") == {
        "beta": 0.3, "normalisation": "default", "label_smoothing": 0.0
    }  # fmt: skip
    assert train.settings_for("simpo")["gamma_over_beta"] == 0.5
    assert "gamma_over_beta" not in train.settings_for("wrpo")
    assert "alpha_end" not in train.settings_for("simpo")
    assert train.settings_for("sft") == {}


def test_the_table_survives_another_loss_and_another_reading() -> None:
    train = table(beta=0.3, gamma_over_beta=0.5)
    data = train.model_dump()
    assert data["settings"]["gamma_over_beta"] == 0.5
    assert parse(PreferenceTraining, data, "again").model_dump() == data
    other = parse(PreferenceTraining, {**data, "loss": "simpo"}, "again")
    assert other.settings_for("wrpo") == train.settings_for("wrpo")


def test_what_no_loss_knows_is_refused_with_the_nearest_field_of_the_recipes_loss() -> None:
    with pytest.raises(BadRecord, match='no setting of loss "wrpo" named "alpha_ends"; did you'):
        table(alpha_ends=0.3)
    with pytest.raises(BadRecord, match='settings of loss "wrpo": key "beta" is 0; expected'):
        table(beta=0)
    with pytest.raises(BadRecord, match=r'of loss "\w*simpo\w*": key "gamma_over_beta" is -1'):
        table(gamma_over_beta=-1)
    with pytest.raises(BadRecord, match="alpha_end in"):
        table("dpo", alpha_end=1.5)
    with pytest.raises(UnknownName, match='did you mean "wrpo"'):
        table("wrop")


def trainings(*overrides: str) -> dict[str, Stage]:
    plan = reproduce("wrpo", "paper", overrides=overrides).plan
    made = [stage for stage in plan.stages.values() if stage.operation.name == "train_preference"]
    return {stage.label: stage for stage in made}


def test_a_setting_of_one_loss_leaves_the_stages_of_the_others_alone() -> None:
    plain = trainings()
    mixed = trainings("train.settings.alpha_end=0.3")
    changed = {label for label in plain if plain[label].id != mixed[label].id}
    assert changed == {"train wrpo", "train wrpo_simpo", "train wrpo_ipo"}
    assert {label for label, stage in trainings("train.settings.tau=0.3").items()
            if stage.id != plain[label].id} == {"train ipo", "train wrpo_ipo"}  # fmt: skip


def test_a_plan_estimates_what_each_loss_trains() -> None:
    made = reproduce("wrpo", "paper").plan
    estimates = made.estimates()
    tokens = {stage.label: estimates[id].tokens for id, stage in made.stages.items()}
    rows = 40_000
    assert tokens["train dpo"] == tokens["train simpo"] == 2 * rows * 650
    assert tokens["train wrpo"] == tokens["reference log-probs"] == 3 * rows * 650
    assert tokens["SFT on best source responses"] == 20_000 * 650


def quadruples(path: Path, number: int = 12) -> str:
    """A file of WRPO's quadruples."""
    told = [{"role": "assistant", "content": text} for text in ("source", "good", "bad")]
    rows = [
        {"prompt": {"role": "user", "content": f"q{n}"}, "chosen": told[:2], "rejected": told[2:]}
        for n in range(number)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def pairs(path: Path) -> str:
    path.write_text('{"prompt": "Hi", "chosen": "A", "rejected": "B"}\n')
    return str(path)


def operations(made: Reproduction) -> Counter[str]:
    return Counter(stage.operation.name for stage in made.plan.stages.values())


def test_preferences_that_exist_replace_sampling_and_rewards(tmp_path: Path) -> None:
    given = {"data.preferences": quadruples(tmp_path / "a.jsonl")}
    made = reproduce("wrpo", overrides=given, suites=["alpaca_eval2"], limit=9)
    found = operations(made)
    assert found["import_preferences"] == found["reference_logps"] == found["train_sft"] == 1
    assert found["preferred_responses"] == 1
    assert found["split_prompts"] == 2
    assert found["train_preference"] == 8
    gone = ("score_rewards", "best_responses", "preference_pairs")
    assert not set(gone) & set(found)
    estimates = made.plan.estimates()
    rows = {stage.label: estimates[id].rows for id, stage in made.plan.stages.items()}
    assert rows["train wrpo"] == rows["preference rows"] == 6
    assert rows["SFT on preferred responses"] == 3
    other = reproduce("wrpo", "small", overrides={**given, "data.sft_fraction": 0})
    found = operations(other)
    assert not found["train_sft"] + found["split_prompts"] + found["preferred_responses"]


def test_a_loss_on_responses_that_the_data_lack_is_refused_while_a_plan_is_made(
    tmp_path: Path,
) -> None:
    given = {"data.preferences": pairs(tmp_path / "a.jsonl")}
    for method in ("wrpo", "dpo_off_policy", "wrpo_ipo"):
        with pytest.raises(BadData, match=r"has the responses target, rejected; loss .* source"):
            reproduce(method, overrides=given)
    for method in ("dpo", "simpo", "ipo", "ln_dpo"):
        assert operations(reproduce(method, overrides=given))["train_preference"] == 1


def test_a_recipe_with_preferences_needs_no_sources(tmp_path: Path) -> None:
    text = f"""
method = "dpo"
systems = [{{ name = "dpo", method = "dpo" }}]
suites = [{{ name = "mt_bench" }}]
[models.target]
ref = "nano:target"
[data]
preferences = "{pairs(tmp_path / "a.jsonl")}"
[sft]
learning_rate = 1e-4
[train]
loss = "dpo"
learning_rate = 1e-4
[profile.nano]
"""
    path = tmp_path / "mine.toml"
    path.write_text(text)
    assert operations(reproduce(path))["import_preferences"] == 1
    path.write_text(text.replace("preferences =", "prompts ="))
    with pytest.raises(BadRecord, match=r"expected models.sources, or preferences that exist"):
        reproduce(path)
    for lacking in ("data.prompts=", "models.reward={}", "models.sources=[]"):
        with pytest.raises(BadRecord, match="--set"):
            reproduce("wrpo", overrides=[lacking])


def test_preferences_are_rehearsed_and_shown_with_their_settings(tmp_path: Path) -> None:
    given = ["data.preferences.split=test", "data.preferences=org/name"]
    recipe = reproduce("wrpo", "paper", overrides=given).recipe
    assert isinstance(recipe, FusionRecipe)
    assert recipe.data.preferences == Preferences(ref="org/name", split="test")
    rehearsed = Rehearsal().recipe(recipe)
    assert rehearsed.data.preferences == Preferences(ref="nano:train")
    assert "preferences" not in reproduce("wrpo").recipe.model_dump()["data"]


def test_data_of_another_set_lose_the_facts_about_the_first() -> None:
    recipe = reproduce("wrpo", "paper", overrides=["data.prompts=org/mine"]).recipe
    assert isinstance(recipe, FusionRecipe)
    assert (recipe.data.split, recipe.data.field, recipe.data.expected_rows) == (None, None, None)


def test_a_replaced_model_is_planned_without_the_size_of_the_first() -> None:
    made = reproduce("wrpo", "paper", overrides=["models.target.ref=org/other"])
    estimates = made.plan.estimates()
    sizes = {stage.label: estimates[id].parameters_b for id, stage in made.plan.stages.items()}
    assert sizes["model other"] is None
    assert sizes["model gemma-2-27b-it"] == 27.2


def test_dpo_on_given_pairs_trains_on_the_rows_of_the_file(tmp_path: Path) -> None:
    ref = quadruples(tmp_path / "a.jsonl", 6)
    made = reproduce(
        "dpo",
        overrides={"data.preferences": ref, "train.max_steps": 1, "sft.max_steps": 1},
        limit=6,
    )
    handle = made.models[made.recipe.seed, "dpo"]
    assert handle is not None
    store = Store(tmp_path / "store")
    InlineExecutor().execute(made.plan, [handle], store)
    by_operation = {stage.operation.name: id for id, stage in made.plan.stages.items()}
    preferred = store.artifact(by_operation["preferred_responses"]).rows()
    assert [row["response"] for row in preferred] == ["source"] * 2
    trained = store.artifact(by_operation["reference_logps"]).rows()
    imported = store.artifact(by_operation["import_preferences"]).rows()
    ids = {row["id"] for row in imported}
    assert ids == {row["id"] for row in preferred} | {row["id"] for row in trained}
    step = store.artifact(handle.id).read_json("training_log.json")["log"][0]
    assert abs(step["loss"] - math.log(2)) < 1e-6


def test_too_few_preferences_for_sft_say_what_to_set(
    context: Callable[[str], Context], rows_artifact: Callable[..., Artifact]
) -> None:
    with pytest.raises(BadData, match=r"set data.sft_fraction = 0"):
        preferred_responses(context("none"), PreferredResponsesParams(), rows=rows_artifact([]))
