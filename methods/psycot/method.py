"""PsyCoT: a psychological questionnaire as chain of thought (arXiv 2310.20256), without training.

One dialogue for each author and trait: the model reads the text and fills in a questionnaire about
the author, one item per turn; then it chooses between the two poles of the trait, with all of its
answers in context:

    text, task              "There are 9 statements about the author, S0 to S8 ..."
    S0: "The author ..."    SCORE: 4
    S1: "The author ..."    2
    ...
    According to these scores and the text, is the author more likely A: ... or B: ...?
                            CHOICE: A

`psycot` uses that choice as the label. `psycot_ratings` uses the ratings of the items, which the
released code never computes: with r_i a rating, and 6 - r_i for a reverse-keyed item, the label is
1 if their mean is above 3 and 0 if it is below; votes of questions with options are counted; the
choice decides ties only. `psycot_single_turn` asks for everything in one reply. `psycot_released`
reproduces the released notebooks, including their errors.

Prompt wording is in `harness.suites.personality.prompts`, the sequence of turns in
`harness.suites.personality.dialogues`, the parsing of replies in
`harness.suites.personality.replies`, the rule for items in `harness.suites.personality.decisions`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.engine.plan import StageMaker
from harness.engine.recipe import Method
from harness.suites.base import Program
from harness.suites.personality.interviewing import interviewing
from harness.suites.personality.recipe import AuthorsRecipe
from harness.training import from_responses

RECIPE = Path(__file__).with_name("recipe.toml")


def questionnaire(
    by_items: bool = False, **how: Any
) -> Callable[[AuthorsRecipe, StageMaker], Program]:
    """The plan of one variant: the settings of the recipe, overridden by `how`."""

    def plan(recipe: AuthorsRecipe, stage: StageMaker) -> Program:
        model = from_responses.model(recipe.models.chat, stage)
        return interviewing(model, recipe.interview.asking(**how), by_items)

    return plan


PSYCOT = Method("psycot", AuthorsRecipe, questionnaire(form="psycot"), RECIPE)
PSYCOT_RATINGS = Method(
    "psycot_ratings", AuthorsRecipe, questionnaire(form="psycot", by_items=True)
)
PSYCOT_SINGLE_TURN = Method("psycot_single_turn", AuthorsRecipe, questionnaire(form="single_turn"))
PSYCOT_RELEASED = Method(
    "psycot_released", AuthorsRecipe, questionnaire(form="psycot", released=True)
)
