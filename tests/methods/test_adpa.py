"""ADPA's plans: the chain, its baselines and ablations, and how teachers are read."""

from __future__ import annotations

from typing import Any

import pytest

from harness.core.errors import BadRecord, UnknownName
from harness.distillation.advantage.choice import TeacherAccess, choose, list_bytes
from harness.reproduce import Reproduction, reproduce

LARGE: dict[str, Any] = {"epochs": 3.0, "rows": 6750, "sides": 1, "models": 2}


def stages(made: Reproduction, operation: str) -> list[Any]:
    return [s for s in made.plan.stages.values() if s.operation.name == operation]


def model_of(made: Reproduction, system: str) -> Any:
    handle = made.models[made.recipe.seed, system]
    assert handle is not None
    return made.plan.stages[handle.id]


def inputs(made: Reproduction, stage: Any) -> dict[str, Any]:
    single = {name: each for name, each in stage.inputs.items() if not isinstance(each, tuple)}
    return {name: made.plan.stages[handle.id] for name, handle in single.items()}


def test_the_chain_of_the_paper() -> None:
    made = reproduce("adpa", "nano")
    assert [s.label for s in stages(made, "train_sft")] == ["SFT student", "SFT teacher"]
    teacher_dpo = model_of(made, "teacher_dpo")
    assert inputs(made, teacher_dpo)["model"].id == model_of(made, "teacher_sft").id
    adpa = inputs(made, model_of(made, "adpa"))
    assert adpa["teacher"].id == teacher_dpo.id
    assert adpa["reference"].id == model_of(made, "teacher_sft").id
    assert adpa["model"].id == model_of(made, "student_sft").id
    answers = inputs(made, adpa["rows"])["answers"]
    assert inputs(made, answers)["model"].id == adpa["model"].id, "the student's own answers"
    plus = inputs(made, model_of(made, "adpa_plus"))
    assert plus["model"].id == model_of(made, "dckd").id
    answers = inputs(made, plus["rows"])["answers"]
    assert inputs(made, answers)["model"].id == plus["model"].id, "answered anew"
    dckd = inputs(made, model_of(made, "dckd"))
    assert "reference" not in dckd
    seqkd = inputs(made, inputs(made, model_of(made, "seqkd"))["rows"])["answers"]
    assert inputs(made, seqkd)["model"].id == teacher_dpo.id


def test_losses_of_the_systems() -> None:
    made = reproduce("adpa", "nano")
    loss = {name: model_of(made, name).params.loss for name in ("kd", "dckd", "adpa", "nll_only")}
    assert (loss["kd"].kl_chosen, loss["kd"].kl_response) == (0.1, 0.0)
    assert (loss["dckd"].kl_chosen, loss["dckd"].kl_response) == (0.1, 0.1)
    assert (loss["adpa"].gamma, loss["adpa"].kl_chosen) == (0.4, 0.0)
    assert loss["nll_only"].gamma == 0
    assert "teacher" not in model_of(made, "nll_only").inputs
    released = model_of(made, "adpa_released").params.loss
    assert (released.advantage_clip, released.end_token) == ("reference_compat", "released")


def test_ablations() -> None:
    made = reproduce("adpa", "nano")
    alone = model_of(made, "adpa_no_reference")
    assert alone.params.uniform
    assert "reference" not in alone.inputs
    sequence = inputs(made, model_of(made, "adpa_sequence"))
    assert sequence["weights"].params.level == "sequence"
    assert "teacher" not in sequence


def test_controls_of_the_mechanism() -> None:
    made = reproduce("adpa", "nano")
    q, r = (model_of(made, f"teacher_{n}").id for n in ("dpo", "sft"))
    for system, pair in (("gamma_0_4", (q, r)), ("swapped_teachers", (r, q)),
                         ("same_teachers", (r, r))):  # fmt: skip
        found = model_of(made, system).inputs
        assert (found["teacher"].id, found["reference"].id) == pair
    assert model_of(made, "gamma_0_4").params.anchor == "neutral"
    answers = {inputs(made, model_of(made, n))["rows"].id for n in ("gamma_0_0", "gamma_1_6")}
    assert len(answers) == 1, "all gammas are trained on the same answers"


