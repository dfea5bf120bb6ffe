"""PsyCoT and plain prompting as methods: what their plans ask for, and what the paper reports."""

from __future__ import annotations

import csv

import pytest

from harness.engine.plan import Plan
from harness.engine.recipe import load_recipe
from harness.engine.registry import load
from harness.nano.rehearsal import Rehearsal
from harness.reproduce import reproduce
from harness.suites.base import Program, System
from methods.psycot.method import PSYCOT, RECIPE

SETTINGS = {
    "psycot": {"form": "psycot", "frame": "chat"},
    "psycot_ratings": {"form": "psycot"},
    "psycot_single_turn": {"form": "single_turn"},
    "psycot_released": {
        "form": "psycot", "frame": "flat", "notes": "released", "layout": "released"
    },
    "standard_prompting": {"form": "standard"},
    "zero_shot_cot": {"form": "cot"},
}  # fmt: skip


@pytest.mark.parametrize("name", SETTINGS)
def test_a_plan_is_a_program_that_interviews(name: str) -> None:
    recipe = load_recipe(PSYCOT.recipe, RECIPE, "nano")
    plan = Plan()
    program = load("methods", name).plan(recipe, plan.stage)
    assert isinstance(program, Program)
    assert ("item_seed" in program.sensitive_to) == name.startswith("psycot")
    load("suites", "personality_essays").plan(
        System.of(name, program),
        load("suites", "personality_essays").settings(limit=3, robustness=1),
        plan.stage,
    )
    asked = [s.params for s in plan.stages.values() if s.operation.name == "interview_authors"]
    # Essays are one text each: no posts to shuffle.
    assert len(asked) == 1 + len(program.sensitive_to - {"post_seed"})
    for key, value in SETTINGS[name].items():
        assert getattr(asked[0], key) == value
    estimates = plan.estimates().values()
    turns = {"psycot": 49, "psycot_single_turn": 5, "standard_prompting": 5, "zero_shot_cot": 10}
    assert max(e.requests or 0 for e in estimates) == 3 * turns.get(name, 49)


def test_fingerprints_tell_the_ways_of_asking_apart() -> None:
    recipe = load_recipe(PSYCOT.recipe, RECIPE, "nano")
    found = {load("methods", name).plan(recipe, Plan().stage).fingerprint for name in SETTINGS}
    assert len(found) == len(SETTINGS)


def test_settings_of_the_recipe_reach_the_interviews() -> None:
    recipe = load_recipe(PSYCOT.recipe, RECIPE, "nano", ["interview.notes=none"])
    program = PSYCOT.plan(recipe, (plan := Plan()).stage)
    plain = load_recipe(PSYCOT.recipe, RECIPE, "nano")
    assert program.fingerprint != PSYCOT.plan(plain, plan.stage).fingerprint


def test_a_rehearsal_keeps_systems_and_claims_on_nano_models_and_authors() -> None:
    recipe = load_recipe(PSYCOT.recipe, RECIPE, "paper")
    tiny = Rehearsal().recipe(recipe)
    assert (tiny.systems, tiny.claims, tiny.interview) == (
        recipe.systems, recipe.claims, recipe.interview
    )  # fmt: skip
    assert tiny.models.chat.ref == "nano:reader"
    assert tiny.models.encoder is not None
    assert tiny.models.encoder.ref == "nano:encoder"
    assert all(suite.settings["robustness"] == 2 for suite in tiny.suites)
    plan = reproduce("psycot", "paper", rehearse=True).plan.stages.values()
    authors = [s.params for s in plan if s.operation.name == "import_authors"]
    assert {params.ref for params in authors} == {
        "nano:essays", "nano:essays/train", "nano:posts", "nano:posts/train"
    }  # fmt: skip


def test_the_control_has_the_same_authors_with_unrelated_texts() -> None:
    refs, answers = [], []
    for profile in ("nano", "nano-control"):
        made = reproduce("psycot", profile, seeds=5)
        stages = made.plan.stages.values()
        refs.append({s.params.ref for s in stages if s.operation.name == "import_authors"})
        answers.append([s.id for s in stages if s.operation.name == "interview_authors"])
    sets = [f"nano:{kind}/{part}" for kind in ("essays", "posts") for part in ("large", "train")]
    assert refs == [{*sets}, {f"{name}/unrelated" for name in sets}]
    once = reproduce("psycot", "nano", seeds=1).plan.stages.values()
    asked = [s.id for s in once if s.operation.name == "interview_authors"]
    assert answers[0] == asked, "greedy answers are shared by all seeds"


def test_claims_carry_the_papers_gains() -> None:
    recipe = load_recipe(PSYCOT.recipe, RECIPE, "paper")
    with RECIPE.with_name("expected.csv").open(encoding="utf-8", newline="") as stream:
        gains = {
            row["suite"]: float(row["value"])
            for row in csv.DictReader(stream)
            if row["metric"] == "macro_f1 gain"
        }
    claimed = {c["suite"]: c["paper_gain"] for c in recipe.claims if "paper_gain" in c}
    assert claimed == gains
