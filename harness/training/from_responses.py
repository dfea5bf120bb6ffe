"""Plans of implicit fusion: training sets made from the responses of source models.

    prompts ──> source samples ──> rewards ──> best responses ──> SFT on a third of the prompts
                                                    │                 │
                                                    │         own samples on the rest ──> rewards
                                                    └───────┬─────────┘
                                              preference rows (y_ws, y_wt, y_l)

Preferences that exist (`data.preferences`) replace sampling and rewards:

    preferences ──┬──> preferred responses of a part ──> SFT
                  └──> preference rows of the rest

Each function adds stages to a plan and returns the handle of the last one. Stages with the same
parameters are one stage, so that methods share them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import Field, create_model, model_validator

from harness.core.errors import BadRecord
from harness.core.records import Record
from harness.data.prompts import prompts_identity
from harness.engine.operations import Estimate
from harness.engine.recipe import About, ModelSpec, Recipe, Refers
from harness.engine.registry import table
from harness.models.references import model_identity
from harness.training.given_preferences import (
    GivenPreferences,
    check_responses,
    given_rows,
    part_of,
)
from harness.training.losses import LossChoice, get_loss, loss_settings
from harness.training.settings import PromptLimit, RunSettings
from harness.training.sft import SftParams


class Models(Record):
    """Models: the target, the sources it learns from, and the reward model that ranks responses.

    Sources and reward model are unnecessary with preferences that exist.
    """

    target: ModelSpec
    sources: tuple[ModelSpec, ...] = ()
    reward: Annotated[ModelSpec | None, Refers("reward_model")] = None

    def check_sampled(self) -> None:
        """Refuse a table without the models whose responses are sampled and ranked.

        Raises:
            ValueError: there is no source or no reward model.
        """
        if not self.sources or self.reward is None:
            lacking = "models.reward" if self.sources else "models.sources"
            raise ValueError(f"{lacking}, or preferences that exist: data.preferences")


class Data(Record):
    """Training prompts, or preferences that exist.

    Attributes:
        revision: of prompts from the hub.
        turn: user's turn that ends the prompt of a conversation.
        preferences: replace prompts, sources, sampling and rewards.
        limit: largest number of prompts, or of preferences.
        expected_rows: size of the whole set, for the estimates of a plan.
        sft_fraction: share of the prompts used for SFT (one third in the paper); 0 starts
            preference training from the target itself.
        ties: whether prompts whose own responses all have the same reward are dropped.
    """

    prompts: Annotated[str, Refers("prompts")] = ""
    split: Annotated[str | None, Refers("layout"), About("prompts")] = None
    field: Annotated[str | None, Refers("layout"), About("prompts")] = None
    revision: Annotated[str | None, Refers("layout"), About("prompts")] = Field(
        default=None, exclude_if=lambda value: value is None
    )
    turn: Annotated[Literal["last", "first"], Refers("layout")] = Field(
        default="last", exclude_if=lambda value: value == "last"
    )
    preferences: GivenPreferences = Field(default=None, exclude_if=lambda value: value is None)
    limit: int | None = Field(default=None, ge=2)
    expected_rows: Annotated[int | None, About("prompts")] = None
    sft_fraction: float = Field(default=1 / 3, ge=0, lt=1)
    ties: Literal["drop", "keep"] = "drop"


class Decoding(Record):
    """Decoding settings of one sampling stage.

    Attributes:
        n: responses per prompt.
        batch_size: prompts that are sampled together.
    """

    temperature: float = Field(default=0.8, ge=0)
    top_p: float = Field(default=0.95, gt=0, le=1)
    repetition_penalty: float = Field(default=1.0, gt=0, exclude_if=lambda value: value == 1)
    max_tokens: int = Field(default=4096, ge=1)
    n: int = Field(default=5, ge=1)
    batch_size: int = Field(default=64, ge=1)


class Rewards(Record):
    """Settings for scoring responses with the reward model."""

    batch_size: int = Field(default=32, ge=1)
    max_length: int | None = None


class PreferenceTraining(RunSettings, PromptLimit, LossChoice):
    """Preference training of a recipe whose systems may use several losses.

    `settings` serves all these losses: each takes the fields of its own record, so that a field of
    one loss does not affect the others. A field that neither `loss` nor any loss of a catalogue has
    is refused.
    """

    @classmethod
    def settings_of(cls, loss: str, given: Mapping[str, object]) -> Record:
        """The record of the recipe's loss, with the fields of other losses as extra ones."""
        record = get_loss(loss).settings
        foreign: dict[str, object] = {}
        for other in table("LOSSES"):
            names = get_loss(other).settings.model_fields.keys() - record.model_fields.keys()
            found = {name: given[name] for name in names & given.keys()}
            loss_settings(other, found)  # checks the values
            foreign |= found
        loss_settings(loss, {name: given[name] for name in given.keys() - foreign.keys()})
        return _with_extra_fields(record).model_validate(given)

    def settings_for(self, loss: str) -> dict[str, Any]:
        """The settings that a loss takes from the table."""
        own = get_loss(loss).settings.model_fields
        return {key: value for key, value in self.settings.model_dump().items() if key in own}


