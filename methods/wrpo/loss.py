"""The losses of WRPO: weighted-reward preference optimisation (arXiv 2412.03187, section 3).

For a prompt x with the best source response y_s, the best target response y_t and the worst target
response y_l, the reward of the preferred side is a mix, and the weight a of the source response
grows during training from 0 to a small end value:

    h(y) = log pi(y|x) - log pi0(y|x)
    z    = beta (a h(y_s) + (1 - a) h(y_t) - h(y_l))
    loss = -(1 - eps) log sigma(z) - eps log sigma(-z)

a = 0 is DPO on (y_t, y_l) and a = 1 is DPO on (y_s, y_l). The gradients of the three log-
probabilities sum to zero. Columns of every tensor: source, target, rejected.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import model_validator

from harness.core.errors import BadRecord
from harness.core.records import Record
from harness.training.losses import (
    Result,
    preference_loss,
    required_reference,
    with_metrics,
)
from harness.training.objective import linear_ramp
from harness.training.pair_losses import (
    IpoSettings,
    SimpoSettings,
    SmoothedSettings,
    log_ratios,
    logistic,
)

if TYPE_CHECKING:
    from torch import Tensor

RESPONSES = ("source", "target", "rejected")


class MixSettings(Record):
    """Weight of the source response.

    Attributes:
        alpha_end: weight at the end of a dynamic schedule, or throughout.
        alpha_mode: "dynamic" increases the weight linearly from 0; "static" holds it.
        released: follow the released code where it fails: `alpha_end` outside [0, 1] is accepted,
            and a schedule of length zero raises ZeroDivisionError.
    """

    alpha_end: float = 0.1
    alpha_mode: Literal["dynamic", "static"] = "dynamic"
    released: bool = False

    @model_validator(mode="after")
    def _alpha_in_range(self) -> MixSettings:
        if not self.released and not 0 <= self.alpha_end <= 1:
            raise ValueError(
                f"alpha_end in [0, 1]: {self.alpha_end} would give one response a negative weight "
                "(released=true accepts it)"
            )
        return self

    def alpha(self, step: int, total: int) -> float:
        """a after `step` of `total` finished updates: linear, clamped outside.

        The first update uses 0 and the last alpha_end * (total - 1) / total, so that `alpha_end`
        itself is only seen by an evaluation after training. The figure of the paper draws a curve,
        its code this line.
        """
        if self.alpha_mode == "static":
            return self.alpha_end
        return linear_ramp(
            step, start=0.0, end=self.alpha_end, end_step=total, released=self.released
        )


SCHEDULED = {"alpha": MixSettings.alpha}


class WrpoSettings(MixSettings, SmoothedSettings):
    """Settings of WRPO."""


class WrpoSimpoSettings(MixSettings, SimpoSettings):
    """Settings of WRPO with the reward of SimPO."""


class WrpoIpoSettings(MixSettings, IpoSettings):
    """Settings of WRPO with the loss of IPO."""


def mixed_margin(h: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """sum_k w_k h_k - h_l for any number of preferred responses, and the sum alone.

    Args:
        h: (B, K), the rejected response last.
        weights: (K-1,) or (B, K-1).

    Raises:
        BadRecord: a weight missing or too many.
    """
    if weights.shape[-1] != h.shape[1] - 1:
        raise BadRecord(
            f"{weights.shape[-1]} weights for {h.shape[1] - 1} preferred responses; expected one "
            "weight each"
        )
    preferred = (h[:, :-1] * weights).sum(dim=1)
    return preferred - h[:, -1], preferred


def weighted_loss(
    logps: Tensor,
    reference: Tensor | None,
    lengths: Tensor,
    *,
    weights: Tensor,
    settings: SmoothedSettings,
) -> Result:
    """WRPO with K - 1 preferred responses of given weights: `wrpo` has (a, 1 - a)."""
    h = log_ratios(logps, required_reference(reference), lengths, settings, "sum")
    margin, preferred = mixed_margin(h, weights.to(h))
    losses = logistic(settings.beta * margin, settings)
    return with_metrics(losses, settings.beta * h, settings.beta * preferred)


@preference_loss(WrpoSettings, responses=RESPONSES, scheduled=SCHEDULED)
def wrpo(
    logps: Tensor,
    reference: Tensor | None,
    lengths: Tensor,
    *,
    settings: WrpoSettings,
    alpha: float,
) -> Result:
    """The loss of the module docstring, on summed log-probabilities; (B, 3) -> (B,).

    Raises:
        BadRecord: alpha outside [0, 1] without `settings.released`.
    """
    weights = _weights(logps, alpha, settings)
    return weighted_loss(logps, reference, lengths, weights=weights, settings=settings)


@preference_loss(SmoothedSettings, responses=RESPONSES)
def wrpo_two_pairs(
    logps: Tensor, reference: Tensor | None, lengths: Tensor, *, settings: SmoothedSettings
) -> Result:
    """Mean of two DPO losses, (y_s, y_l) and (y_t, y_l): "sigmoid" in the released code.

    By convexity it is at least `wrpo` at a = 1/2, and equal where both margins are equal.
    """
    h = log_ratios(logps, required_reference(reference), lengths, settings, "sum")
    losses = logistic(settings.beta * (h[:, :-1] - h[:, -1:]), settings).mean(dim=1)
    return with_metrics(losses, settings.beta * h, settings.beta * h[:, :-1].mean(dim=1))


@preference_loss(WrpoSimpoSettings, responses=RESPONSES, needs_reference=False, scheduled=SCHEDULED)
def wrpo_simpo(
    logps: Tensor,
    reference: Tensor | None,
    lengths: Tensor,
    *,
    settings: WrpoSimpoSettings,
    alpha: float,
) -> Result:
    """WRPO with SimPO's reward beta / |y| log pi(y|x) and margin gamma, without a reference.

    Ours: the paper reports such a hybrid, but neither its equation nor its code is public. a = 0
    and a = 1 are SimPO on the corresponding pair.
    """
    rewards = settings.beta * log_ratios(logps, None, lengths, settings, "mean")
    margin, preferred = mixed_margin(rewards, _weights(logps, alpha, settings).to(rewards))
    gamma = settings.gamma_over_beta * settings.beta
    return with_metrics(logistic(margin - gamma, settings), rewards, preferred)


@preference_loss(WrpoIpoSettings, responses=RESPONSES, scheduled=SCHEDULED)
def wrpo_ipo(
    logps: Tensor,
    reference: Tensor | None,
    lengths: Tensor,
    *,
    settings: WrpoIpoSettings,
    alpha: float,
) -> Result:
    """(a h(y_s) + (1 - a) h(y_t) - h(y_l) - 1 / (2 tau))^2 with h averaged over tokens.

    Ours, like `wrpo_simpo`. The authors of IPO used averages (TRL since 0.13);
    `normalisation="sum"` gives the sums of earlier code, which differ by orders of magnitude.
    """
    h = log_ratios(logps, required_reference(reference), lengths, settings, "mean")
    margin, preferred = mixed_margin(h, _weights(logps, alpha, settings).to(h))
    losses = (margin - settings.target) ** 2
    return with_metrics(losses, settings.beta * h, settings.beta * preferred)


def _weights(logps: Tensor, alpha: float, settings: MixSettings) -> Tensor:
    if not settings.released and not 0 <= alpha <= 1:
        raise BadRecord(
            f"alpha is {alpha}; expected a weight in [0, 1], so that no preferred response counts "
            "negatively (released=true accepts it)"
        )
    return logps.new_tensor([alpha, 1 - alpha])
