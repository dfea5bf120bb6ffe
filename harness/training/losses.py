"""Preference losses as pure functions, and the table that names them.

Every loss has one signature, whatever its number of responses K:

    loss(logps, reference, lengths, *, alpha, settings) -> (losses, metrics)

    logps      (B, K)  log pi(y_k|x), summed over the response's tokens
    reference  (B, K)  the same under the frozen reference policy; None where not needed
    lengths    (B, K)  number of response tokens
    alpha      float   weight of the first response, for the losses that mix two preferred ones
    losses     (B,)    one per prompt; a batch's loss is their mean
    metrics    "rewards" (B, K), "margins" (B,), "accuracy" (B,), detached

Columns stand in the order of `PreferenceLoss.responses`, the preferred ones first and the rejected
one last. Arithmetic is float32, float64 for float64 input. This module loads without torch.

With h = log pi - log pi0 (summed or averaged over tokens, `LossSettings.normalisation`), c the
chosen and r the rejected response, and sigma the logistic function, the pair losses are:

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
    aot, aot_pair, kto_pair, sft: below. They couple the rows of a batch, so that accumulation over
    micro-batches changes them (`PreferenceLoss.batch_coupled`).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from harness.core.errors import BadData, unknown
from harness.training.settings import LossSettings

if TYPE_CHECKING:
    from torch import Tensor

Result = tuple["Tensor", dict[str, "Tensor"]]


class LossFunction(Protocol):
    def __call__(
        self,
        logps: Tensor,
        reference: Tensor | None,
        lengths: Tensor,
        *,
        alpha: float,
        settings: LossSettings,
    ) -> Result: ...


@dataclass(frozen=True)
class PreferenceLoss:
    """A loss and what it needs; `responses` name the columns in a preference row's table."""

    function: LossFunction
    responses: tuple[str, ...] = ("target", "rejected")
    needs_reference: bool = True
    batch_coupled: bool = False


def log_ratios(
    logps: Tensor,
    reference: Tensor | None,
    lengths: Tensor,
    settings: LossSettings,
    default: Literal["sum", "mean"],
) -> Tensor:
    """h (B, K): log pi - log pi0, or log pi without a reference, summed or averaged over tokens."""
    h = wide(logps) if reference is None else wide(logps) - wide(reference)
    chosen = default if settings.normalisation == "default" else settings.normalisation
    return h / lengths.clamp(min=1) if chosen == "mean" else h


def wide(values: Tensor) -> Tensor:
    """float32, or float64 when already so."""
    return values if str(values.dtype) == "torch.float64" else values.float()


def log_sigmoid(values: Tensor) -> Tensor:
    from torch.nn.functional import logsigmoid

    return logsigmoid(values)


def logistic(margin: Tensor, settings: LossSettings) -> Tensor:
    """-(1 - eps) log sigma(margin) - eps log sigma(-margin)."""
    eps = settings.label_smoothing
    losses = -(1 - eps) * log_sigmoid(margin)
    return losses if eps == 0 else losses - eps * log_sigmoid(-margin)


def with_metrics(losses: Tensor, rewards: Tensor, preferred: Tensor | None = None) -> Result:
    """Add the metrics; `preferred` (B,) is the preferred side's reward, by default column 0."""
    rewards = rewards.detach()
    better = rewards[:, 0] if preferred is None else preferred.detach()
    margins = better - rewards[:, -1]
    accuracy = (margins > 0).to(margins.dtype)
    return losses, {"rewards": rewards, "margins": margins, "accuracy": accuracy}


def dpo(chosen: Tensor, rejected: Tensor, settings: LossSettings) -> Tensor:
    return logistic(settings.beta * (chosen - rejected), settings)


def robust(chosen: Tensor, rejected: Tensor, settings: LossSettings) -> Tensor:
    eps, margin = settings.label_smoothing, settings.beta * (chosen - rejected)
    return (eps * log_sigmoid(-margin) - (1 - eps) * log_sigmoid(margin)) / (1 - 2 * eps)


