"""What FuseChat-3.0 needs: better sources, and pairs that the rewards order rightly."""

from __future__ import annotations

from typing import Any

from harness.engine.plan import Handle
from harness.engine.preconditions import Preconditions
from harness.suites.preconditions.planning import (
    ANSWERS,
    PAIRS,
    answers_compared,
    pairs_graded,
)
from harness.training import from_responses
from methods.fusechat3.rows import FuseChat3Recipe, prompts_of, responses_of, rows

COMPARISONS = (("chosen", "rejected"),)
MOST_PROMPTS = 120  # of each set that the target is asked


def measured(recipe: FuseChat3Recipe, stage: Any, planned: Any, **about: Any) -> tuple[Handle, ...]:
    """The preference pairs, and the sources' answers beside the target's.

    The method never asks the target. It is asked here, before training, as often as a source, and
    only if one world knows the truth about all prompts.
    """
    pairs = rows(recipe, stage, "preference")
    given = recipe.data.preferences
    if given is not None:
        return (pairs_graded(stage, given.ref, pairs, COMPARISONS, "preferences", about),)
    reward = recipe.models.reward
    assert reward is not None  # the recipe refuses sampled responses without one
    sets, target = recipe.sets(), recipe.models.target
    name, refs = target.display_name(), {found.prompts for found in sets}
    ref = refs.pop() if len(refs) == 1 else ""

    def own() -> list[Handle]:
        return [
            from_responses.responses_of(
                recipe,
                stage,
                of=from_responses.model(target, stage),
                on=prompts_of(recipe, stage, found, MOST_PROMPTS),
                decoding=recipe.decoding(name, recipe.domains[found.domain]),
                name=name,
            )
            for found in sets
        ]

    def answered() -> list[Handle]:
        return [each for found in sets for each in responses_of(recipe, stage, found).values()]

    graded = pairs_graded(stage, ref, pairs, COMPARISONS, reward.display_name(), about)
    return (*answers_compared(stage, ref, own, answered, name, about), graded)


PRECONDITIONS = Preconditions((*ANSWERS, *PAIRS), measured)
