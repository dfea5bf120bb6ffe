"""Settings of distillation on preference pairs, as records without torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from harness.core.records import Record

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
