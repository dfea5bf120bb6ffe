"""The recipe of SEFT and its baselines, as records."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from harness.core.records import Record
from harness.engine.recipe import ModelSpec, Recipe, Refers, Rehearsed
from harness.training.from_responses import Decoding, PreferenceTraining, Rewards
from harness.training.settings import RunSettings
from harness.training.sft import SftParams
from methods.seft.labels import Gate
from methods.seft.pairs import LabelPairsParams, MinePairsParams
from methods.seft.reviser import ReviserTraining
from methods.seft.revising import Decider
from methods.seft.wording import Wording


class Models(Record):
    """Models.

    Attributes:
        policy: model that evolves; an SFT checkpoint.
        internal: model that the reviser of internal evolution is trained from; None: the policy.
        external: model that the reviser of external evolution is trained from; None: the policy.
        scorer: reward model for own answers, gate and reports; None uses `scorer` of the recipe.
    """

    policy: ModelSpec
    internal: ModelSpec | None = None
    external: ModelSpec | None = None
    scorer: Annotated[ModelSpec | None, Refers("reward_model")] = None


class Data(Record):
    """Rated answers for the revisers, and prompts without answers for the policy.

    Attributes:
        rated, split, revision: see `harness.data.rated`.
        limit: number of prompts with rated answers.
        prompts, prompts_split, prompts_field: of the rounds.
        exclude_rated: leave out prompts of the rounds that are among the rated ones; not needed
            where the two sets are disjoint by construction.
    """

    rated: Annotated[str, Refers("rated")]
    split: Annotated[str, Refers("layout")] = "train"
    revision: Annotated[str | None, Refers("layout")] = None
    limit: int | None = Field(default=None, ge=2)
    prompts: Annotated[str, Refers("prompts")]
    prompts_split: Annotated[str, Refers("layout")] = "train"
    prompts_field: Annotated[str | None, Refers("layout")] = None
    exclude_rated: bool = True


class Scorer(Record):
    """A function that scores answers where there is no reward model, see `methods.seft.rating`."""

    name: Annotated[str, Rehearsed(lambda name: name)]
    settings: dict[str, float] = {}


class Rounds(Record):
    """Self-evolution.

    Attributes:
        count: number of rounds K.
        limit: prompts per round, none of them used twice.
        schedule: share of the prompts that the external reviser revises: "anneal" goes from 0 in
            the first round to 1 in the last; "internal" and "external" use one reviser only.
        update: the policy is fine-tuned on the targets ("sft"), or by DPO on (revised, source).
    """

    count: int = Field(default=3, ge=1)
    limit: int = Field(default=10_000, ge=1)
    schedule: Literal["anneal", "internal", "external"] = "anneal"
    update: Literal["sft", "dpo"] = "sft"


class Revision(Decoding):
    """How answers are revised.

    Attributes:
        decide, no_revise_threshold: see `methods.seft.revising`.
    """

    n: Literal[1] = 1
    decide: Decider = "reviser"
    no_revise_threshold: float | None = None


class SeftRecipe(Recipe):
    """Settings of SEFT and its baselines.

    Attributes:
        labels, own_labels: labels of pairs of rated answers, and of the policy's own answers, which
            always have scores.
        internal: how the policy answers the rated prompts, for the reviser of internal evolution.
        sampling: how the policy answers the prompts of a round.
        policy: fine-tuning of the policy in each round.
        best: fine-tuning on the best rated answers, for the baseline.
        train: preference training, for DPO and ORPO.
    """

    models: Models
    data: Data
    scorer: Scorer | None = None
    rewards: Rewards = Rewards()
    pairs: MinePairsParams = MinePairsParams()
    labels: LabelPairsParams = LabelPairsParams()
    own_labels: LabelPairsParams = LabelPairsParams()
    wording: Wording = Wording()
    reviser: ReviserTraining
    internal: Decoding
    sampling: Decoding
    revision: Revision
    gate: Gate = Gate()
    rounds: Rounds = Rounds()
    policy: SftParams
    best: SftParams
    train: PreferenceTraining

    @model_validator(mode="after")
    def _answers_to_compare(self) -> SeftRecipe:
        if self.sampling.n != 1:
            raise ValueError("sampling.n = 1: a round revises one answer per prompt")
        if self.internal.n < 2 and self.rounds.schedule != "external":
            raise ValueError("internal.n of at least 2, so that own answers can be compared")
        if not self.has_scores and (
            self.revision.decide == "oracle" or self.gate.min_gain is not None
        ):
            raise ValueError("models.scorer or scorer, which gate.min_gain and the oracle need")
        if not self.has_scores and self.rounds.schedule != "external":
            raise ValueError(
                "models.scorer or scorer, which compares the policy's own answers for internal "
                'evolution (rounds.schedule = "external" needs none)'
            )
        return self

    @property
    def has_scores(self) -> bool:
        return self.models.scorer is not None or self.scorer is not None

    def training(self, settings: RunSettings) -> dict[str, object]:
        """The settings of a training run with the seed of the recipe."""
        return {**settings.model_dump(), "seed": self.seed}
