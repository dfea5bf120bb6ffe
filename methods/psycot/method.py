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

from harness.data.truths import truth_identity
from harness.engine.plan import Handle, StageMaker
from harness.engine.preconditions import Precondition, Preconditions
from harness.engine.recipe import Method, with_settings
from harness.suites.base import Program
from harness.suites.editions import resolve_settings
from harness.suites.personality.interviewing import interviewing
from harness.suites.personality.orders import Orders
from harness.suites.personality.recipe import AuthorsRecipe
from harness.suites.personality.suite import (
    SUITES,
    PersonalitySettings,
    answered,
    imported,
)
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


INTERVIEWS = ("psycot", "psycot_single_turn", "psycot_released")
LISTED = (
    Precondition(
        text="items rated as the text says",
        needs="far above 50 %: the questionnaire reads the text",
        metric="rating_accuracy:*",
    ),
    Precondition(
        text="clear ratings that agree with the author's trait",
        needs="above 50 %: their sum tells the trait",
        metric="trait_accuracy:*",
    ),
)


def measured(
    recipe: AuthorsRecipe, stage: StageMaker, planned: Any, **about: Any
) -> tuple[Handle, ...]:
    """The answers of each system to its items, in each suite of authors."""
    made = []
    for suite in (spec for spec in recipe.suites if spec.name in SUITES):
        settings = resolve_settings(SUITES[suite.name].suite, suite.edition, suite.settings)
        assert isinstance(settings, PersonalitySettings)
        for spec in (spec for spec in recipe.systems if spec.method in INTERVIEWS):
            own = with_settings(recipe, spec.set, spec.name)
            scheme, program = SUITES[suite.name].scheme, planned[spec.name]
            interviews = answered(
                suite.name, scheme, program, recipe.seed, settings, stage, Orders()
            )
            signs = truth_identity(settings.authors, "signs")
            known = {"signs": settings.authors, "signs_digest": signs} if signs else {}
            ratings = stage(
                "score_ratings",
                authors=imported(scheme, settings, stage),
                interviews=interviews,
                questionnaire=own.interview.questionnaire,
                of=suite.name,
                system=spec.name,
                **known,
                **about,
            )
            made.append(ratings)
    return tuple(made)


PRECONDITIONS = Preconditions(LISTED, measured)
PSYCOT = Method(
    "psycot", AuthorsRecipe, questionnaire(form="psycot"), RECIPE, preconditions=PRECONDITIONS
)
PSYCOT_RATINGS = Method(
    "psycot_ratings", AuthorsRecipe, questionnaire(form="psycot", by_items=True)
)
PSYCOT_SINGLE_TURN = Method("psycot_single_turn", AuthorsRecipe, questionnaire(form="single_turn"))
PSYCOT_RELEASED = Method(
    "psycot_released", AuthorsRecipe, questionnaire(form="psycot", released=True)
)
