"""Stages that methods of one family share when they plan their preconditions.

Every function adds stages to a plan and returns the handles of those that write cells; what they
read are the stages of the run itself wherever it has them, so that nothing is sampled twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from harness.distillation.explicit_fusion import ExplicitFusionRecipe
from harness.engine.plan import Handle, StageMaker
from harness.engine.preconditions import FAMILY, Precondition
from harness.suites.editions import resolve_settings
from harness.suites.perplexity.operations import OVERALL
from harness.suites.perplexity.suite import SUITE, PerplexitySettings, readings
from harness.suites.preconditions.answers import Comparison, truth_arguments
from harness.training.from_responses import model

MOST_DOCUMENTS = 240

ANSWERS = (
    Precondition(
        text="prompts on which its best answer is truly better than the target's best",
        needs="many: the sources can do what the target cannot",
        metric="above",
    ),
    Precondition(text="prompts on which it is worse", metric="below"),
    Precondition(text="true grade of the best of n answers", metric="best_grade"),
    Precondition(text="true grade of all answers", metric="mean_grade"),
)
PAIRS = (
    Precondition(text="pairs of the training whose answers differ in truth", metric="pairs_differ"),
    Precondition(
        text="of these, pairs that the rewards order rightly",
        needs="far above 50 %: the pairs teach what is right",
        metric="reward_accuracy",
    ),
    Precondition(
        text="of these, pairs of two well-formed answers",
        needs="far above 50 %: form alone does not decide",
        metric="reward_accuracy_formed",
    ),
    Precondition(text="true grade of the training's responses", metric="grade:*"),
    Precondition(text="reward of the preferred answer less the other's", metric="reward_margin"),
)


def answers_compared(
    stage: StageMaker,
    ref: str,
    own: Callable[[], Sequence[Handle]],
    answered: Callable[[], Sequence[Handle]],
    system: str,
    about: Mapping[str, Any],
) -> tuple[Handle, ...]:
    """Answers of sources against a model's own; () where nothing is known about the truth.

    Args:
        ref: of the prompts.
        own, answered: the answers; called only where there is a truth.
        system: name of the model.
    """
    truth = truth_arguments(ref)
    if not truth:
        return ()
    made = stage("compare_answers", own=own(), answered=answered(), system=system, **truth, **about)
    return (made,)


def pairs_graded(
    stage: StageMaker,
    ref: str,
    pairs: Handle,
    comparisons: Sequence[Comparison],
    system: str,
    about: Mapping[str, Any],
) -> Handle:
    """What the pairs of a training are worth; without a truth, the reward margins.

    Args:
        ref: of the prompts or preferences.
        comparisons: see `harness.suites.preconditions.answers.GradePairsParams`.
        system: name of the reward model, or of the preferences.
    """
    return stage(
        "grade_pairs",
        pairs=pairs,
        comparisons=tuple(comparisons),
        system=system,
        **truth_arguments(ref),
        **about,
    )


def reading_lines(recipe: ExplicitFusionRecipe) -> tuple[Precondition, ...]:
    """Lines about the bits per byte of target and sources; those that a suite has are named."""
    needs = "less than the target's, of a source or of the best of each document"
    text = "bits per byte of right answers"
    own = Precondition(text=text, needs=needs, metric=OVERALL)
    rows = _measured_by_suite(recipe)
    named = {"suite": SUITE.name, "systems": rows} if rows else {}
    return (
        Precondition(
            text="right answers that it predicts better than the target",
            needs="many: the sources' predictions add something",
            metric="documents_ahead",
        ),
        own,
        *([own.model_copy(update=named)] if rows else []),
        Precondition(text=text, metric=f"{OVERALL}{FAMILY}", **named),
    )


def _measured_by_suite(recipe: ExplicitFusionRecipe) -> tuple[str, ...]:
    """Names of target and sources among the systems; () if the suite does not measure all."""
    rows = [spec for spec in recipe.systems if spec.method in ("target", "source")]
    every = {spec.method for spec in rows} == {"target", "source"}
    measured = any(spec.name == SUITE.name for spec in recipe.suites)
    whole = every and measured and len(rows) == 1 + len(recipe.models.sources)
    return tuple(spec.name for spec in rows) if whole else ()


def readings_compared(
    recipe: ExplicitFusionRecipe, stage: StageMaker, about: Mapping[str, Any]
) -> Handle:
    """Which documents sources predict better than the target.

    Documents are those of the recipe's suite `perplexity`, whose readings and cells are shared;
    without that suite, the first MOST_DOCUMENTS of the corpus.
    """
    settings = _documents(recipe)
    sources = recipe.models.sources
    return stage(
        "compare_readings",
        target=readings(model(recipe.models.target, stage), settings, stage),
        sources=[readings(model(spec, stage), settings, stage) for spec in sources],
        names=tuple(spec.display_name() for spec in sources),
        each=not _measured_by_suite(recipe),
        system=recipe.models.target.display_name(),
        **about,
    )


def _documents(recipe: ExplicitFusionRecipe) -> PerplexitySettings:
    for spec in recipe.suites:
        if spec.name == SUITE.name:
            found = resolve_settings(SUITE, spec.edition, spec.settings)
            assert isinstance(found, PerplexitySettings)
            return found
    data = recipe.data
    return PerplexitySettings(
        documents=data.documents,
        split=data.split,
        field=data.field,
        form=data.form,
        limit=min(data.limit or MOST_DOCUMENTS, MOST_DOCUMENTS),
    )
