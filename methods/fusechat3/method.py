"""FuseChat-3.0: preference optimisation for heterogeneous model fusion (arXiv 2503.04222).

    prompts of a domain ──> responses of its sources ──> rewards, and checks where there are answers
         ──> one table of candidates per prompt set ──> rules ──┬──> best responses ──> SFT
                                                                └──> pairs of one source ──> DPO

Preferences that exist (`data.preferences`) replace everything up to the rules.

With y_w and y_l the chosen and rejected response, pi the policy, pi0 the target after SFT and |y|
the number of tokens of y,

    L = -log sigmoid( beta log(pi/pi0)(y_w) - beta log(pi/pi0)(y_l) ),

where for Llama targets each term is divided by its |y| (`train.loss = "ln_dpo"`), with a beta a
thousand times as large.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.engine.recipe import Method
from harness.training import from_responses
from harness.training.given_preferences import check_responses
from methods.fusechat3.preconditions import PRECONDITIONS
from methods.fusechat3.rows import FuseChat3Recipe, rows

RECIPE = Path(__file__).with_name("recipe.toml")


def sft(recipe: FuseChat3Recipe, stage: Any) -> Any:
    """The target after SFT on the best responses."""
    if recipe.data.preferences is None:
        return from_responses.sft_on(recipe, stage, rows(recipe, stage, "sft"))
    if not recipe.data.sft_fraction:
        return from_responses.model(recipe.models.target, stage)
    preferred = rows(recipe, stage, "sft")
    return from_responses.sft_on(recipe, stage, preferred, "SFT on preferred responses")


def fusechat3(recipe: FuseChat3Recipe, stage: Any) -> Any:
    """The SFT model after (length-normalised) DPO on pairs of one source."""
    given = recipe.data.preferences
    if given is not None:
        check_responses(given, recipe.train.loss, None)
    return from_responses.trained_on(
        recipe,
        stage,
        rows(recipe, stage, "preference"),
        sft(recipe, stage),
        loss=recipe.train.loss,
        responses=("chosen", "rejected") if given is None else None,
    )


FUSECHAT3 = Method("fusechat3", FuseChat3Recipe, fusechat3, RECIPE, preconditions=PRECONDITIONS)
FUSECHAT3_SFT = Method("fusechat3_sft", FuseChat3Recipe, sft)
