"""The losses of DCKD and ADPA (arXiv 2502.17927), as pure functions of logits.

With p the student, q the teacher after DPO, r its reference, and s_t the state before token t,

    DCKD  L = NLL(y_w) + alpha_w KL(q || p)(y_w) + alpha_l KL(q || p)(y_l)
    ADPA  L = NLL(y_w) - gamma E_p[A](y_hat),      A(s, a) = beta log(q(a|s) / r(a|s))

The log-ratio is the advantage of maximum-entropy reinforcement learning with the reference r; a
constant per state changes the loss but not its gradient, because p sums to 1. So
E_p[A] / beta = KL(p || r) - KL(p || q): the student is pulled to the DPO teacher and pushed from
its reference. The objective has no entropy term: without the first term its optimum is the token of
the largest advantage, however unlikely.

Sparse teachers are lists of k ids with values and one bucket for the rest. The list must be that of
the full distributions, because a truncated sum needs the constant of each state:

    KL_full - KL_list  = q_tail KL(q_in_tail || p_in_tail) >= 0
    |E_full - E_list| <= p_tail max_tail |A - A_tail|,   A_tail = beta log(q_tail / r_tail)

Shapes: logits (..., V), ids (..., k); position t of logits predicts labels at t, -100 is not
counted. Values are float32, or float64 for float64 logits.
"""

from __future__ import annotations

import torch
from torch import Tensor

from harness.distillation.advantage.advantage_released import clamped
from harness.distillation.advantage.settings import Clip, PairLoss, Reduction
from harness.models.tokenize import IGNORE

EMPTY = 1e-30  # a tail of less mass is empty


def log_probs(logits: Tensor) -> Tensor:
    """log softmax in float32, or float64 for float64."""
    return (logits if logits.dtype == torch.float64 else logits.float()).log_softmax(-1)


def token_nll(logps: Tensor, labels: Tensor) -> Tensor:
    """-log p of the labels (...,), 0 where a label is -100."""
    found = logps.gather(-1, labels.clamp(min=0)[..., None])[..., 0]
    return -found.masked_fill(labels == IGNORE, 0.0)


def forward_kl(logps: Tensor, teacher: Tensor) -> Tensor:
    """KL(q || p) per position (...,) from log-probabilities (..., V) of both."""
    q = teacher.exp()
    # q = 0 where the teacher's log-probability is -inf: 0 log 0 = 0.
    return (q * (teacher.clamp(min=-1e30) - logps)).sum(-1)


def tail_logp(logps: Tensor, ids: Tensor) -> Tensor:
    """log of the mass outside a list (...,): log-sum-exp over the left-out ids.

    1 minus the listed mass would be rounding error where the list has nearly all mass.

    Args:
        ids: (..., k), without repetition.
    """
    return logps.scatter(-1, ids, -torch.inf).logsumexp(-1)


def listed_kl(logps: Tensor, ids: Tensor, teacher: Tensor, tail: Tensor) -> Tensor:
    """KL(q || p) per position over the listed ids and one bucket for all others; at most the full
    KL.

    Args:
        ids, teacher: (..., k) list and the teacher's log-probabilities.
        tail: (...,) log of the teacher's mass outside; -inf for none.
    """
    kept = forward_kl(logps.gather(-1, ids), teacher)
    mass = tail.exp()
    there = mass > EMPTY
    ours = tail_logp(logps, ids)
    ours = torch.where(there, ours, torch.zeros_like(ours))
    bucket = mass * (tail.masked_fill(~there, 0.0) - ours)
    return kept + torch.where(there, bucket, torch.zeros_like(bucket))


def advantages(
    teacher: Tensor, reference: Tensor, *, beta: float = 1.0, clip: Clip = None
) -> Tensor:
    """A = beta log(q / r) from log-probabilities of equal shape.

    Ids to which both give no mass have advantage 0.
    """
    ratio = teacher.clamp(min=-1e30) - reference.clamp(min=-1e30)
    return beta * clipped(ratio, clip)


def clipped(ratio: Tensor, clip: Clip) -> Tensor:
    """Log-ratios within the bound of `PairLoss.advantage_clip`."""
    if clip is None:
        return ratio
    return clamped(ratio) if clip == "reference_compat" else ratio.clamp(-clip, clip)


def listed_advantages(
    teacher: Tensor,
    reference: Tensor,
    teacher_tail: Tensor,
    reference_tail: Tensor,
    *,
    beta: float = 1.0,
    clip: Clip = None,
) -> tuple[Tensor, Tensor]:
    """Advantages (..., k) of listed ids and (...,) of the bucket, which is 0 for an empty tail.

    Args:
        teacher, reference: (..., k) log-probabilities of the full distributions at the same ids.
        teacher_tail, reference_tail: (...,) log of the mass outside the list.
    """
    kept = advantages(teacher, reference, beta=beta, clip=clip)
    empty = (teacher_tail.exp() <= EMPTY) | (reference_tail.exp() <= EMPTY)
    tail = advantages(teacher_tail, reference_tail, beta=beta, clip=clip)
    return kept, tail.masked_fill(empty, 0.0)


