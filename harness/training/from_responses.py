"""Implicit fusion: how source responses become a training set, shared by the methods that do it.

    prompts ──> source samples ──> rewards ──> best responses ──> SFT on a third of the prompts
                                                    │                 │
                                                    │         own samples on the rest ──> rewards
                                                    └───────┬─────────┘
                                              preference rows (y_ws, y_wt, y_l)

Each function adds stages to a plan and returns the handle of the last; stages that two methods
ask for are one stage.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from harness.core.records import Record
from harness.data.prompts import prompts_identity
from harness.engine.operations import Estimate
from harness.engine.recipe import ModelSpec, Recipe, Refers
from harness.models.references import model_identity
from harness.training.preference_operations import TrainPreferenceParams
from harness.training.sft import SftParams


class Models(Record):
    """The target, the sources it learns from, and the reward model that ranks responses."""

    target: ModelSpec
    sources: tuple[ModelSpec, ...] = Field(min_length=1)
    reward: Annotated[ModelSpec, Refers("reward_model")]


class Data(Record):
    """Prompts, and the share of them that goes to SFT (the paper: one third).

    `expected_rows` is the size of the whole set, for the estimates of a plan; `ties` says what
    becomes of prompts whose own responses all have the same reward.
    """

    prompts: Annotated[str, Refers("prompts")]
    split: Annotated[str | None, Refers("layout")] = None
    field: Annotated[str | None, Refers("layout")] = None
    limit: int | None = Field(default=None, ge=2)
    expected_rows: int | None = None
    sft_fraction: float = Field(default=1 / 3, gt=0, lt=1)
    ties: Literal["drop", "keep"] = "drop"


class Decoding(Record):
    """Sampling of one stage: n responses per prompt."""

    temperature: float = Field(default=0.8, ge=0)
    top_p: float = Field(default=0.95, gt=0, le=1)
    repetition_penalty: float = Field(default=1.0, gt=0, exclude_if=lambda value: value == 1)
    max_tokens: int = Field(default=4096, ge=1)
    n: int = Field(default=5, ge=1)
    batch_size: int = Field(default=64, ge=1)


class Rewards(Record):
    """Scoring of responses by the reward model."""

    batch_size: int = Field(default=32, ge=1)
    max_length: int | None = None


class ResponsesRecipe(Recipe):
    """What every method needs that learns from responses of sources.

    `source` picks one of `models.sources` for the method `source`, which evaluates it alone.
    """

    models: Models
    sampling: Decoding
    rewards: Rewards = Rewards()
    sft: SftParams
    train: TrainPreferenceParams
    source: int = Field(default=0, ge=0)


class FusionRecipe(ResponsesRecipe):
    """What a run of WRPO and its baselines needs."""

    data: Data
    target_sampling: Decoding


def model(spec: ModelSpec, stage: Any) -> Any:
    """The artifact that points to a model given by the recipe."""
    return stage(
        "import_model",
        ref=spec.ref,
        revision=spec.revision,
        digest=model_identity(spec.ref, spec.revision),
        dtype=None if spec.dtype == "auto" else spec.dtype,
        trust_remote_code=spec.trust_remote_code,
        label=f"model {spec.display_name()}",
        hint=Estimate(parameters_b=spec.parameters_b),
    )


def prompts(recipe: FusionRecipe, stage: Any) -> Any:
    data = recipe.data
    settings = {key: getattr(data, key) for key in ("split", "field") if getattr(data, key)}
    rows = data.limit or data.expected_rows
    return stage(
        "import_prompts",
        ref=data.prompts,
        limit=data.limit,
        digest=prompts_identity(data.prompts),
        label="prompts",
        hint=Estimate(rows=rows),
        **settings,
    )


def part(recipe: FusionRecipe, stage: Any, name: str) -> Any:
    """The prompts of one of the two parts, "sft" or "preference"."""
    return stage(
        "split_prompts",
        prompts=prompts(recipe, stage),
        part=name,
        fraction=recipe.data.sft_fraction,
        seed=recipe.seed,
        label=f"{name} prompts",
    )


def responses_of(
    recipe: ResponsesRecipe, stage: Any, *, of: Any, on: Any, decoding: Decoding, name: str
) -> Any:
    """Responses of one model."""
    return stage(
        "sample",
        prompts=on,
        model=of,
        system=name,
        seed=recipe.seed,
        label=f"sample {name}",
        **decoding.model_dump(),
    )


def scored(recipe: ResponsesRecipe, stage: Any, responses: Any, name: str) -> Any:
    """Responses with their rewards."""
    return stage(
        "score_rewards",
        responses=responses,
        model=model(recipe.models.reward, stage),
        label=f"reward {name}",
        **recipe.rewards.model_dump(exclude_none=True),
    )


def sampled(recipe: ResponsesRecipe, stage: Any, *, name: str, **how: Any) -> Any:
    """Responses of one model with their rewards."""
    return scored(recipe, stage, responses_of(recipe, stage, name=name, **how), name)


def best_source_responses(recipe: FusionRecipe, stage: Any, name: str) -> Any:
    """y_ws for the prompts of one part, out of every source's samples."""
    every = prompts(recipe, stage)
    answered = [
        sampled(
            recipe,
            stage,
            of=model(spec, stage),
            on=every,
            decoding=recipe.sampling,
            name=spec.display_name(),
        )
        for spec in recipe.models.sources
    ]
    return stage(
        "best_responses",
        scored=answered,
        prompts=part(recipe, stage, name),
        label=f"best source responses ({name})",
    )


