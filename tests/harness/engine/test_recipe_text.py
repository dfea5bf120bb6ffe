"""Recipe files that are printed: the same recipe, with comments; and the keys that people mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.api.recipes import recipe_of
from harness.engine import registry
from harness.engine.recipe import load_recipe, profiles, read_toml
from harness.engine.recipe_keys import meant_key
from harness.engine.recipe_text import attributes, recipe_text
from harness.training.settings import RunSettings

HOSTS = [name for name, entry in registry.entries("methods").items() if not entry.recipe]


@pytest.mark.parametrize("name", HOSTS)
def test_every_recipe_is_read_back_with_its_id(name: str, tmp_path: Path) -> None:
    method, path = recipe_of(name)
    for profile in profiles(path):
        recipe = load_recipe(method.recipe, path, profile)
        file = tmp_path / "my.toml"
        file.write_text(recipe_text(recipe, ("A heading.",)))
        assert profiles(file) == [profile]
        assert load_recipe(method.recipe, file, profile).id() == recipe.id(), profile
        assert file.read_text().startswith("# A heading.\n")


def test_fields_have_the_comments_of_their_records(tmp_path: Path) -> None:
    method, path = recipe_of("wrpo")
    text = recipe_text(load_recipe(method.recipe, path, "nano"))
    assert "# number of updates; replaces `epochs` when given." not in text  # None is no value
    assert "# share of the updates over which the learning rate rises.\nwarmup_ratio = 0.1" in text
    assert text.index("[train]") < text.index("[[systems]]") < text.index("[[claims]]")
    (tmp_path / "a.toml").write_text(text)
    assert read_toml(tmp_path / "a.toml")["train"]["settings"]["beta"] > 0


def test_attributes_of_bases_and_of_several_names() -> None:
    class Named(RunSettings):
        """One.

        Attributes:
            low, high: ends of a span,
                in two lines.
        """

        low: float = 0.0
        high: float = 1.0

    found = attributes(Named)
    assert found["low"] == found["high"] == "ends of a span, in two lines."
    assert found["save_steps"].startswith("updates between checkpoints")


def test_a_key_of_the_same_table_is_meant_first() -> None:
    keys = ["sft.beta", "train.settings.beta", "train.epochs", "seed"]
    assert meant_key("train.beta", keys) == "train.settings.beta"
    assert meant_key("sft.settings.beta", keys) == "sft.beta"
    assert meant_key("train.epoch", keys) == "train.epochs"
    assert meant_key("sed", keys) == "seed"
    assert meant_key("zzz", keys) is None