def dense_advantages(vocabulary: int, ids: Tensor, kept: Tensor, tail: Tensor) -> Tensor:
    """(..., V): the listed advantages at their ids, that of the bucket elsewhere."""
    filled = tail[..., None].expand(*tail.shape, vocabulary).contiguous()
    return filled.scatter(-1, ids, kept.to(filled.dtype))


def expected_advantage(logps: Tensor, advantage: Tensor) -> Tensor:
    """E_p[A] per position (...,) from log-probabilities and advantages (..., V)."""
    return (logps.exp() * advantage).sum(-1)


def weights_of(labels: Tensor, reduction: Reduction) -> tuple[Tensor, Tensor]:
    """Weight of each position (B, T), and the count that the weighted sum is divided by.

    "token": 1 per counted position, and their number. "sequence": 1 / (counted positions of the
    row), and the number of rows that have any.
    """
    counted = labels != IGNORE
    if reduction == "token":
        return counted.double(), counted.sum()
    lengths = counted.sum(-1, keepdim=True)
    return counted.double() / lengths.clamp(min=1), (lengths > 0).sum()


def mean_of(values: Tensor, labels: Tensor, reduction: Reduction) -> Tensor:
    """The mean over a batch of values (B, T); 0 without any label."""
    weights, count = weights_of(labels, reduction)
    # Positions that are not counted may hold anything, infinities too.
    kept = torch.where(labels == IGNORE, torch.zeros_like(values), values)
    return (kept * weights.to(values.dtype)).sum() / count.clamp(min=1)


Result = tuple[Tensor, dict[str, Tensor]]


def dckd_loss(
    chosen_logits: Tensor,
    rejected_logits: Tensor,
    chosen_labels: Tensor,
    rejected_labels: Tensor,
    *,
    teacher_chosen: Tensor,
    teacher_rejected: Tensor,
    settings: PairLoss,
) -> Result:
    """DCKD from logits (B, T, V) of student and teacher; see the module docstring.

    Returns:
        loss; detached {nll, kl_chosen, kl_response}, means per token or row.
    """
    good, bad = log_probs(chosen_logits), log_probs(rejected_logits)
    nll = mean_of(token_nll(good, chosen_labels), chosen_labels, settings.reduction)
    kl_chosen = mean_of(
        forward_kl(good, log_probs(teacher_chosen)), chosen_labels, settings.reduction
    )
    kl_response = mean_of(
        forward_kl(bad, log_probs(teacher_rejected)), rejected_labels, settings.reduction
    )
    imitated = settings.kl_chosen * kl_chosen + settings.kl_response * kl_response
    loss = settings.sft * nll + settings.distill * imitated
    found = {"nll": nll, "kl_chosen": kl_chosen, "kl_response": kl_response}
    return loss, {name: value.detach() for name, value in found.items()}


def adpa_loss(
    chosen_logits: Tensor,
    response_logits: Tensor,
    chosen_labels: Tensor,
    response_labels: Tensor,
    *,
    advantage: Tensor,
    settings: PairLoss,
) -> Result:
    """ADPA from the student's logits (B, T, V) and advantages (B, T, V).

    Gradient to the logits of the answer: -(gamma / N) p_a (A_a - E_p[A]).

    Returns:
        loss; detached {nll, advantage}, means per token or row.
    """
    nll = mean_of(
        token_nll(log_probs(chosen_logits), chosen_labels), chosen_labels, settings.reduction
    )
    expected = mean_of(
        expected_advantage(log_probs(response_logits), advantage),
        response_labels,
        settings.reduction,
    )
    loss = settings.sft * nll - settings.gamma * expected
    return loss, {"nll": nll.detach(), "advantage": expected.detach()}


def implicit_reward(
    teacher: Tensor, reference: Tensor, labels: Tensor, *, beta: float = 1.0
) -> Tensor:
    """beta log(pi_dpo(y|x) / pi_ref(y|x)) per row (B,): the sum of the advantages of its tokens.

    Args:
        teacher, reference: log-probabilities (B, T, V).
    """
    return beta * (token_nll(reference, labels) - token_nll(teacher, labels)).sum(-1)


def list_error_bound(logps: Tensor, ids: Tensor, advantage: Tensor, tail: Tensor) -> Tensor:
    """Bound of |E_p[A] - E_list[A]| per position: p_tail max_tail |A - A_tail|.

    Args:
        advantage: (..., V) of the full distributions.
        tail: (...,) advantage of the bucket.
    """
    apart = (advantage - tail[..., None]).abs().scatter(-1, ids, 0.0).amax(-1)
    return tail_logp(logps, ids).exp() * apart