def exo(chosen: Tensor, rejected: Tensor, settings: LossSettings) -> Tensor:
    """Needs a smoothed preference: `label_smoothing` below 1e-3 counts as 1e-3, as in TRL 0.9."""
    margin, p = settings.beta * (chosen - rejected), max(settings.label_smoothing, 1e-3)
    better, worse = log_sigmoid(margin), log_sigmoid(-margin)
    log_p, log_q = margin.new_tensor(p).log(), margin.new_tensor(1 - p).log()
    return better.exp() * (better - log_q) + worse.exp() * (worse - log_p)


def hinge(chosen: Tensor, rejected: Tensor, settings: LossSettings) -> Tensor:
    return (1 - settings.beta * (chosen - rejected)).relu()


def ipo(chosen: Tensor, rejected: Tensor, settings: LossSettings) -> Tensor:
    return (chosen - rejected - ipo_target(settings)) ** 2


def ipo_target(settings: LossSettings) -> float:
    """1 / (2 tau)."""
    return 1 / (2 * (settings.beta if settings.tau is None else settings.tau))


def simpo(chosen: Tensor, rejected: Tensor, settings: LossSettings) -> Tensor:
    return logistic(settings.beta * (chosen - rejected - settings.gamma_over_beta), settings)


def simpo_hinge(chosen: Tensor, rejected: Tensor, settings: LossSettings) -> Tensor:
    return hinge(chosen - settings.gamma_over_beta, rejected, settings)


def nca(chosen: Tensor, rejected: Tensor, settings: LossSettings) -> Tensor:
    good, bad = settings.beta * chosen, settings.beta * rejected
    return -log_sigmoid(good) - 0.5 * log_sigmoid(-good) - 0.5 * log_sigmoid(-bad)


def bco(chosen: Tensor, rejected: Tensor, settings: LossSettings) -> Tensor:
    return -log_sigmoid(settings.beta * chosen) - log_sigmoid(-settings.beta * rejected)


def sppo_hard(chosen: Tensor, rejected: Tensor, settings: LossSettings) -> Tensor:
    half = 0.5 / settings.beta
    return (chosen - half) ** 2 + (rejected + half) ** 2


def apo_zero(chosen: Tensor, rejected: Tensor, settings: LossSettings) -> Tensor:
    return 1 - (settings.beta * chosen).sigmoid() + (settings.beta * rejected).sigmoid()


def apo_down(chosen: Tensor, rejected: Tensor, settings: LossSettings) -> Tensor:
    gap = settings.beta * (chosen - rejected)
    return (settings.beta * chosen).sigmoid() + 1 - gap.sigmoid()


def aot_pair(chosen: Tensor, rejected: Tensor, settings: LossSettings) -> Tensor:
    """dpo between the i-th smallest chosen and the i-th smallest rejected ratio of the batch
    (arXiv 2406.05882, unpaired)."""
    return logistic(settings.beta * (chosen.sort().values - rejected.sort().values), settings)


def kto_pair(chosen: Tensor, rejected: Tensor, settings: LossSettings) -> Tensor:
    """KTO on pairs as TRL 0.9 had it: each side against the other side's batch mean, at least 0
    (arXiv 2402.01306). The mean of both sides' losses, so that a batch mean is that of TRL."""
    low, high = rejected.mean().clamp(min=0), chosen.mean().clamp(min=0)
    good = 1 - (settings.beta * (chosen - low)).sigmoid()
    bad = 1 - (settings.beta * (high - rejected)).sigmoid()
    return (good + bad) / 2


def aot_loss(
    logps: Tensor,
    reference: Tensor | None,
    lengths: Tensor,
    *,
    alpha: float,
    settings: LossSettings,
) -> Result:
    """Paired AOT (arXiv 2406.05882): policy and reference margins are sorted apart, so it cannot
    be written with h."""
    policy = log_ratios(logps, None, lengths, settings, "sum")
    frozen = log_ratios(required_reference(reference), None, lengths, settings, "sum")
    gap = (policy[:, 0] - policy[:, 1]).sort().values - (frozen[:, 0] - frozen[:, 1]).sort().values
    return with_metrics(logistic(settings.beta * gap, settings), settings.beta * (policy - frozen))


def sft_loss(
    logps: Tensor,
    reference: Tensor | None,
    lengths: Tensor,
    *,
    alpha: float,
    settings: LossSettings,
) -> Result:
    """Negative log-likelihood of the chosen response per token of the batch, spread over rows so
    that their mean is sum(-log pi) / sum(tokens)."""
    policy, tokens = wide(logps), lengths[:, 0]
    losses = -policy[:, 0] * (len(logps) / tokens.sum().clamp(min=1))
    return with_metrics(losses, policy)


