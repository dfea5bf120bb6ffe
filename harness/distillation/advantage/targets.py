"""What teachers say at the scored positions of a batch, and the losses of a few positions.

    Distribution   hidden states and a head: the whole distribution, a few positions at a time
    Lists          ids with values and one bucket for the rest
    token weights  one advantage per token, for advantages of sequences or spans

The functions below make a `harness.models.head_sums.Measure` of one part of the batch: they see the
student's logits of a few positions and return the weighted sum to minimise, with sums to log.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.core.errors import BadData
from harness.distillation.advantage.losses import (
    advantages,
    clipped,
    dense_advantages,
    expected_advantage,
    forward_kl,
    listed_kl,
    log_probs,
    tail_logp,
    token_nll,
)
from harness.distillation.advantage.settings import Clip, PairLoss
from harness.models.head_sums import Measure, head_logits
from harness.models.heads import Head


@dataclass(frozen=True)
class Distribution:
    """Distributions at M positions over the first `vocabulary` ids of a head."""

    hidden: Tensor  # (M, H)
    head: Head
    vocabulary: int

    def logps(self, part: slice) -> Tensor:
        """Log-probabilities (m, vocabulary) of some positions.

        Raises:
            BadData: the teacher gives logits that are not finite.
        """
        found = log_probs(head_logits(self.hidden[part], self.head, vocabulary=self.vocabulary))
        if bool(found[:, :1].isnan().any()):
            raise BadData(
                "a teacher gives logits that are not finite; load it in a wider dtype (its `dtype` "
                "in the recipe), or omit the row"
            )
        return found


@dataclass(frozen=True)
class Lists:
    """Values at listed ids and in one bucket: log-probabilities, or log-ratios."""

    ids: Tensor  # (M, k)
    values: Tensor  # (M, k)
    tail: Tensor  # (M,)


@dataclass(frozen=True)
class Ratio:
    """A teacher and its reference; without a reference, the uniform distribution."""

    teacher: Distribution
    reference: Distribution | None

    def logps(self, part: slice) -> Tensor:
        """Log-ratios (m, V)."""
        teacher = self.teacher.logps(part)
        if self.reference is None:
            # log q - log 1/V: the constant leaves the gradient alone.
            return advantages(teacher, -torch.tensor(float(teacher.shape[-1])).log().to(teacher))
        return advantages(teacher, self.reference.logps(part))


@dataclass(frozen=True)
class Part:
    """Labels of M scored positions and their weights in sums."""

    labels: Tensor  # (M,)
    weights: Tensor  # (M,)
    teacher_weights: Tensor  # (M,), those of KL and advantage


def imitation(
    part: Part,
    settings: PairLoss,
    teacher: Distribution | Lists | None,
    vocabulary: int,
    *,
    nll: float,
    kl: float,
) -> Measure:
    """nll * NLL(labels) + kl * KL(teacher || student); logs `nll`, `kl` and `entropy`."""

    def measure(span: slice, logits: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        weights = part.weights[span].to(logits.dtype)
        logps = log_probs(logits)
        nlls = weights @ token_nll(logps, part.labels[span])
        total, logged = nll * nlls, {"nll": nlls.detach()}
        logps = common(logps, vocabulary)
        if teacher is not None:
            if isinstance(teacher, Lists):
                each = _listed(teacher, span, logps)
            else:
                each = forward_kl(logps, teacher.logps(span))
            apart = part.teacher_weights[span].to(logits.dtype) @ each
            total = total + kl * apart
            logged["kl"] = apart.detach()
        return total, logged

    return measure


def _listed(teacher: Lists, span: slice, logps: Tensor) -> Tensor:
    ids, values, tail = teacher.ids[span], teacher.values[span], teacher.tail[span]
    return listed_kl(logps, ids, values.to(logps.dtype), tail.to(logps.dtype))


def advantage(part: Part, settings: PairLoss, teacher: Ratio | Lists, vocabulary: int) -> Measure:
    """-gamma E_p[A]; logs `advantage` (without gamma), `clipped`, `entropy`, and `p_tail`.

    `clipped` is the student's mass on tokens whose log-ratio was clipped, `p_tail` its mass outside
    the list.
    """

    def measure(span: slice, logits: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        weights = part.teacher_weights[span].to(logits.dtype)
        logps = common(log_probs(logits), vocabulary)
        if isinstance(teacher, Lists):
            kept, tail = (each[span].to(logps.dtype) for each in (teacher.values, teacher.tail))
            ratio = dense_advantages(vocabulary, teacher.ids[span], kept, tail)
        else:
            ratio = teacher.logps(span)
        values = settings.beta * clipped(ratio, settings.advantage_clip)
        found = weights @ expected_advantage(logps, values)
        logged = {"advantage": found.detach(), **_logged(logps, weights, ratio, settings)}
        if isinstance(teacher, Lists):
            logged["p_tail"] = weights @ tail_logp(logps.detach(), teacher.ids[span]).exp()
        return -settings.gamma * found, logged

    return measure


@torch.no_grad()
def _logged(logps: Tensor, weights: Tensor, ratio: Tensor, settings: PairLoss) -> dict[str, Tensor]:
    p = logps.exp()
    found = {"entropy": weights @ -(p * logps.clamp(min=-1e30)).sum(-1)}
    if settings.advantage_clip is not None:
        outside = ratio != clipped(ratio, settings.advantage_clip)
        found["clipped"] = weights @ (p * outside).sum(-1)
    return found


def weighted_tokens(part: Part, settings: PairLoss, advantage: Tensor) -> Measure:
    """-gamma beta w_t log p(y_t) with a given advantage w (M,) of each token; logs `advantage`,
    the mean of beta w, and `nll`."""

    def measure(span: slice, logits: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        weights = part.teacher_weights[span].to(logits.dtype)
        values = settings.beta * _bounded(advantage[span].to(logits.dtype), settings.advantage_clip)
        nlls = token_nll(log_probs(logits), part.labels[span])
        logged = {"advantage": weights @ values, "nll": weights @ nlls.detach()}
        return settings.gamma * ((weights * values) @ nlls), logged

    return measure


def _bounded(values: Tensor, clip: Clip) -> Tensor:
    return clipped(values, clip)


def common(logps: Tensor, vocabulary: int) -> Tensor:
    """Log-probabilities over the first `vocabulary` ids, which a padded head exceeds."""
    if logps.shape[-1] == vocabulary:
        return logps
    return logps[..., :vocabulary].log_softmax(-1)
