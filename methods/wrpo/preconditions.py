"""What WRPO needs: sources that are truly better than the target, and rewards that see it."""

from __future__ import annotations

from typing import Any

from harness.engine.plan import Handle, StageMaker
from harness.engine.preconditions import Precondition, Preconditions
from harness.suites.preconditions.planning import (
    ANSWERS,
    PAIRS,
    answers_compared,
    pairs_graded,
)
from harness.training import from_responses
from harness.training.from_responses import FusionRecipe

OWN = "target-sft"
# The pairs whose difference the loss raises: a source's response, and the best own one.
COMPARISONS = (("source", "rejected"), ("target", "rejected"))
CHOSEN = (
    Precondition(
        text="preference rows whose response of a source is truly better than the best own one",
        needs="many: the paper's preferred side is better than the policy's",
        metric="source_above",
    ),
    Precondition(
        text="preference rows in which it has the higher reward", metric="source_rewarded"
    ),
)


def measured(
    recipe: FusionRecipe, stage: StageMaker, planned: Any, **about: Any
) -> tuple[Handle, ...]:
    """The preference rows, and the answers that they were chosen from."""
    given = recipe.data.preferences
    rows = from_responses.preference_rows(recipe, stage)
    if given is not None:
        return (pairs_graded(stage, given.ref, rows, COMPARISONS, "preferences", about),)
    reward = recipe.models.reward
    assert reward is not None  # the recipe refuses sampled responses without one
    ref = recipe.data.prompts
    found = answers_compared(
        stage,
        ref,
        lambda: [from_responses.own_responses(recipe, stage)],
        lambda: from_responses.source_responses(recipe, stage),
        OWN,
        about,
    )
    return (*found, pairs_graded(stage, ref, rows, COMPARISONS, reward.display_name(), about))


PRECONDITIONS = Preconditions((*ANSWERS, *CHOSEN, *PAIRS), measured)
