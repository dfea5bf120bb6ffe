"""Losses of MK-TOD as pure functions (arXiv 2310.08877, sections 3.3 to 3.5 and appendix D).

With scores s of the K retrieved records and l_i = log p(reply | context, record i):

    q       = softmax(s / tau)                    retrieval distribution over the K records
    L_MML   = -logsumexp_i(log q_i + l_i)         marginal likelihood (eq. 6)
    pi      = softmax(log q + l)                  posterior of "record i explains the reply"
    L_CTR   = sum_i max(0, d0 - d_i + margin)     d = l / |reply|, d0 without any record (eq. 9)
    L       = alpha L_NLL + beta L_MML + gamma L_CTR

Gradients: dL_MML / ds_i = (q_i - pi_i) / tau and dL_MML / dl_i = -pi_i, so that the retriever is
pulled to the posterior. Everything stays in log space: l of -1,500 is usual. `mask` (b, K) is true
for records that exist; the others have exactly zero gradient. A row without any record has loss 0.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from methods.mktod.settings import MktodWeights

LOWEST = float("-inf")


def total_loss(nll: Tensor, mml: Tensor, contrastive: Tensor, weights: MktodWeights) -> Tensor:
    """alpha L_NLL + beta L_MML + gamma L_CTR, of any equal shapes."""
    return weights.alpha * nll + weights.beta * mml + weights.gamma * contrastive


def retrieval_log_probs(
    scores: Tensor, temperature: float | Tensor = 1.0, mask: Tensor | None = None
) -> Tensor:
    """log q (b, K) of scores (b, K); -inf where the mask is false."""
    scaled = scores / temperature
    if mask is not None:
        scaled = scaled.masked_fill(~mask, LOWEST)
        # A row without records has no distribution; zeros keep its gradient a number.
        scaled = torch.where(mask.any(dim=-1, keepdim=True), scaled, 0.0)
    found = functional.log_softmax(scaled, dim=-1)
    return found if mask is None else found.masked_fill(~mask, LOWEST)


def marginal_loss(
    scores: Tensor,
    log_likelihoods: Tensor,
    temperature: float | Tensor = 1.0,
    mask: Tensor | None = None,
) -> Tensor:
    """L_MML per row, (b,), of scores and log-likelihoods (b, K).

    >>> marginal_loss(torch.zeros(1, 2), torch.tensor([[-1.0, -1.0]]))
    tensor([1.])
    """
    joint = _joint(scores, log_likelihoods, temperature, mask)
    if mask is None:
        return -torch.logsumexp(joint, dim=-1)
    some = mask.any(dim=-1)
    return -torch.where(some, torch.logsumexp(_filled(joint, some), dim=-1), 0.0)


def posterior(
    scores: Tensor,
    log_likelihoods: Tensor,
    temperature: float | Tensor = 1.0,
    mask: Tensor | None = None,
) -> Tensor:
    """pi (b, K), which the retriever learns; 0 where the mask is false."""
    joint = _joint(scores, log_likelihoods, temperature, mask)
    if mask is None:
        return torch.softmax(joint, dim=-1)
    found = torch.softmax(_filled(joint, mask.any(dim=-1)), dim=-1)
    return found.masked_fill(~mask, 0.0)


def _joint(
    scores: Tensor, log_likelihoods: Tensor, temperature: float | Tensor, mask: Tensor | None
) -> Tensor:
    if mask is not None:
        log_likelihoods = log_likelihoods.masked_fill(~mask, 0.0)
    return retrieval_log_probs(scores, temperature, mask) + log_likelihoods


def _filled(joint: Tensor, some: Tensor) -> Tensor:
    """The table with numbers in rows that have no record."""
    return torch.where(some[..., None], joint, 0.0)


def sequence_log_likelihood(token_log_probs: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """l and d = l / |reply| of token log-probabilities (..., n); a mask of 1 marks the reply."""
    weight = mask.to(token_log_probs.dtype)
    total = torch.where(weight > 0, token_log_probs, 0.0).sum(dim=-1)
    return total, total / weight.sum(dim=-1).clamp(min=1)


def contrastive_loss(positive: Tensor, baseline: Tensor, margin: float = 0.01) -> Tensor:
    """L_CTR per row, (b,).

    Args:
        positive: d_i of the first retrieved records (b, P).
        baseline: d0 (b,) of the reply without any record.
    """
    # relu, whose gradient at 0 is 0; that of clamp is 1.
    return functional.relu(baseline[..., None] - positive + margin).sum(dim=-1)


def in_batch_contrastive(
    queries: Tensor, entities: Tensor, ids: Tensor | None = None, temperature: float = 0.05
) -> Tensor:
    """Loss of pre-training by distant supervision: softmax over the batch, mean over its rows.

    Args:
        queries, entities: vectors (b, d) of contexts and of their labels, of any length.
        ids: (b,) numbers of the labels; other rows with the same record leave the denominator,
            because they are no negatives. None takes all rows as negatives, as the paper does.
    """
    cosine = functional.normalize(queries, dim=-1) @ functional.normalize(entities, dim=-1).T
    scaled = cosine / temperature
    if ids is not None:
        same = ids[:, None] == ids[None, :]
        own = torch.eye(len(ids), dtype=torch.bool, device=ids.device)
        scaled = scaled.masked_fill(same & ~own, LOWEST)
    return functional.cross_entropy(scaled, torch.arange(len(scaled), device=scaled.device))


def distillation_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """KL(softmax(teacher) || softmax(student)) of scores (b, K), mean over the batch.

    MAKER's objective for its retriever, with the teacher's scores held fixed.
    """
    target = functional.log_softmax(teacher.detach(), dim=-1)
    found = functional.log_softmax(student, dim=-1)
    return functional.kl_div(found, target, reduction="batchmean", log_target=True)
