"""Baselines of implicit fusion, with the same data, board and budget.

    target          the model before any training
    source          one of the sources alone
    sft             SFT on the best source responses
    dpo             DPO on (y_wt, y_l), both responses of the SFT model
    dpo_off_policy  DPO on (y_ws, y_l), the best response of a source and the SFT model's worst
    simpo, ipo, ln_dpo   on (y_wt, y_l)

`harness.training.pair_losses` has the equations of the losses.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from harness.core.errors import BadRecord
from harness.engine.recipe import Method, SystemSpec
from harness.training import from_responses
from harness.training.from_responses import FusionRecipe


def target(recipe: FusionRecipe, stage: Any) -> Any:
    return from_responses.model(recipe.models.target, stage)


def source(recipe: FusionRecipe, stage: Any) -> Any:
    sources = recipe.models.sources
    if recipe.source >= len(sources):
        raise BadRecord(f"source is {recipe.source}; the recipe has {len(sources)} (from 0)")
    return from_responses.model(sources[recipe.source], stage)


def each_source(recipe: FusionRecipe) -> tuple[SystemSpec, ...]:
    """One system per source, with the name of the source."""
    return tuple(
        SystemSpec(name=spec.display_name(), method="source", set={"source": number})
        for number, spec in enumerate(recipe.models.sources)
    )


def sft(recipe: FusionRecipe, stage: Any) -> Any:
    return from_responses.sft_model(recipe, stage)


def _trained(loss: str, **options: Any) -> Callable[..., Any]:
    def plan(recipe: FusionRecipe, stage: Any) -> Any:
        return from_responses.preference_model(recipe, stage, loss=loss, **options)

    return plan


TARGET = Method("target", FusionRecipe, target)
SOURCE = Method("source", FusionRecipe, source, variants=each_source)
SFT = Method("sft", FusionRecipe, sft)
DPO = Method("dpo", FusionRecipe, _trained("dpo"))
DPO_OFF_POLICY = Method(
    "dpo_off_policy", FusionRecipe, _trained("dpo", responses=("source", "rejected"))
)
SIMPO = Method("simpo", FusionRecipe, _trained("simpo", with_reference=False))
IPO = Method("ipo", FusionRecipe, _trained("ipo"))
LN_DPO = Method("ln_dpo", FusionRecipe, _trained("ln_dpo"))
