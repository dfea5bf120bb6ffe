"""Recipes: inheritance, overrides, and errors that say where."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import model_validator

from harness.core.errors import BadRecord, UnknownName, UserError
from harness.core.records import Record
from harness.engine.overrides import merge, set_key
from harness.engine.recipe import ModelSpec, Recipe, load_recipe, with_settings

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


def test_a_profile_may_change_another_one(file: Path) -> None:
    control = '[profile.control]\nlike = "nano"\n[profile.control.train]\nsteps = 9\n'
    file.write_text(TEXT + control)
    made = load_recipe(Toy, file, "control")
    assert (made.train.learning_rate, made.train.steps, made.profile) == (1e-3, 9, "control")
    for other in ("nan", "control"):
        file.write_text(TEXT + control.replace('"nano"', f'"{other}"'))
        with pytest.raises(BadRecord, match=rf"control\.like.*'{other}'.*nano, paper"):
            load_recipe(Toy, file, "control")


def test_facts_about_a_replaced_model_are_dropped_between_profiles(tmp_path: Path) -> None:
    class Modelled(Toy):
        chat: ModelSpec

    path = tmp_path / "recipe.toml"
    path.write_text(
        TEXT + '[profile.nano.chat]\nref = "one"\nparameters_b = 7.0\n'
        '[profile.control]\nlike = "nano"\nchat = { ref = "two" }\n'
    )
    assert load_recipe(Modelled, path, "nano").chat.parameters_b == 7.0
    assert load_recipe(Modelled, path, "control").chat == ModelSpec(ref="two")


def test_overrides_are_typed_and_validated(file: Path) -> None:
    recipe = load_recipe(Toy, file, "nano", ["train.learning_rate=2e-4", "systems.0.name=b"])
    assert (recipe.train.learning_rate, recipe.systems[0].name) == (2e-4, "b")
    with pytest.raises(
        BadRecord, match=r'--set train.stesp=1: unknown key "train.stesp".*"train.steps"'
    ):
        load_recipe(Toy, file, "nano", ["train.stesp=1"])
    with pytest.raises(BadRecord, match=r"train.steps.*valid integer"):
        load_recipe(Toy, file, "nano", ["train.steps=many"])
    with pytest.raises(UserError, match="key=value"):
        load_recipe(Toy, file, "nano", ["train.steps"])
    with pytest.raises(BadRecord, match="list of 1"):
        load_recipe(Toy, file, "nano", ["systems.4.name=b"])
    with pytest.raises(BadRecord, match="not a table"):
        load_recipe(Toy, file, "nano", ["method.x=b"])


class Pair(Record):
    low: int = 1
    high: int = 2

    @model_validator(mode="after")
    def _ordered(self) -> Pair:
        if self.low >= self.high:
            raise ValueError(f"low below high ({self.high})")
        return self


class Study(Recipe):
    """A recipe with models, data and two settings that depend on each other."""

    target: ModelSpec
    sources: tuple[ModelSpec, ...] = ()
    pair: Pair = Pair()


STUDY = """
method = "m"
systems = []
suites = []
[target]
ref = "org/old"
name = "Old"
revision = "abc"
dtype = "bfloat16"
parameters_b = 8
trust_remote_code = true
[[sources]]
ref = "org/a"
parameters_b = 1
[[sources]]
ref = "org/b"
parameters_b = 2
[profile.same]
[profile.other.target]
ref = "org/profile"
dtype = "float16"
"""


@pytest.fixture
def study(tmp_path: Path) -> Path:
    path = tmp_path / "study.toml"
    path.write_text(STUDY)
    return path


@pytest.mark.parametrize("order", permutations(["pair.low=5", "pair.high=9"]))
def test_overrides_that_are_valid_only_together_may_come_in_any_order(
    study: Path, order: tuple[str, ...]
) -> None:
    made = load_recipe(Study, study, "same", order)
    assert (made.pair.low, made.pair.high) == (5, 9)
    with pytest.raises(BadRecord, match=r"^--set pair.low=5 --set seed=1: key .pair.*low below"):
        load_recipe(Study, study, "same", ["pair.low=5", "seed=1"])


@pytest.mark.parametrize(
    "order", permutations(["target={ref='org/new'}", "target.parameters_b=3", "target.name=N"])
)
def test_a_table_and_a_field_of_it_may_come_in_any_order(
    study: Path, order: tuple[str, ...]
) -> None:
    made = load_recipe(Study, study, "same", order).target
    assert made == ModelSpec(ref="org/new", parameters_b=3, name="N")


def test_an_override_may_complete_a_file_and_faults_of_the_file_name_the_file(study: Path) -> None:
    study.write_text(STUDY.replace('ref = "org/old"\n', ""))
    assert load_recipe(Study, study, "same", ["target.ref=org/x"]).target.ref == "org/x"
    with pytest.raises(BadRecord, match=r"study.toml: key .target.ref. is missing"):
        load_recipe(Study, study, "same", ["seed=3"])


def test_facts_about_a_model_go_with_it(study: Path) -> None:
    assert load_recipe(Study, study, "same", ["target.ref=org/new"]).target == ModelSpec(
        ref="org/new"
    )
    kept = load_recipe(Study, study, "same", ["target.parameters_b=3", "target.ref=org/new"])
    assert kept.target == ModelSpec(ref="org/new", parameters_b=3)
    same = load_recipe(Study, study, "same", ["target.ref=org/old"]).target
    assert same == load_recipe(Study, study, "same").target
    assert same.parameters_b == 8
    assert load_recipe(Study, study, "other").target == ModelSpec(
        ref="org/profile", dtype="float16"
    )
    sources = load_recipe(Study, study, "same", ["sources.1.ref=org/c"]).sources
    assert sources == (ModelSpec(ref="org/a", parameters_b=1), ModelSpec(ref="org/c"))
    system = with_settings(
        load_recipe(Study, study, "same"), {"sources.0.ref": "org/d", "seed": 1}, "system"
    )
    assert system.sources[0] == ModelSpec(ref="org/d")
    assert system.target.parameters_b == 8


def test_what_the_base_says_about_any_model_stays(study: Path) -> None:
    study.write_text(STUDY.replace('ref = "org/old"\n', "").replace("revision", "# revision"))
    assert load_recipe(Study, study, "other").target == ModelSpec(
        ref="org/profile", name="Old", dtype="float16", parameters_b=8, trust_remote_code=True
    )


def test_a_text_for_a_table_is_its_reference(study: Path) -> None:
    for order in permutations(["target=org/new", "target.dtype=float32"]):
        made = load_recipe(Study, study, "same", order).target
        assert made == ModelSpec(ref="org/new", dtype="float32")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("target.ref.x=1", '--set target.ref.x: "target.ref" is .org/old., not a table'),
        ("sources.0.ref.x=1", '"sources.0.ref" is .org/a., not a table'),
        ("sources.7.ref=x", '--set sources.7.ref: "sources" is a list of 2; found "7"'),
    ],
)
def test_a_key_that_leads_through_no_table_is_named_whole(
    study: Path, override: str, said: str
) -> None:
    with pytest.raises(BadRecord, match=said):
        load_recipe(Study, study, "same", [override])


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
