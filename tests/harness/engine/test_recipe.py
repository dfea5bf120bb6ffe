"""Recipes: inheritance, overrides, and errors that say where."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.errors import BadRecord, UnknownName, UserError
from harness.core.records import Record
from harness.engine.recipe import Recipe, load_recipe, merge, set_key

TEXT = """
method = "m"
[train]
learning_rate = 5e-7
[[systems]]
name = "a"
method = "a"
[[suites]]
name = "mt_bench"
[profile.nano.train]
learning_rate = 1e-3
[profile.paper]
seed = 7
"""


class Train(Record):
    learning_rate: float
    steps: int = 3


class Toy(Recipe):
    train: Train


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(TEXT)
    return path


def test_the_profile_stands_over_the_base(file: Path) -> None:
    assert load_recipe(Toy, file, "nano").train.learning_rate == 1e-3
    paper = load_recipe(Toy, file, "paper")
    assert (paper.train.learning_rate, paper.seed, paper.profile) == (5e-7, 7, "paper")


def test_overrides_are_typed_and_validated(file: Path) -> None:
    recipe = load_recipe(Toy, file, "nano", ["train.learning_rate=2e-4", "systems.0.name=b"])
    assert (recipe.train.learning_rate, recipe.systems[0].name) == (2e-4, "b")
    with pytest.raises(BadRecord, match=r'--set train.stesp=1: unknown key "train.stesp".*"steps"'):
        load_recipe(Toy, file, "nano", ["train.stesp=1"])
    with pytest.raises(BadRecord, match=r"train.steps.*valid integer"):
        load_recipe(Toy, file, "nano", ["train.steps=many"])
    with pytest.raises(UserError, match="key=value"):
        load_recipe(Toy, file, "nano", ["train.steps"])
    with pytest.raises(BadRecord, match="list of 1"):
        load_recipe(Toy, file, "nano", ["systems.4.name=b"])
    with pytest.raises(BadRecord, match="not a table"):
        load_recipe(Toy, file, "nano", ["method.x=b"])


def test_an_unknown_profile_names_the_known_ones(file: Path) -> None:
    with pytest.raises(UnknownName, match='did you mean "nano"'):
        load_recipe(Toy, file, "nanoo")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("learning_rate = 5e-7", 'learning_rate = "fast"', r"recipe.toml: key .*learning_rate"),
        ("[train]", "[trian]", r'unknown key "trian"; did you mean "train"'),
        ('method = "m"', 'method = "m', "not TOML"),
        ("seed = 7", 'profile = "x"', "set by the table's name"),
    ],
)
def test_a_bad_recipe_says_file_and_key(file: Path, old: str, new: str, message: str) -> None:
    file.write_text(TEXT.replace(old, new, 1).replace("learning_rate = 1e-3", "steps = 4"))
    with pytest.raises(BadRecord, match=message):
        load_recipe(Toy, file, "paper")


def test_the_id_depends_on_every_value(file: Path) -> None:
    one, two = load_recipe(Toy, file, "nano"), load_recipe(Toy, file, "nano", ["seed=43"])
    assert one.id() != two.id()
    assert one.id() == load_recipe(Toy, file, "nano").id()


tables = st.recursive(
    st.integers(), lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
).filter(lambda value: isinstance(value, dict))


@given(tables)
def test_merging_with_itself_or_nothing_changes_nothing(table: dict) -> None:
    assert merge(table, {}) == merge({}, table) == merge(table, table) == table


@given(tables, st.sampled_from(["a", "b.c", "a.b.c"]))
def test_setting_a_key_keeps_the_original(table: dict, key: str) -> None:
    import copy

    before = copy.deepcopy(table)
    try:
        changed = set_key(table, key, 9)
    except BadRecord:
        changed = None
    assert table == before
    if changed is not None:
        for part in key.split("."):
            changed = changed[part]
        assert changed == 9