@cache
def _with_extra_fields(record: type[Record]) -> type[Record]:
    """The record, which also keeps fields that it does not declare."""
    return create_model(record.__name__, __base__=record, __cls_kwargs__={"extra": "allow"})


class ResponsesRecipe(Recipe):
    """Settings of methods that learn from responses of sources.

    Attributes:
        source: index of the source that the method `source` evaluates.
    """

    models: Models
    sampling: Decoding = Decoding()
    rewards: Rewards = Rewards()
    sft: SftParams
    train: PreferenceTraining
    source: int = Field(default=0, ge=0)


class FusionRecipe(ResponsesRecipe):
    """Settings of WRPO and its baselines."""

    data: Data
    target_sampling: Decoding = Decoding()

    @model_validator(mode="after")
    def _rows_come_from_somewhere(self) -> FusionRecipe:
        if self.data.preferences is None:
            self.models.check_sampled()
            if not self.data.prompts:
                raise ValueError("data.prompts, or preferences that exist: data.preferences")
        return self


def model(spec: ModelSpec, stage: Any) -> Any:
    """The artifact that refers to a model of the recipe."""
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
    named = data.model_dump(include={"split", "field", "revision", "turn"})
    settings = {key: value for key, value in named.items() if value}
    rows = data.limit or data.expected_rows
    return stage(
        "import_prompts",
        ref=data.prompts,
        limit=data.limit,
        digest=prompts_identity(data.prompts, data.revision),
        label="prompts",
        hint=Estimate(rows=rows),
        **settings,
    )


def part(recipe: FusionRecipe, stage: Any, name: str) -> Any:
    """The prompts of one of the two parts, "sft" or "preference"."""
    every = prompts(recipe, stage)
    return part_of(recipe, stage, every, name, recipe.data.sft_fraction, f"{name} prompts")


def responses_of(
    recipe: ResponsesRecipe,
    stage: Any,
    *,
    of: Any,
    on: Any,
    decoding: Decoding,
    name: str,
    keep_ids: bool = False,
) -> Any:
    """Responses of one model to prompts.

    Args:
        keep_ids: rows hold the sampled ids, for a training of this model.
    """
    return stage(
        "sample",
        prompts=on,
        model=of,
        system=name,
        seed=recipe.seed,
        label=f"sample {name}",
        keep_ids=keep_ids,
        **decoding.model_dump(),
    )


def scored(recipe: ResponsesRecipe, stage: Any, responses: Any, name: str) -> Any:
    """Responses with their rewards."""
    reward = recipe.models.reward
    if reward is None:
        raise BadRecord("models.reward is missing; expected the model that ranks responses")
    return stage(
        "score_rewards",
        responses=responses,
        model=model(reward, stage),
        label=f"reward {name}",
        **recipe.rewards.model_dump(exclude_none=True),
    )


def sampled(recipe: ResponsesRecipe, stage: Any, *, name: str, **how: Any) -> Any:
    """Responses of one model with their rewards."""
    return scored(recipe, stage, responses_of(recipe, stage, name=name, **how), name)