PairLoss = Callable[["Tensor", "Tensor", LossSettings], "Tensor"]


def pairwise(
    function: PairLoss,
    default: Literal["sum", "mean"] = "sum",
    *,
    needs_reference: bool = True,
    batch_coupled: bool = False,
) -> PreferenceLoss:
    """Give a loss of (h_c, h_r) the common signature."""

    def loss(
        logps: Tensor,
        reference: Tensor | None,
        lengths: Tensor,
        *,
        alpha: float,
        settings: LossSettings,
    ) -> Result:
        frozen = required_reference(reference) if needs_reference else None
        h = log_ratios(logps, frozen, lengths, settings, default)
        return with_metrics(function(h[:, 0], h[:, 1], settings), settings.beta * h)

    loss.__name__, loss.__doc__ = f"{function.__name__}_loss", function.__doc__
    return PreferenceLoss(loss, needs_reference=needs_reference, batch_coupled=batch_coupled)


LOSSES: dict[str, PreferenceLoss] = {
    "dpo": pairwise(dpo),
    "ln_dpo": pairwise(dpo, "mean"),
    "robust": pairwise(robust),
    "exo": pairwise(exo),
    "hinge": pairwise(hinge),
    "ipo": pairwise(ipo, "mean"),
    "simpo": pairwise(simpo, "mean", needs_reference=False),
    "simpo_hinge": pairwise(simpo_hinge, "mean", needs_reference=False),
    "nca": pairwise(nca),
    "bco": pairwise(bco),
    "sppo_hard": pairwise(sppo_hard),
    "apo_zero": pairwise(apo_zero),
    "apo_down": pairwise(apo_down),
    "aot": PreferenceLoss(aot_loss, batch_coupled=True),
    "aot_pair": pairwise(aot_pair, batch_coupled=True),
    "kto_pair": pairwise(kto_pair, batch_coupled=True),
    "sft": PreferenceLoss(sft_loss, needs_reference=False, batch_coupled=True),
}

# Losses that stand in a method's folder, imported when they are asked for.
PROVIDERS = {
    "wrpo": "methods.wrpo.loss",
    "wrpo_two_pairs": "methods.wrpo.loss",
    "wrpo_simpo": "methods.wrpo.loss",
    "wrpo_ipo": "methods.wrpo.loss",
}


def preference_loss(
    name: str,
    *,
    responses: tuple[str, ...],
    needs_reference: bool = True,
    batch_coupled: bool = False,
) -> Callable[[LossFunction], LossFunction]:
    """Register a loss of the common signature under `name`.

        @preference_loss("wrpo", responses=("source", "target", "rejected"))
        def wrpo_loss(logps, reference, lengths, *, alpha, settings): ...

    Raises:
        ValueError: another function has the name.
    """

    def register(function: LossFunction) -> LossFunction:
        known = LOSSES.get(name)
        if known is not None and _home(known.function) != _home(function):
            raise ValueError(
                f'preference loss "{name}" is already defined in {_home(known.function)}'
            )
        LOSSES[name] = PreferenceLoss(function, responses, needs_reference, batch_coupled)
        return function

    return register


def get_loss(name: str) -> PreferenceLoss:
    """The loss called `name`; "package.module:name" imports a module that registers it first.

    Raises:
        UnknownName: with the nearest name.
    """
    module, _, short = name.rpartition(":")
    home = module or PROVIDERS.get(short, "")
    if home and short not in LOSSES:
        try:
            importlib.import_module(home)
        except ModuleNotFoundError as error:
            if error.name is None or not home.startswith(error.name):
                raise
            raise unknown("preference loss", name, {*LOSSES, *PROVIDERS}) from None
    if short not in LOSSES:
        raise unknown("preference loss", short, {*LOSSES, *PROVIDERS})
    return LOSSES[short]


def required_reference(reference: Tensor | None) -> Tensor:
    if reference is None:
        raise BadData(
            "this preference loss compares with a reference policy, but no reference "
            "log-probabilities were given; add a reference_logps stage"
        )
    return reference


def _home(function: LossFunction) -> str:
    return str(getattr(function, "__module__", ""))