def test_the_chain_and_the_doses_are_trained_from_the_same_models() -> None:
    made = reproduce("adpa", "nano")
    chain, dose = (model_of(made, name) for name in ("adpa", "gamma_0_4"))
    for name in ("teacher", "reference", "model", "rows"):
        assert chain.inputs[name].id == dose.inputs[name].id
    assert (chain.params.anchor, chain.params.learning_rate) == ("chosen", 3e-4)
    assert (dose.params.anchor, dose.params.learning_rate, dose.params.epochs) == (
        "neutral", 1e-3, 3
    )  # fmt: skip


def test_in_the_control_alone_a_coin_chooses() -> None:
    made, control = reproduce("adpa", "nano"), reproduce("adpa", "nano-control")
    assert control.recipe.systems == made.recipe.systems
    assert control.recipe.claims == made.recipe.claims
    refs = [{s.params.ref for s in stages(m, "import_pairs")} for m in (made, control)]
    assert refs == [{"nano:train"}, {"nano:train/unordered"}]


def test_the_paper_profile_caches_hidden_states_and_says_why() -> None:
    made = reproduce("adpa", "paper", suites=["alpaca_eval2"])
    caches = stages(made, "cache_teachers")
    assert {stage.params.form for stage in caches} == {"hidden"}
    assert any("16384 B/token, 46.3 GiB" in stage.label for stage in caches)
    trained = model_of(made, "adpa")
    assert trained.inputs.keys() == {"rows", "model", "teacher", "reference", "cache"}
    recipe: Any = made.recipe
    train = recipe.train
    assert (train.learning_rate, train.epochs, train.max_length) == (5e-7, 3, 1024)
    assert train.per_device_batch_size * train.accumulation_steps * 4 == 128
    assert (recipe.dckd.chosen, recipe.dckd.rejected, recipe.adpa.gamma) == (0.1, 0.1, 1.6)
    assert recipe.dpo.settings.beta == 0.01
    assert recipe.teachers.k == 50


def test_lists_need_no_teachers_beside_the_student() -> None:
    settings = {"teachers.form": "lists", "teachers.student_k": 10}
    made = reproduce("adpa", "nano", overrides=settings)
    assert model_of(made, "adpa").inputs.keys() == {"rows", "model", "cache"}
    cache = inputs(made, model_of(made, "adpa"))["cache"]
    assert cache.params.student_k == 10
    assert cache.inputs.keys() == {"rows", "teacher", "reference", "student"}


def test_another_reference_or_alignment_is_a_setting() -> None:
    made = reproduce("adpa", "nano", overrides={"adpa.reference": "student_init"})
    found = model_of(made, "adpa").inputs
    assert found["reference"].id == found["model"].id
    made = reproduce("adpa", "nano", overrides={"adpa.align": "spans"})
    assert inputs(made, model_of(made, "adpa"))["weights"].params.level == "span"
    with pytest.raises(BadRecord, match=r"adpa\.gamma"):
        reproduce("adpa", "nano", overrides={"adpa.gamma": -1})