def source_responses(recipe: FusionRecipe, stage: Any) -> list[Any]:
    """Responses of each source to all prompts, with their rewards."""
    every = prompts(recipe, stage)
    return [
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


def best_source_responses(recipe: FusionRecipe, stage: Any, name: str) -> Any:
    """y_ws for the prompts of one part, from the samples of all sources."""
    return stage(
        "best_responses",
        scored=source_responses(recipe, stage),
        prompts=part(recipe, stage, name),
        label=f"best source responses ({name})",
    )


def given_of(recipe: FusionRecipe, stage: Any) -> dict[str, Any] | None:
    """The parts of the recipe's given preferences; None if responses are sampled."""
    data = recipe.data
    if data.preferences is None:
        return None
    return given_rows(recipe, stage, data.preferences, data.limit, data.sft_fraction)


def sft_model(recipe: FusionRecipe, stage: Any) -> Any:
    """The target after SFT on the best source responses of the SFT part; without one, the target.

    Of preferences that exist, the preferred responses take their place.
    """
    if not recipe.data.sft_fraction:
        return model(recipe.models.target, stage)
    given = given_of(recipe, stage)
    if given is not None:
        return sft_on(recipe, stage, given["sft"], "SFT on preferred responses")
    return sft_on(recipe, stage, best_source_responses(recipe, stage, "sft"))


def sft_on(
    recipe: ResponsesRecipe, stage: Any, rows: Any, label: str = "SFT on best source responses"
) -> Any:
    """The target after SFT on the given rows."""
    return stage(
        "train_sft",
        rows=rows,
        model=model(recipe.models.target, stage),
        label=label,
        **{**recipe.sft.model_dump(), "seed": recipe.seed},
    )


def own_responses(recipe: FusionRecipe, stage: Any) -> Any:
    """Responses of the SFT model to the preference part, with their rewards."""
    return sampled(
        recipe,
        stage,
        of=sft_model(recipe, stage),
        on=part(recipe, stage, "preference"),
        decoding=recipe.target_sampling,
        name="target-sft",
        keep_ids=True,
    )


def preference_rows(recipe: FusionRecipe, stage: Any) -> Any:
    """(x, y_ws, y_wt, y_l) on the preference part; y_wt and y_l come from the SFT model."""
    given = given_of(recipe, stage)
    if given is not None:
        return given["preference"]
    own = own_responses(recipe, stage)
    best = best_source_responses(recipe, stage, "preference")
    return stage(
        "preference_pairs", best=best, own=own, ties=recipe.data.ties, label="preference rows"
    )


def preference_model(
    recipe: FusionRecipe,
    stage: Any,
    *,
    loss: str,
    responses: tuple[str, ...] | None = None,
    **how: Any,
) -> Any:
    """The SFT model after preference training with a registered loss, see `trained_on`."""
    if recipe.data.preferences is not None:
        check_responses(recipe.data.preferences, loss, responses)
    rows, start = preference_rows(recipe, stage), sft_model(recipe, stage)
    return trained_on(recipe, stage, rows, start, loss=loss, responses=responses, **how)


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
    """A model after preference training on given rows; the model before it is the reference.

    Args:
        responses: names of the responses that the loss compares, preferred first; None is the
            choice of the loss.
    """
    chosen = {"loss": loss, "settings": recipe.train.settings_for(loss), "responses": responses}
    settings = {**recipe.train.model_dump(), **chosen, "seed": recipe.seed}
    if with_reference:
        settings["reference"] = stage(
            "reference_logps",
            rows=rows,
            model=start,
            max_length=recipe.train.max_length,
            max_prompt_length=recipe.train.max_prompt_length,
            released=recipe.train.released,
            cut_answers="end" if recipe.train.cut_answers == "end" else "no_end",
            label="reference log-probs",
        )
    name = f"{loss} ({' > '.join(responses)})" if responses else loss
    return stage("train_preference", rows=rows, model=start, label=f"train {name}", **settings)
