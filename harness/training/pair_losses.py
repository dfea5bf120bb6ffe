"""The built-in preference losses, most of them on pairs.

With h = log pi - log pi0 (summed or averaged over tokens, `PairSettings.normalisation`), c the
chosen and r the rejected response, and sigma the logistic function:

    dpo        -log sigma(beta (h_c - h_r))                                    arXiv 2305.18290
    ln_dpo     dpo with averages                                               arXiv 2411.15124
    robust     dpo, unbiased under label_smoothing                             arXiv 2403.00409
    exo        reverse KL to the smoothed preference                           arXiv 2402.00856
    hinge      max(0, 1 - beta (h_c - h_r))                                    arXiv 2305.10425
    ipo        (h_c - h_r - 1 / (2 tau))^2, averages                           arXiv 2310.12036
    simpo      -log sigma(beta (l_c - l_r) - gamma), l average log pi          arXiv 2405.14734
    nca        -log sigma(b h_c) - (log sigma(-b h_c) + log sigma(-b h_r)) / 2 arXiv 2402.05369
    bco        -log sigma(beta h_c) - log sigma(-beta h_r)                     arXiv 2404.04656
    sppo_hard  (h_c - 1 / (2 beta))^2 + (h_r + 1 / (2 beta))^2                 arXiv 2405.00675
    apo_zero   1 - sigma(beta h_c) + sigma(beta h_r)                           arXiv 2408.06266
    apo_down   sigma(beta h_c) + 1 - sigma(beta (h_c - h_r))                   arXiv 2408.06266
    orpo       -l_c - beta log sigma(log odds_c - log odds_r), l average log pi,
               log odds = l - log(1 - e^l)                                     arXiv 2403.07691
    aot, aot_pair, kto_pair, sft: below. They couple the rows of a batch, so that accumulation over
    micro-batches would change them (`PreferenceLoss.batch_coupled`); `train_preference` refuses it.
    This module loads without torch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, TypeVar

from pydantic import Field

from harness.core.records import Record
from harness.training.losses import (
    PreferenceLoss,
    Result,
    preference_loss,
    required_reference,
    with_metrics,
)

if TYPE_CHECKING:
    from torch import Tensor

Normalisation = Literal["sum", "mean"]


class PairSettings(Record):
    """Settings of most losses.

    Attributes:
        beta: strength of the implicit reward, beta * (log pi - log pi0).
        normalisation: whether log-probabilities are summed over the tokens of a response or
            averaged; "default" is the choice of each loss.
    """

    beta: float = Field(default=0.1, gt=0)
    normalisation: Literal["default", "sum", "mean"] = "default"


class SmoothedSettings(PairSettings):
    """Settings of losses that allow for wrong preferences.

    Attributes:
        label_smoothing: assumed share of preferences that point the wrong way.
    """

    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)


class IpoSettings(PairSettings):
    """Settings of IPO.

    Attributes:
        tau: regularisation; None uses beta, as TRL does.
    """

    tau: float | None = Field(default=None, gt=0)

    @property
    def target(self) -> float:
        """The margin aimed at, 1 / (2 tau)."""
        return 1 / (2 * (self.beta if self.tau is None else self.tau))


class MarginSettings(PairSettings):
    """Settings of SimPO with a hinge.

    Attributes:
        gamma_over_beta: target reward margin, divided by beta.
    """

    gamma_over_beta: float = Field(default=0.0, ge=0)


class SimpoSettings(MarginSettings, SmoothedSettings):
    """Settings of SimPO."""


class NoSettings(Record):
    """Settings of a loss that has none."""


def log_ratios(
    logps: Tensor,
    reference: Tensor | None,
    lengths: Tensor,
    settings: PairSettings,
    default: Normalisation,
) -> Tensor:
    """h (B, K): log pi - log pi0, or log pi without a reference, summed or averaged over tokens."""
    h = wide(logps) if reference is None else wide(logps) - wide(reference)
    chosen = default if settings.normalisation == "default" else settings.normalisation
    return h / lengths.clamp(min=1) if chosen == "mean" else h


def wide(values: Tensor) -> Tensor:
    """float32, or float64 where the input is."""
    return values if str(values.dtype) == "torch.float64" else values.float()


def log_sigmoid(values: Tensor) -> Tensor:
    from torch.nn.functional import logsigmoid

    return logsigmoid(values)


def logistic(margin: Tensor, settings: SmoothedSettings) -> Tensor:
    """-(1 - eps) log sigma(margin) - eps log sigma(-margin)."""
    eps = settings.label_smoothing
    losses = -(1 - eps) * log_sigmoid(margin)
    return losses if eps == 0 else losses - eps * log_sigmoid(-margin)


S = TypeVar("S", bound=PairSettings)


def pairwise(
    settings: type[S],
    default: Normalisation = "sum",
    *,
    needs_reference: bool = True,
    batch_coupled: bool = False,
) -> Callable[[Callable[[Tensor, Tensor, S], Tensor]], PreferenceLoss]:
    """Make a loss of a function of (h_c, h_r, settings)."""

    def make(function: Callable[[Tensor, Tensor, S], Tensor]) -> PreferenceLoss:
        def loss(
            logps: Tensor, reference: Tensor | None, lengths: Tensor, *, settings: S
        ) -> Result:
            frozen = required_reference(reference) if needs_reference else None
            h = log_ratios(logps, frozen, lengths, settings, default)
            return with_metrics(function(h[:, 0], h[:, 1], settings), settings.beta * h)

        return preference_loss(
            settings, needs_reference=needs_reference, batch_coupled=batch_coupled
        )(loss)

    return make


@pairwise(SmoothedSettings)
def dpo(chosen: Tensor, rejected: Tensor, settings: SmoothedSettings) -> Tensor:
    return logistic(settings.beta * (chosen - rejected), settings)


@pairwise(SmoothedSettings, "mean")
def ln_dpo(chosen: Tensor, rejected: Tensor, settings: SmoothedSettings) -> Tensor:
    return logistic(settings.beta * (chosen - rejected), settings)


@pairwise(SmoothedSettings)
def robust(chosen: Tensor, rejected: Tensor, settings: SmoothedSettings) -> Tensor:
    eps, margin = settings.label_smoothing, settings.beta * (chosen - rejected)
    return (eps * log_sigmoid(-margin) - (1 - eps) * log_sigmoid(margin)) / (1 - 2 * eps)


@pairwise(SmoothedSettings)
def exo(chosen: Tensor, rejected: Tensor, settings: SmoothedSettings) -> Tensor:
    # The preference must be smoothed: less than 1e-3 counts as 1e-3, as in TRL 0.9.
    margin, p = settings.beta * (chosen - rejected), max(settings.label_smoothing, 1e-3)
    better, worse = log_sigmoid(margin), log_sigmoid(-margin)
    log_p, log_q = margin.new_tensor(p).log(), margin.new_tensor(1 - p).log()
    return better.exp() * (better - log_q) + worse.exp() * (worse - log_p)


@pairwise(PairSettings)
def hinge(chosen: Tensor, rejected: Tensor, settings: PairSettings) -> Tensor:
    return (1 - settings.beta * (chosen - rejected)).relu()


@pairwise(IpoSettings, "mean")
def ipo(chosen: Tensor, rejected: Tensor, settings: IpoSettings) -> Tensor:
    return (chosen - rejected - settings.target) ** 2


@pairwise(SimpoSettings, "mean", needs_reference=False)
def simpo(chosen: Tensor, rejected: Tensor, settings: SimpoSettings) -> Tensor:
    return logistic(settings.beta * (chosen - rejected - settings.gamma_over_beta), settings)


@pairwise(MarginSettings, "mean", needs_reference=False)
def simpo_hinge(chosen: Tensor, rejected: Tensor, settings: MarginSettings) -> Tensor:
    return (1 - settings.beta * (chosen - settings.gamma_over_beta - rejected)).relu()


@pairwise(PairSettings, "mean", needs_reference=False)
def orpo(chosen: Tensor, rejected: Tensor, settings: PairSettings) -> Tensor:
    """beta is the paper's lambda. The likelihood term is the mean per row, so that micro-batches
    give the loss of their batch; TRL averages it over the tokens of the batch."""
    return -chosen - settings.beta * log_sigmoid(log_odds(chosen) - log_odds(rejected))


def log_odds(logps: Tensor) -> Tensor:
    """log p / (1 - p) from log p <= 0, finite at p = 1 (1 - p is at least the rounding of 1)."""
    from torch import finfo

    least = -finfo(logps.dtype).eps
    clamped = logps.clamp(max=least)
    return clamped - (-clamped.expm1()).log()


@pairwise(PairSettings)
def nca(chosen: Tensor, rejected: Tensor, settings: PairSettings) -> Tensor:
    good, bad = settings.beta * chosen, settings.beta * rejected
    return -log_sigmoid(good) - 0.5 * log_sigmoid(-good) - 0.5 * log_sigmoid(-bad)


@pairwise(PairSettings)
def bco(chosen: Tensor, rejected: Tensor, settings: PairSettings) -> Tensor:
    return -log_sigmoid(settings.beta * chosen) - log_sigmoid(-settings.beta * rejected)


@pairwise(PairSettings)
def sppo_hard(chosen: Tensor, rejected: Tensor, settings: PairSettings) -> Tensor:
    half = 0.5 / settings.beta
    return (chosen - half) ** 2 + (rejected + half) ** 2


@pairwise(PairSettings)
def apo_zero(chosen: Tensor, rejected: Tensor, settings: PairSettings) -> Tensor:
    return 1 - (settings.beta * chosen).sigmoid() + (settings.beta * rejected).sigmoid()


@pairwise(PairSettings)
def apo_down(chosen: Tensor, rejected: Tensor, settings: PairSettings) -> Tensor:
    gap = settings.beta * (chosen - rejected)
    return (settings.beta * chosen).sigmoid() + 1 - gap.sigmoid()


@pairwise(SmoothedSettings, batch_coupled=True)
def aot_pair(chosen: Tensor, rejected: Tensor, settings: SmoothedSettings) -> Tensor:
    """dpo between the i-th smallest chosen and the i-th smallest rejected ratio of the batch
    (arXiv 2406.05882, unpaired)."""
    return logistic(settings.beta * (chosen.sort().values - rejected.sort().values), settings)


@pairwise(PairSettings, batch_coupled=True)
def kto_pair(chosen: Tensor, rejected: Tensor, settings: PairSettings) -> Tensor:
    """KTO on pairs as in TRL 0.9: each side against the other side's batch mean, at least 0
    (arXiv 2402.01306). The mean of both sides' losses, so that a batch mean equals TRL's."""
    low, high = rejected.mean().clamp(min=0), chosen.mean().clamp(min=0)
    good = 1 - (settings.beta * (chosen - low)).sigmoid()
    bad = 1 - (settings.beta * (high - rejected)).sigmoid()
    return (good + bad) / 2


@preference_loss(SmoothedSettings, batch_coupled=True)
def aot(
    logps: Tensor, reference: Tensor | None, lengths: Tensor, *, settings: SmoothedSettings
) -> Result:
    """Paired AOT (arXiv 2406.05882): policy and reference margins are sorted separately, so it
    cannot be written with h."""
    policy = log_ratios(logps, None, lengths, settings, "sum")
    frozen = log_ratios(required_reference(reference), None, lengths, settings, "sum")
    gap = (policy[:, 0] - policy[:, 1]).sort().values - (frozen[:, 0] - frozen[:, 1]).sort().values
    return with_metrics(logistic(settings.beta * gap, settings), settings.beta * (policy - frozen))


@preference_loss(NoSettings, needs_reference=False, batch_coupled=True)
def sft(
    logps: Tensor, reference: Tensor | None, lengths: Tensor, *, settings: NoSettings
) -> Result:
    """Negative log-likelihood of the chosen response per token of the batch, spread over rows so
    that their mean is sum(-log pi) / sum(tokens)."""
    policy, tokens = wide(logps), lengths[:, 0]
    losses = -policy[:, 0] * (len(logps) / tokens.sum().clamp(min=1))
    return with_metrics(losses, policy)
