"""Conformance tests for methods, suites, backends and judges.

Crucible's own tests run them on every built-in; authors of plugins call them in theirs:

    from harness.testing import check_method
    check_method(METHOD)
"""

from __future__ import annotations

from harness.backends.conformance import check_backend
from harness.engine import registry
from harness.engine.plan import Handle, Plan
from harness.engine.recipe import Method, Recipe, load_recipe, profiles
from harness.judging.frames import (
    KINDS,
    Message,
    alpaca_frame,
    arena_frame,
    pairwise_frame,
    rating_frame,
)
from harness.judging.judge import Judge, Judgment, Question
from harness.judging.labels import LABEL_STATES
from harness.nano import world
from harness.nano.rehearsal import Rehearsal
from harness.suites.base import Program, Suite, System
from harness.suites.conformance import check_suite

__all__ = ["check_backend", "check_judge", "check_method", "check_suite"]

# Task of a program -> a suite with that task, used to plan its answers.
ASKING = {
    "respond": "alpaca_eval2",
    "label_authors": "personality_essays",
    "reply": "dialogue",
}


def check_method(method: Method, recipe: Recipe | None = None) -> None:
    """Assert that a method can be planned and rehearsed at every profile, and depends on its seed.

    Args:
        recipe: recipe to plan with, for a method without a recipe file.

    Raises:
        AssertionError: naming the requirement that is not met.
    """
    recipes = [recipe] if recipe is not None else _own_recipes(method)
    assert recipes, f"{method.name}: no profile to plan with"
    for resolved in recipes:
        where = f"{method.name}, profile {resolved.profile}"
        own = recipe is not None or resolved.method == method.name
        assert own, f'{where}: the recipe is for method "{resolved.method}"'
        first, plan = _planned(method, resolved)
        again, _ = _planned(method, resolved)
        assert first == again, f"{where}: planning twice gave two different stages"
        assert first.id in plan.stages, f"{where}: plan returned a handle it did not make"
        made = plan.stages[first.id]
        if method.name != made.operation.name and _trains(plan):
            other, _ = _planned(method, resolved.model_copy(update={"seed": resolved.seed + 1}))
            assert other != first, f"{where}: another seed gave the same artifact"
        _check_losses(plan)
        _, rehearsed = _planned(method, Rehearsal().recipe(resolved))
        assert _shape(plan) == _shape(rehearsed), f"{where}: the rehearsal's plan has other stages"


def _own_recipes(method: Method) -> list[Recipe]:
    assert method.recipe_file is not None, f"{method.name}: give a recipe, it has no recipe file"
    names = profiles(method.recipe_file)
    return [load_recipe(method.recipe, method.recipe_file, name) for name in names]


def _planned(method: Method, recipe: Recipe) -> tuple[Handle, Plan]:
    """The plan and its last stage: the model, or the scores of a program's answers."""
    plan = Plan()
    made = method.plan(recipe, plan.stage)
    if isinstance(made, Program) and made.task in ASKING:
        suite: Suite = registry.load("suites", ASKING[made.task])
        system = System.of("system", made, seed=recipe.seed)
        made = suite.plan(system, suite.settings(), plan.stage)
    assert isinstance(made, Handle), (
        f"{method.name}: plan returned {type(made).__name__}; expected a handle, or a Program for "
        f"a task of {', '.join(ASKING)}"
    )
    return made, plan


def _check_losses(plan: Plan) -> None:
    for stage in plan.stages.values():
        if stage.operation.name == "train_preference":
            from harness.training.conformance import check_loss
            from harness.training.preference_operations import TrainPreferenceParams

            assert isinstance(stage.params, TrainPreferenceParams)
            check_loss(stage.params, with_reference="reference" in stage.inputs)


def _shape(plan: Plan) -> list[str]:
    """Operations in order, without pointers to models: nano models may share one."""
    names = [stage.operation.name for stage in plan.stages.values()]
    return [name for name in names if name != "import_model"]


def _trains(plan: Plan) -> bool:
    return any("seed" in stage.operation.params.model_fields for stage in plan.stages.values())


def check_judge(judge: Judge) -> None:
    """Assert that a judge answers every question with a valid verdict or a reason.

    The questions come from the nano world.

    Raises:
        AssertionError: naming the requirement that is not met.
    """
    kind = judge.protocol.kind
    where = f"judge {judge.backend.fingerprint}, {kind}"
    assert kind in KINDS, f"{where}: unknown kind of frame"
    assert judge.fingerprint == judge.fingerprint != "", f"{where}: unstable fingerprint"
    assert judge.ask([]) == {}, f"{where}: returned an answer without a question"
    questions = [Question(f"q{n}", frame) for n, frame in enumerate(_frames(kind))]
    found = judge.ask(questions)
    assert set(found) == {q.id for q in questions}, f"{where}: lost or invented a question"
    for judgment in found.values():
        assert judgment.attempts >= 1, f"{where}: attempts {judgment.attempts}"
        if judgment.verdict is None:
            assert judgment.failure, f"{where}: no verdict and no reason"
        else:
            assert _legal(kind, judgment), f"{where}: illegal verdict {judgment.verdict!r}"
    assert any(j.verdict is not None for j in found.values()), (
        f"{where}: no verdict at all; {next(iter(found.values())).failure}"
    )


def _frames(kind: str) -> list[list[Message]]:
    frames = []
    for item in world.items("mt_bench", 4):
        turns = list(item.turns)
        good = [world.reference_answer(item, turn) for turn in range(len(turns))]
        for bad in (["", ""], ["[[A>>B]] [[10]] m", "I cannot say."]):
            frames.append(
                {
                    "alpaca": lambda t, g, b: alpaca_frame(t[0], g[0], b[0]),
                    "arena": lambda t, g, b: arena_frame(t[0], b[0], g[0]),
                    "rating": lambda t, g, b: rating_frame(t, b, g),
                    "pairwise": lambda t, g, b: pairwise_frame(t, g, b),
                }[kind](turns, good, bad)
            )
    return frames


def _legal(kind: str, judgment: Judgment) -> bool:
    verdict = judgment.verdict
    if kind == "arena":
        return verdict in LABEL_STATES
    if kind == "pairwise":
        return verdict in ("A", "B", "tie")
    low, high = (0.0, 1.0) if kind == "alpaca" else (1.0, 10.0)
    return isinstance(verdict, int | float) and low <= verdict <= high
