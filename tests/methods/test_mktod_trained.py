"""The trained systems through the same stages as a user's: plans, replies, bad input."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import BadData, BadRecord
from harness.engine.operations import Artifact
from harness.engine.plan import Plan
from harness.engine.recipe import load_recipe, profiles
from harness.suites.base import Decode, Program
from harness.suites.dialogue.records import Knowledge
from methods.mktod.operations import LAYOUT, SUMMARY, train_mktod
from methods.mktod.recipe import DialogueRecipe
from methods.mktod.settings import JointParams, Layout
from methods.mktod.trained import DISTANT_SUPERVISION, MKTOD, MKTOD_RETRIEVER, RECIPE
from tests.methods.mktod_world import RECORDS, TURNS, encoder, turn
from tests.operation_runs import rows_artifact, run_operation
from tests.tiny_models import FakeContext

__all__ = ["rows_artifact", "run_operation"]
Run = Callable[..., Artifact]
LAYOUT_SMALL = {"k": 2, "max_query": 16, "max_context": 16, "max_record": 16, "max_reply": 6}
QUICK = {"per_device_batch_size": 2, "max_steps": 3, "learning_rate": 1e-2}


def dialogues(folder: Path, rows: list[Any], records: list[Any]) -> Artifact:
    folder.mkdir()
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "records.json").write_text(json.dumps(records))
    return Artifact(folder.name, folder)


@pytest.fixture
def train(tmp_path: Path) -> Artifact:
    return dialogues(tmp_path / "train", TURNS, RECORDS)


@pytest.fixture
def bert(tmp_path: Path) -> Artifact:
    network, tokenizer = encoder()
    network.save_pretrained(tmp_path / "bert")
    tokenizer.save_pretrained(tmp_path / "bert")
    return Artifact("bert", tmp_path / "bert")


@pytest.fixture
def trained(run_operation: Run, train: Artifact, bert: Artifact) -> Callable[..., Artifact]:
    def make(**params: Any) -> Artifact:
        layout = {**LAYOUT_SMALL, **params.pop("layout", {})}
        knowledge = params.get("knowledge", "shared")
        small = {"layers": 1, "hidden": 16, "heads": 2}
        return run_operation(
            "train_mktod",
            {**QUICK, **params, "layout": layout},
            dialogues=train,
            generator=run_operation("new_generator", small, dialogues=train),
            retriever=run_operation(
                "train_retriever",
                {**QUICK, "max_length": 16, "min_count": 1, "knowledge": knowledge},
                dialogues=train,
                encoder=bert,
            ),
            valid=train,
        )

    return make


@pytest.mark.parametrize("meta", ["none", "prefix", "prompt", "contrastive"])
def test_a_trained_system_retrieves_and_replies(
    meta: str,
    trained: Callable[..., Artifact],
    run_operation: Run,
    train: Artifact,
) -> None:
    system = trained(layout={"meta": meta, "copying": meta == "prefix"})
    assert system.read_json(LAYOUT)["meta"] == meta
    recalls = system.read_json("summary.json")["valid_recall"]
    assert (recalls[0][0], recalls[-1][0]) == (0, QUICK["max_steps"])
    made = run_operation("reply_with_records", {"keep": 3}, dialogues=train, system=system)
    rows = made.rows()
    base = Knowledge.of(RECORDS)
    for row in rows:
        assert len(row["responses"]) == 1
        assert len(set(row["retrieved"])) == 3
        assert set(row["retrieved"]) <= set(base.ids)
        assert row["scores"] == sorted(row["scores"], reverse=True)
        assert row["base"] == base.digest
    silent = run_operation(
        "reply_with_records", {"keep": 3, "writes": False}, dialogues=train, system=system
    )
    assert [row["retrieved"] for row in silent.rows()] == [row["retrieved"] for row in rows]
    assert "responses" not in silent.rows()[0]


@pytest.mark.parametrize("fusion", ["concat", "split"])
def test_other_ways_of_reading_train_and_reply(
    fusion: str,
    trained: Callable[..., Artifact],
    run_operation: Run,
    train: Artifact,
) -> None:
    system = trained(layout={"fusion": fusion}, mml_start=0.0)
    rows = run_operation("reply_with_records", {}, dialogues=train, system=system).rows()
    assert all(isinstance(row["responses"][0], str) for row in rows)


def test_sessions_may_have_no_few_or_other_records(
    trained: Callable[..., Artifact],
    run_operation: Run,
    tmp_path: Path,
) -> None:
    system = trained(knowledge="session", mml_start=0.0)
    strange = [{"area": "north"}, {"name": "new_place", "food": "thai"}]
    rows = [
        turn(1, ["some thai food ?"], "no .", [], kb=[]),
        turn(2, ["some thai food ?"], "no .", [], kb=RECORDS[:1]),
        turn(3, ["word " * 50 + "?"], "no .", [], kb=strange),
    ]
    test = dialogues(tmp_path / "test", rows, [])
    made = run_operation(
        "reply_with_records", {"knowledge": "session", "keep": 5}, dialogues=test, system=system
    ).rows()
    assert [len(row["retrieved"]) for row in made] == [0, 1, 2]
    assert all(len(row["responses"]) == 1 for row in made)
    with pytest.raises(BadData, match="no shared knowledge base"):
        run_operation("reply_with_records", {}, dialogues=test, system=system)


def test_replies_do_not_depend_on_the_batch(
    trained: Callable[..., Artifact],
    run_operation: Run,
    train: Artifact,
) -> None:
    system = trained(layout={"copying": True})
    one, all_at_once = (
        run_operation("reply_with_records", {"batch_size": n}, dialogues=train, system=system)
        for n in (1, 4)
    )
    assert [r["responses"] for r in one.rows()] == [r["responses"] for r in all_at_once.rows()]


def planned(method: Any, recipe: DialogueRecipe, train: bool = True) -> dict[str, Any]:
    plan = Plan()
    program = method.plan(recipe, plan.stage)
    assert isinstance(program, Program)
    test, other = (plan.stage("import_dialogues", ref=f"nano:dialogues{s}") for s in ("", "/train"))
    program.answer(
        test, plan.stage, knowledge="shared", keep=3, decode=Decode(), seed=1, batch_size=4,
        train=other if train else None, valid=None,
    )  # fmt: skip
    return {stage.operation.name: stage for stage in plan.stages.values()}


def test_plans_have_the_seed_of_the_recipe_and_the_records_of_the_suite() -> None:
    recipe = load_recipe(DialogueRecipe, RECIPE, "nano", seed=7)
    stages = planned(MKTOD, recipe)
    for name in ("train_retriever", "train_mktod", "new_generator"):
        assert stages[name].params.seed == 7
    assert stages["train_mktod"].params.knowledge == "shared"
    assert stages["train_mktod"].params.layout.k == 3
    assert not planned(MKTOD_RETRIEVER, recipe)["reply_with_records"].params.writes
    assert "train_mktod" not in planned(DISTANT_SUPERVISION, recipe)


def test_a_suite_without_training_dialogues_is_refused() -> None:
    recipe = load_recipe(DialogueRecipe, RECIPE, "nano")
    with pytest.raises(BadRecord, match="learns from training dialogues"):
        planned(MKTOD, recipe, train=False)


@pytest.mark.parametrize("profile", profiles(RECIPE))
def test_ablations_differ_in_what_they_name_alone(profile: str) -> None:
    from harness.engine.recipe import with_settings

    recipe = load_recipe(DialogueRecipe, RECIPE, profile)
    whole = recipe.joint.model_dump()
    for system in recipe.systems:
        changed = with_settings(recipe, system.set, system.name).joint.model_dump()
        flat = {k for k in whole if changed[k] != whole[k]}
        layout = {k for k in whole["layout"] if changed["layout"][k] != whole["layout"][k]}
        assert len(flat) <= 1, system.name
        assert layout <= {"meta"}, system.name


@pytest.mark.parametrize(
    ("profile", "world"), [("nano", "dialogues"), ("nano-control", "distinct_dialogues")]
)
def test_mechanism_and_control_differ_in_their_world_alone(profile: str, world: str) -> None:
    nano, recipe = (load_recipe(DialogueRecipe, RECIPE, name) for name in ("nano", profile))
    same = {"profile": "nano", "suites": nano.suites}
    assert recipe.model_copy(update=same) == nano
    (suite,) = recipe.suites
    names = {"dialogues": "large", "train": "train", "valid": "valid"}
    assert suite.settings == {
        "recall_at": [1, 3, 7], **{key: f"nano:{world}/{part}" for key, part in names.items()}
    }  # fmt: skip


def test_a_rehearsal_trains_tiny_models_for_a_few_updates() -> None:
    from harness.nano.rehearsal import Rehearsal

    recipe = Rehearsal().recipe(load_recipe(DialogueRecipe, RECIPE, "paper"))
    assert recipe.models.generator is not None
    assert recipe.models.encoder is not None
    refs = (recipe.models.generator.ref, recipe.models.encoder.ref)
    assert refs == ("nano:seq2seq", "nano:encoder")
    assert (recipe.retriever.max_steps, recipe.joint.max_steps) == (4, 4)


def test_a_killed_training_reports_what_an_undisturbed_one_does(
    run_operation: Run, train: Artifact, bert: Artifact, tmp_path: Path
) -> None:
    generator = run_operation("new_generator", {"layers": 1, "hidden": 16}, dialogues=train)
    steps = {"max_steps": 4, "save_steps": 2, "refresh_steps": 2, "mml_start": 0.0}
    params = JointParams(**{**QUICK, **steps}, layout=Layout(**LAYOUT_SMALL))
    given = {"dialogues": train, "generator": generator, "retriever": bert, "valid": train}
    found = {}
    for name in ("undisturbed", "killed"):
        context: Any = FakeContext(tmp_path / name / "out", tmp_path / name / "scratch")
        context.scratch.mkdir(parents=True)
        context.directory.mkdir()
        if name == "killed":
            context.progress = killed_at(3)
            with pytest.raises(KeyboardInterrupt):
                train_mktod(context, params, **given)
            context.progress = killed_at(99)
        train_mktod(context, params, **given)
        found[name] = (context.directory / SUMMARY).read_text()
    assert found["killed"] == found["undisturbed"]
    assert len(json.loads(found["killed"])["valid_recall"]) >= 2


def killed_at(update: int) -> Callable[..., None]:
    def progress(done: int, total: int, unit: str = "") -> None:
        if done == update:
            raise KeyboardInterrupt

    return progress


def test_validation_turns_of_other_records_are_said_not_to_count(
    run_operation: Run, train: Artifact, bert: Artifact, tmp_path: Path
) -> None:
    other = dialogues(tmp_path / "other", TURNS, [*RECORDS, {"name": "elsewhere"}])
    generator = run_operation("new_generator", {"layers": 1, "hidden": 16}, dialogues=train)
    context: Any = FakeContext(tmp_path / "out", tmp_path / "scratch")
    context.scratch.mkdir()
    context.directory.mkdir()
    params = JointParams(**QUICK, layout=Layout(**LAYOUT_SMALL))
    train_mktod(context, params, dialogues=train, generator=generator, retriever=bert, valid=other)
    assert any("validation recall is not measured" in note for note in context.notes)
    assert json.loads((context.directory / SUMMARY).read_text())["valid_recall"] == []
