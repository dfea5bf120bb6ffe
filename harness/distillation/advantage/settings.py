"""Settings of distillation on preference pairs, as records without torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from harness.core.records import Record
from harness.training.settings import Dtype, PromptLimit, RunSettings

CHOSEN, ANSWER = "chosen", "answer"  # names of answers in rows of pairs

Reduction = Literal["token", "sequence"]
Clip = float | Literal["reference_compat"] | None


class PairLoss(Record):
    """Weights of the terms on a preferred answer and on a second one (dispreferred, or own).

        L = sft NLL(chosen) + distill (kl_chosen KL(chosen) + kl_response KL(response))
            - gamma E_p[A](response)

    KL is that of the teacher from the student, A the advantage beta log(teacher/reference). DCKD
    has gamma 0, ADPA no KL.

    Attributes:
        beta: factor of the log-ratio; only beta times gamma matters for the gradient.
        advantage_clip: bound of the absolute log-ratio before the factor beta; None keeps it exact;
            "reference_compat" clamps it to [1e-8, 1 - 1e-8] as in the released code, which erases
            what the teacher advises against.
        end_token: "released" leaves the last token of an answer out of KL and advantage but counts
            it, as the released code does: the student is not taught where to stop.
        reduction: "token" averages over all tokens of an update, "sequence" over its rows of the
            means of each row.
    """

    sft: float = Field(default=1.0, ge=0)
    distill: float = Field(default=1.0, ge=0)
    kl_chosen: float = Field(default=0.0, ge=0)
    kl_response: float = Field(default=0.0, ge=0)
    gamma: float = Field(default=0.0, ge=0)
    end_token: Literal["distilled", "released"] = "distilled"
    beta: float = Field(default=1.0, gt=0)
    advantage_clip: Clip = None
    reduction: Reduction = "token"

    @model_validator(mode="after")
    def _clip_is_positive(self) -> PairLoss:
        if isinstance(self.advantage_clip, float) and not self.advantage_clip > 0:
            raise ValueError(
                f"advantage_clip above 0, or none: {self.advantage_clip} leaves no advantage "
                "(gamma = 0 switches the term off)"
            )
        return self


class CacheTeachersParams(PromptLimit):
    """One cache.

    Attributes:
        sides: answers that are read, by their names in `responses`; at most the preferred one and
            one other.
        anchor: name of the preferred answer.
        values: "logps" for a KL (one teacher), "ratios" for advantages (with a reference, or the
            uniform distribution).
        form: "hidden" states of the models, or "lists" of k ids, see `produce.list_rows`.
        uniform: the reference is the uniform distribution.
    """

    sides: tuple[str, ...] = Field(min_length=1)
    anchor: str = CHOSEN
    values: Literal["logps", "ratios"]
    form: Literal["hidden", "lists"]
    k: int = Field(default=50, ge=1)
    student_k: int = Field(default=0, ge=0)
    lists: Literal["full", "released"] = "full"
    uniform: bool = False
    batch_tokens: int = Field(default=4096, ge=1)
    shard_rows: int = Field(default=256, ge=1)
    dtype: Dtype | None = None


class TrainOnPairsParams(RunSettings, PromptLimit):
    """One training run on pairs.

    Attributes:
        loss: weights of the terms.
        anchor: name of the preferred answer in `responses`.
        response: name of the other answer, such as "rejected" or "answer"; None trains on the
            preferred answer alone.
        uniform: advantages are those against the uniform distribution.
        teacher_dtype: numeric type of live teachers and of heads.
    """

    loss: PairLoss
    anchor: str = CHOSEN
    response: str | None = None
    uniform: bool = False
    teacher_dtype: Dtype | None = None

    @model_validator(mode="after")
    def _an_answer_to_distil_on(self) -> TrainOnPairsParams:
        if self.response is None and (self.loss.gamma or self.loss.kl_response):
            raise ValueError(
                'response = "rejected" or "answer" for a loss with gamma or kl_response: these '
                "terms are taken on it"
            )
        if self.loss.gamma and self.loss.kl_response:
            raise ValueError("gamma or kl_response above 0, not both: the second answer has one")
        return self

    @property
    def sequences_per_row(self) -> int:
        return 2

    @property
    def longest_sequence(self) -> int:
        return self.max_length
