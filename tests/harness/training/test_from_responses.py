"""Recipes of methods that learn from responses: one table of settings for several losses."""

from __future__ import annotations

from typing import Any

import pytest

from harness.core.errors import BadRecord, UnknownName
from harness.core.records import parse
from harness.engine.plan import Stage
from harness.reproduce import reproduce
from harness.training.from_responses import PreferenceTraining
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
