"""Plain prompting of a chat model about an author: baselines of PsyCoT.

    standard_prompting   the text, one question about the pole of the trait, a letter as reply
    zero_shot_cot        "Let us think step by step" first, then the letter (arXiv 2205.11916)

The model, text and options are those of PsyCoT; one or two requests per author and trait.
"""

from __future__ import annotations

from harness.engine.plan import StageMaker
from harness.engine.recipe import Method
from harness.suites.base import Program
from harness.suites.personality.interviewing import interviewing
from harness.suites.personality.recipe import AuthorsRecipe
from harness.training import from_responses


def standard_prompting(recipe: AuthorsRecipe, stage: StageMaker) -> Program:
    model = from_responses.model(recipe.models.chat, stage)
    return interviewing(model, recipe.interview.asking(form="standard"))


def zero_shot_cot(recipe: AuthorsRecipe, stage: StageMaker) -> Program:
    model = from_responses.model(recipe.models.chat, stage)
    return interviewing(model, recipe.interview.asking(form="cot"))


STANDARD_PROMPTING = Method("standard_prompting", AuthorsRecipe, standard_prompting)
ZERO_SHOT_COT = Method("zero_shot_cot", AuthorsRecipe, zero_shot_cot)