@pytest.mark.parametrize(
    ("access", "more", "form", "reason"),
    [
        ({"form": "lists"}, {}, "lists", "set in the recipe"),
        ({"teacher_b": 0.001}, {}, "live", "tiny"),
        ({"teacher_b": None}, {}, "live", "sizes unknown"),
        ({"gpu_gib": 80}, {"epochs": 1}, "live", "read once"),
        ({"gpu_gib": 24, "hidden": 4096}, {"epochs": 1}, "hidden", "exceed gpu_gib"),
        ({"hidden": 4096}, {}, "hidden", "16384 B/token"),
        ({"hidden": 4096, "disk_gib": 10}, {}, "lists", "302 B/token"),
        ({}, {}, "lists", "302 B/token"),
        ({"hidden": 4096, "disk_gib": 0.1}, {}, "live", "no cache fits"),
        ({"hidden": 4096, "disk_gib": 10}, {"rows": None}, "live", "no cache fits"),
    ],
)
def test_the_rule_for_reading_teachers(
    access: dict[str, Any], more: dict[str, Any], form: str, reason: str
) -> None:
    sizes = {"teacher_b": 8.0, "student_b": 1.2}
    found = choose(TeacherAccess(**{**sizes, **access}), **{**LARGE, **more})
    assert found.form == form
    assert reason in found.reason


def test_bytes_of_a_list() -> None:
    assert list_bytes(50, 128_256) == 302
    assert list_bytes(50, 65_536) == 202
    assert list_bytes(50, None) == 302


def test_a_system_of_the_recipe_as_the_baseline_of_judges() -> None:
    given = {"suites.0.settings.baseline": "system:adpa"}
    made = reproduce("adpa", "nano", overrides=given, suites=["alpaca_eval2"])
    judged = {
        run.system.name: inputs(made, inputs(made, made.plan.stages[run.cells.id])["judgments"])
        for run in made.runs
    }
    own = judged["adpa"]["generations"]
    assert {found["baseline"].id for found in judged.values()} == {own.id}
    assert len({found["generations"].id for found in judged.values()}) == len(judged)
    (cells, *_) = stages(made, "score_alpaca")
    assert "system@adpa" in cells.params.data
    with pytest.raises(UnknownName, match='did you mean "adpa_plus"'):
        reproduce(
            "adpa", "nano", overrides={**given, "suites.0.settings.baseline": "system:adpa_plu"}
        )


@pytest.mark.parametrize(
    ("suite", "settings", "stage"),
    [
        ("arena_hard", {}, "judge_arena"),
        ("mt_bench", {"pairwise": True}, "judge_mt_bench_pairwise"),
    ],
)
def test_every_judge_suite_takes_a_system_as_its_baseline(
    suite: str, settings: dict[str, Any], stage: str
) -> None:
    given = {"suites": [{"name": suite, "settings": {"baseline": "system:dckd", **settings}}]}
    made = reproduce("adpa", "nano", overrides=given)
    others = {inputs(made, found)["baseline"].id for found in stages(made, stage)}
    assert len(others) == 1
    assert len(stages(made, stage)) == len(made.recipe.systems)


def test_the_rehearsal_of_the_paper_recipe_keeps_its_stages() -> None:
    made = reproduce("adpa", "paper", rehearse=True)
    whole = reproduce("adpa", "paper")
    for name in ("train_on_pairs", "cache_teachers", "span_advantages"):
        assert len(stages(made, name)) == len(stages(whole, name)) > 0


def test_live_teachers_count_in_the_estimate() -> None:
    found = []
    for form in ("live", "hidden"):
        given = {"teachers.form": form}
        made = reproduce("adpa", "paper", overrides=given, suites=["alpaca_eval2"])
        found.append(made.plan.estimates()[model_of(made, "adpa").id])
    live, hidden = found
    assert live.gpu_gib is not None
    assert hidden.gpu_gib is not None
    assert live.gpu_gib > hidden.gpu_gib + 2 * 2 * 8
    assert live.gpu_seconds is not None
    assert hidden.gpu_seconds is not None
    assert live.gpu_seconds > hidden.gpu_seconds


def test_teacher_and_student_of_a_rehearsal_share_a_tokenizer() -> None:
    recipe: Any = reproduce("adpa", "paper", rehearse=True).recipe
    assert (recipe.models.teacher.ref, recipe.models.student.ref) == ("nano:target", "nano:student")
