"""Records of recipes by hand: names, ids, facts about what was replaced, errors of files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import pytest

from harness.core.errors import BadRecord
from harness.core.hashing import digest
from harness.core.records import Record
from harness.engine.recipe import (
    About,
    Method,
    ModelSpec,
    Recipe,
    SuiteSpec,
    SystemSpec,
    load_recipe,
    named_systems,
    profiles,
    read_toml,
    with_overrides,
    with_settings,
    without_stale,
)


@pytest.mark.parametrize(
    ("ref", "name"),
    [
        ("meta/Llama-8B", "Llama-8B"), ("nano:target", "target"), ("folder/model/", "model"),
        ("model", "model"), ("a/b:c", "c"),
    ],
)  # fmt: skip
def test_a_model_is_called_by_the_last_part_of_its_reference(ref: str, name: str) -> None:
    assert ModelSpec(ref=ref).display_name() == name
    assert ModelSpec(ref=ref, name="Own").display_name() == "Own"


def test_what_a_record_leaves_out_has_the_stated_value() -> None:
    model = ModelSpec(ref="x").model_dump()
    assert model == {"ref": "x", "name": None, "revision": None, "dtype": "auto",
                     "parameters_b": None, "trust_remote_code": False}  # fmt: skip
    assert SystemSpec(name="a", method="b").model_dump() == {
        "name": "a", "method": "b", "set": {}, "note": ""
    }  # fmt: skip
    assert SuiteSpec(name="a").model_dump() == {"name": "a", "edition": "", "settings": {}}
    recipe = Recipe(method="m", systems=(), suites=())
    assert recipe.model_dump() == {
        "method": "m", "title": "", "paper": "", "profile": "", "seed": 42, "systems": (),
        "suites": (), "claims": (),
    }  # fmt: skip
    assert recipe.id() == digest(recipe.model_dump(mode="json"))
    method = Method("m", Recipe, print)
    assert (method.recipe_file, method.variants, method.fidelity) == (None, None, "")
    assert method.preconditions is None


FILE = """
method = "m"
suites = []
systems = [{name = "base", method = "a"}, {method = "b"}, "odd"]
[profile.nano]
systems = [{name = "own", method = "a"}]
[profile.control]
like = "nano"
seed = 7
[profile.other]
seed = 3
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(FILE)
    return path


def test_profiles_and_systems_are_those_of_the_file(file: Path) -> None:
    assert profiles(file) == ["nano", "control", "other"]
    assert named_systems(file) == {"base", "own"}
    file.write_text('method = "m"\n')
    assert (profiles(file), named_systems(file)) == ([], set())


def test_a_seed_that_is_given_goes_over_everything(file: Path) -> None:
    made = load_recipe(Recipe, file, "control")
    assert (made.seed, made.profile, made.systems[0].name) == (7, "control", "own")
    assert load_recipe(Recipe, file, "control", ["seed=8"]).seed == 8
    assert load_recipe(Recipe, file, "control", ["seed=8"], seed=0).seed == 0
    assert load_recipe(Recipe, file, "nano", {"seed": 9}).seed == 9


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("profile = 3", '.toml: key "profile" must be a table of tables'),
        ("profile = {a = 1}", 'key "profile" must be a table of tables'),
        (
            '[profile.nano]\nlike = "other"\n[profile.other]\nlike = "x"',
            "expected a profile without",
        ),
        ('[profile.nano]\nprofile = "x"', 'key "profile.nano.profile" is set by the table'),
        ("[profile.nano]\nx = 1", 'unknown key "x"'),
        ("method = ", "recipe.toml: not TOML"),
    ],
)
def test_a_file_that_is_no_recipe_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(BadRecord, match=re.escape(said)):
        load_recipe(Recipe, path, "nano")


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadRecord, match=r"none.toml: cannot be read: No such file"):
        read_toml(tmp_path / "none.toml")
    (tmp_path / "a.toml").write_bytes(b'a = "\xff"')
    with pytest.raises(BadRecord, match=r"a.toml: not TOML"):
        read_toml(tmp_path / "a.toml")


class Inner(Record):
    ref: str = ""
    about: Annotated[int, About("ref")] = 0
    own: int = 0


class Outer(Record):
    one: Inner = Inner()
    many: tuple[Inner, ...] = ()
    free: dict[str, Any] = {}


KNOWN = {"one": {"ref": "a", "about": 1, "own": 2}, "free": {"ref": "a", "about": 1},
         "many": [{"ref": "a", "about": 1}, {"ref": "b", "about": 2}]}  # fmt: skip


@pytest.mark.parametrize(
    ("after", "given", "kept"),
    [
        ({"one": {"ref": "b", "about": 1, "own": 2}}, (), {"one": {"ref": "b", "own": 2}}),
        ({"one": {"ref": "b", "about": 1}}, ("one.about",), {"one": {"ref": "b", "about": 1}}),
        ({"one": {"ref": "b", "about": 1}}, ("one",), {"one": {"ref": "b", "about": 1}}),
        ({"one": {"ref": "a", "about": 1}}, (), {"one": {"ref": "a", "about": 1}}),
        ({"free": {"ref": "b", "about": 1}}, (), {"free": {"ref": "b", "about": 1}}),
        ({"many": [{"ref": "x", "about": 1}, {"ref": "b", "about": 2}, {"ref": "y", "about": 3}]},
         (), {"many": [{"ref": "x"}, {"ref": "b", "about": 2}, {"ref": "y", "about": 3}]}),
        ({"many": "text"}, (), {"many": "text"}),
        ({"one": None}, (), {"one": None}),
    ],
)  # fmt: skip
def test_facts_about_what_was_replaced_are_left_out(
    after: dict[str, Any], given: tuple[str, ...], kept: dict[str, Any]
) -> None:
    assert without_stale(Outer, KNOWN, after, given) == kept


def test_overrides_are_set_tables_first_and_a_text_is_a_reference() -> None:
    found = with_overrides(Outer, KNOWN, {"one.own": 7, "one": {"ref": "c", "about": 5}})
    assert found["one"] == {"ref": "c", "about": 5, "own": 7}
    found = with_overrides(Outer, KNOWN, {"one.own": 7, "one": "c"})
    assert found["one"] == {"ref": "c", "own": 7}
    found = with_overrides(Outer, KNOWN, {"many.1.ref": "c"})
    assert found["many"] == [{"ref": "a", "about": 1}, {"ref": "c"}]
    assert with_overrides(Outer, KNOWN, {"one": "c"})["one"] == "c"  # nothing else is set
    made = with_settings(
        Recipe(method="m", systems=(), suites=()), {"seed": 1, "title": "T"}, "system"
    )
    assert (made.seed, made.title) == (1, "T")
    with pytest.raises(BadRecord, match=r"^here: "):
        with_settings(made, {"sed": 1}, "here")
