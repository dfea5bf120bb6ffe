"""WRPO: Weighted-Reward Preference Optimization (arXiv 2412.03187).

Source models teach a target through their responses alone. With x a prompt, y_ws the best source
response, y_wt and y_l the best and the worst of the target's own, pi the policy, pi0 the target
after SFT, h(y) = log pi(y|x) - log pi0(y|x) and a the fusion coefficient,

    L = -log sigmoid( beta * ( a h(y_ws) + (1 - a) h(y_wt) - h(y_l) ) ),

where a grows linearly from 0 to `alpha_end` over the training: at first the target learns from
itself, then more and more from the sources. `loss.py` holds the functions; the data flow is
`harness.training.from_responses`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.engine.recipe import Method
from harness.training import from_responses
from harness.training.from_responses import FusionRecipe
from methods.wrpo import loss

RECIPE = Path(__file__).with_name("recipe.toml")


def wrpo(recipe: FusionRecipe, stage: Any) -> Any:
    return from_responses.preference_model(recipe, stage, loss=loss.WRPO)


def wrpo_simpo(recipe: FusionRecipe, stage: Any) -> Any:
    """Our hybrid: the released code has none."""
    return from_responses.preference_model(
        recipe, stage, loss=loss.WRPO_SIMPO, with_reference=False
    )


def wrpo_ipo(recipe: FusionRecipe, stage: Any) -> Any:
    """Our hybrid: the released code has none."""
    return from_responses.preference_model(recipe, stage, loss=loss.WRPO_IPO)


WRPO = Method("wrpo", FusionRecipe, wrpo, RECIPE)
WRPO_SIMPO = Method("wrpo_simpo", FusionRecipe, wrpo_simpo)
WRPO_IPO = Method("wrpo_ipo", FusionRecipe, wrpo_ipo)
