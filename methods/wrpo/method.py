"""WRPO: Weighted-Reward Preference Optimization (arXiv 2412.03187).

Source models teach a target through their responses alone. With x a prompt, y_ws the best source
response, y_wt and y_l the best and the worst response of the target itself, pi the policy, pi0 the
target after SFT, h(y) = log pi(y|x) - log pi0(y|x) and a the fusion coefficient,

    L = -log sigmoid( beta * ( a h(y_ws) + (1 - a) h(y_wt) - h(y_l) ) ),

where a grows linearly from 0 to `alpha_end` during training: the target first learns from its own
responses, then increasingly from those of the sources. `loss.py` contains the losses and their
settings; `harness.training.from_responses` plans the data flow.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.engine.recipe import Method
from harness.training import from_responses
from harness.training.from_responses import FusionRecipe
from methods.wrpo.preconditions import PRECONDITIONS

RECIPE = Path(__file__).with_name("recipe.toml")


def wrpo(recipe: FusionRecipe, stage: Any) -> Any:
    return from_responses.preference_model(recipe, stage, loss="wrpo")


def wrpo_simpo(recipe: FusionRecipe, stage: Any) -> Any:
    """Our definition of a hybrid with SimPO; the released code has none."""
    return from_responses.preference_model(recipe, stage, loss="wrpo_simpo", with_reference=False)


def wrpo_ipo(recipe: FusionRecipe, stage: Any) -> Any:
    """Our definition of a hybrid with IPO; the released code has none."""
    return from_responses.preference_model(recipe, stage, loss="wrpo_ipo")


WRPO = Method("wrpo", FusionRecipe, wrpo, RECIPE, preconditions=PRECONDITIONS)
WRPO_SIMPO = Method("wrpo_simpo", FusionRecipe, wrpo_simpo, preconditions=PRECONDITIONS)
WRPO_IPO = Method("wrpo_ipo", FusionRecipe, wrpo_ipo, preconditions=PRECONDITIONS)
