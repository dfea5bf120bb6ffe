"""Rehearsals: records are walked, whatever they declare is replaced, everything else is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import pytest

from harness.core.records import Record
from harness.engine.recipe import (
    Method,
    ModelSpec,
    Recipe,
    Refers,
    Rehearsed,
    SuiteSpec,
    SystemSpec,
    load_recipe,
    with_settings,
)
from harness.nano.rehearsal import DTYPES, Rehearsal
from harness.training.settings import RunSettings
from methods.fusechat3.method import RECIPE as FUSECHAT3_RECIPE
from methods.fusechat3.method import FuseChat3Recipe


class Documents(Record):
    text: Annotated[str, Refers("documents")]
    column: Annotated[str, Refers("layout")] = "text"
    domains: Annotated[tuple[str, ...], Refers("domains")] = ()
    limit: int | None = None


class Wider(Documents):
    """A record that gives a field another default keeps its declaration."""

    text: str = "org/wider"


class OwnRecipe(Recipe):
    teacher: ModelSpec
    students: tuple[ModelSpec, ...] = ()
    scorer: Annotated[ModelSpec | None, Refers("reward_model")] = None
    documents: Documents = Documents(text="org/documents")
    more: Wider = Wider()
    training: RunSettings = RunSettings(learning_rate=1e-6)
    beta: float = 0.1
    check: Annotated[str, Rehearsed(lambda check: "light")] = "thorough"


def made(**own: Any) -> OwnRecipe:
    values: dict[str, Any] = {
        "method": "own",
        "systems": (SystemSpec(name="own", method="own"),),
        "suites": (),
        "teacher": ModelSpec(ref="org/teacher-70b"),
    }
    return OwnRecipe(**{**values, **own})


def refs(*models: ModelSpec) -> list[str]:
    return [model.ref for model in models]


def test_models_become_nano_models_by_kind_and_keep_their_names() -> None:
    students = (ModelSpec(ref="org/a"), ModelSpec(ref="org/b", name="second"))
    tiny = Rehearsal().recipe(made(students=students, scorer=ModelSpec(ref="org/reward")))
    assert refs(tiny.teacher, *tiny.students) == ["nano:target", "nano:source_a", "nano:source_b"]
    assert tiny.scorer is not None
    assert tiny.scorer.ref == "nano:reward"
    assert [model.display_name() for model in tiny.students] == ["a", "second"]
    assert not tiny.scorer.trust_remote_code


def test_different_models_stay_different_and_equal_ones_equal() -> None:
    names = ["teacher-70b", *"abcdefghij", "a"]
    tiny = Rehearsal().recipe(made(students=tuple(ModelSpec(ref=f"org/{n}") for n in names)))
    found = [(model.ref, model.dtype) for model in tiny.students]
    assert found[0] == (tiny.teacher.ref, tiny.teacher.dtype)
    assert found[-1] == found[1]
    assert len(set(found)) == 11 <= 4 * len(DTYPES)


def test_data_become_nano_data_in_the_default_layout() -> None:
    given = Documents(text="org/documents", column="content", domains=("law", "law", "medicine"))
    tiny = Rehearsal().recipe(made(documents=given))
    assert (tiny.documents.text, tiny.documents.column) == ("nano:train", "text")
    assert tiny.documents.domains == ("arith", "arith", "compare")
    assert tiny.more.text == "nano:train"


def test_sizes_shrink_and_settings_stay() -> None:
    training = RunSettings(
        learning_rate=3e-7, epochs=3, per_device_batch_size=16, dtype="bfloat16", warmup_ratio=0.2
    )
    tiny = Rehearsal().recipe(made(training=training, beta=10.0))
    assert (tiny.training.per_device_batch_size, tiny.training.dtype) == (2, "float32")
    assert (tiny.training.learning_rate, tiny.training.epochs) == (3e-7, 3)
    assert (tiny.training.warmup_ratio, tiny.beta, tiny.systems) == (0.2, 10.0, made().systems)
    assert tiny.documents.limit == 24
    smaller = Rehearsal().recipe(made(documents=Documents(text="org/documents", limit=5)))
    assert smaller.documents.limit == 5


def test_a_field_may_have_a_rule_of_its_own() -> None:
    assert Rehearsal().recipe(made()).check == "light"


def test_settings_of_one_system_are_rehearsed_with_the_same_models() -> None:
    rehearsal = Rehearsal()
    tiny = rehearsal.recipe(made(students=(ModelSpec(ref="org/a"),)))
    own = with_settings(tiny, {"students": [{"ref": "org/a"}, {"ref": "org/new"}]}, "--set")
    again = rehearsal.recipe(own)
    assert again.teacher == tiny.teacher
    assert refs(*again.students) == ["nano:source_a", "nano:source_b"]


def test_suites_take_their_nano_questions_and_keep_other_settings() -> None:
    settings = {
        "judge": "openai:gpt-4", "prompts": "mine.jsonl", "lc_mode": "compat-stable",
        "decode": {"max_tokens": 4096},
    }  # fmt: skip
    suites = (
        SuiteSpec(name="alpaca_eval2", edition="official", settings=settings),
        SuiteSpec(name="lm_fusellm", settings={"data": {"bbh": "bbh.jsonl"}, "batch_size": 8}),
        SuiteSpec(name="personality_essays", edition="official"),
    )
    alpaca, tasks, essays = Rehearsal().recipe(made(suites=suites)).suites
    assert not alpaca.edition
    assert set(alpaca.settings) == {"lc_mode", "decode", "limit"}
    assert alpaca.settings["decode"]["max_tokens"] == 96
    assert all(name.startswith("crucible_nano") for name in tasks.settings["tasks"])
    assert (tasks.settings["batch_size"], "data" in tasks.settings) == (8, False)
    assert essays.settings == {"limit": 6}


def test_prompt_sets_get_categories_of_their_own_and_numbers_where_answers_are_checked() -> None:
    recipe = load_recipe(FuseChat3Recipe, FUSECHAT3_RECIPE, "paper")
    sets = Rehearsal().recipe(recipe).data.sets
    assert len({given.categories for given in sets}) == len(sets) == 8
    for old, new in zip(recipe.data.sets, sets):
        assert (new.categories == ("math",)) == (old.domain == "mathematics")
        assert set(new.carry) == set(old.carry)
        assert set(new.carry.values()) <= {"answer"}
        assert new.limit == 24


def test_a_method_with_stand_ins_is_refused() -> None:
    def plan(recipe: Any, stage: Any) -> Any: ...

    arguments: tuple[Any, ...] = (
        "old",
        OwnRecipe,
        plan,
        Path("recipe.toml"),
        lambda recipe: recipe,
    )
    with pytest.raises(TypeError, match="positional arguments"):
        Method(*arguments)