def sft_model(recipe: FusionRecipe, stage: Any) -> Any:
    """The target after SFT on the best source responses of the SFT part."""
    return sft_on(recipe, stage, best_source_responses(recipe, stage, "sft"))


def sft_on(recipe: ResponsesRecipe, stage: Any, rows: Any) -> Any:
    """The target after SFT on given rows."""
    return stage(
        "train_sft",
        rows=rows,
        model=model(recipe.models.target, stage),
        label="SFT on best source responses",
        **{**recipe.sft.model_dump(), "seed": recipe.seed},
    )


def preference_rows(recipe: FusionRecipe, stage: Any) -> Any:
    """(x, y_ws, y_wt, y_l) on the preference part; y_wt and y_l come from the SFT model."""
    own = sampled(
        recipe,
        stage,
        of=sft_model(recipe, stage),
        on=part(recipe, stage, "preference"),
        decoding=recipe.target_sampling,
        name="target-sft",
    )
    best = best_source_responses(recipe, stage, "preference")
    return stage(
        "preference_pairs", best=best, own=own, ties=recipe.data.ties, label="preference rows"
    )


def preference_model(recipe: FusionRecipe, stage: Any, **how: Any) -> Any:
    """The SFT model after preference training with a registered loss, see `trained_on`."""
    rows, start = preference_rows(recipe, stage), sft_model(recipe, stage)
    return trained_on(recipe, stage, rows, start, **how)


def trained_on(
    recipe: ResponsesRecipe,
    stage: Any,
    rows: Any,
    start: Any,
    *,
    loss: str,
    responses: tuple[str, ...] | None = None,
    with_reference: bool = True,
) -> Any:
    """A model after preference training on given rows, itself the reference.

    Args:
        responses: which of "source", "target" and "rejected" the loss compares, preferred first;
            None is the loss's own choice.
    """
    chosen = {"loss": loss, "responses": responses, "seed": recipe.seed}
    settings = {**recipe.train.model_dump(), **chosen}
    if with_reference:
        settings["reference"] = stage(
            "reference_logps",
            rows=rows,
            model=start,
            max_length=recipe.train.max_length,
            max_prompt_length=recipe.train.max_prompt_length,
            released=recipe.train.released,
            label="reference log-probs",
        )
    name = f"{loss} ({' > '.join(responses)})" if responses else loss
    return stage("train_preference", rows=rows, model=start, label=f"train {name}", **settings)
