"""The loss of explicit fusion: a language model learns from text and from sparse teachers.

    L = lambda L_clm + (1 - lambda) L_fusion
    L_clm    = mean over labelled tokens of  -log Q_t(y_t+1)
    L_fusion = mean over positions of        -sum_v P_t(v) log Q_t(v)     (kl: + sum_v P log P)

Q is the student; P is fused from K teachers, each with k log-probabilities and ids per step
(FuseLLM, arXiv 2401.10491, section 3; FuseChat, arXiv 2408.07990). At a position, teacher u has the
reward r_u = exp(-CE_u) and P_u = softmax(log-probabilities / tau) over its entries:

    MinCE   P = P_u of the largest r_u       AvgCE   P = sum_u w_u P_u,  w = softmax(r)

Neither P nor Q is ever dense: the loss needs log Q at the label and at the entries of P, which
`logprobs.gathered_logprobs` reads from tiles of logits.

Shapes: teacher_logps and teacher_ids (B, L, K, k); teacher_ce (B, K), or (B, L, K) where teachers
are chosen by document or by token; step t predicts token t + 1. Teacher 0 is the base.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from harness.distillation.settings import FusionSettings
from harness.models.heads import hidden_states, output_head
from harness.models.logprobs import gathered_logprobs
from harness.models.tokenize import IGNORE


@dataclass(frozen=True)
class Targets:
    """Fused distributions: ids and probs (B, L, m), ids unique where probs are positive; rewards
    (B, L, K) of the teachers that took part. A step without entries of any teacher has no mass."""

    ids: Tensor
    probs: Tensor
    rewards: Tensor


@dataclass(frozen=True)
class FusionSums:
    """Sums over positions, to be divided by the counts of a whole update.

    Attributes:
        clm: sum of lambda times the language-model loss over `clm_count` labelled tokens.
        fusion: sum of (1 - lambda) times the divergence over `fusion_count` positions.
        plain: both sums without lambda, detached, for the log.
    """

    clm: Tensor
    fusion: Tensor
    clm_count: Tensor
    fusion_count: Tensor
    plain: tuple[Tensor, Tensor]

    @property
    def loss(self) -> Tensor:
        """The loss of this batch alone."""
        clm = self.clm / self.clm_count.clamp(min=1)
        return clm + self.fusion / self.fusion_count.clamp(min=1)


def teacher_probs(logps: Tensor, temperature: float = 1.0) -> Tensor:
    """softmax(logps / temperature) over the entries above -inf; zeros for an empty step.

    >>> teacher_probs(torch.tensor([[0.0, -torch.inf], [-torch.inf, -torch.inf]])).tolist()
    [[1.0, 0.0], [0.0, 0.0]]
    """
    scaled = (logps if logps.dtype == torch.float64 else logps.float()) / temperature
    present = logps > -torch.inf
    top = scaled.masked_fill(~present, -torch.inf).amax(-1, keepdim=True).clamp(min=-1e30)
    weights = (scaled - top).exp().masked_fill(~present, 0.0)
    return weights / weights.sum(-1, keepdim=True).clamp(min=1e-30)


def rewards(ce: Tensor, *, released: bool = False) -> Tensor:
    """r = exp(-CE), 0 for NaN; with `released` in bfloat16 steps, as in the released code."""
    ce = ce.nan_to_num(nan=torch.inf)
    return (1 / ce.bfloat16().exp()).float() if released else (-ce.float()).exp()


def fuse(logps: Tensor, ids: Tensor, ce: Tensor, settings: FusionSettings) -> Targets:
    """One target distribution per step from those of K teachers; see the module docstring.

    An empty step of a teacher takes the entries of the base.

    Args:
        logps, ids: (B, L, K, k); an entry of -inf is absent.
        ce: (B, K) or (B, L, K).
    """
    probs = teacher_probs(logps, settings.temperature)
    empty = probs.sum(-1, keepdim=True) == 0
    probs = torch.where(empty, probs[..., :1, :], probs)
    ids = torch.where(empty, ids[..., :1, :], ids)
    ce = ce[:, None].expand(probs.shape[:-1]) if ce.dim() == 2 else ce
    first = 0 if settings.with_base or probs.shape[-2] == 1 else 1
    probs, ids, ce = probs[..., first:, :], ids[..., first:, :], ce[..., first:]
    reward = rewards(ce, released=settings.released)  # (B, L, K)
    if settings.fusion == "avg_ce":
        shares = (reward.bfloat16() if settings.released else reward).softmax(-1).to(probs.dtype)
        weighed = probs * shares[..., None]
        return Targets(*merge_entries(ids.flatten(-2), weighed.flatten(-2)), reward)
    best = reward.argmax(-1)
    if first and settings.released:
        best = reward.shape[-1] - 1 - reward.flip(-1).argmax(-1)
    at = best[..., None, None].expand(*best.shape, 1, probs.shape[-1])
    return Targets(ids.gather(-2, at)[..., 0, :], probs.gather(-2, at)[..., 0, :], reward)


def merge_entries(ids: Tensor, probs: Tensor) -> tuple[Tensor, Tensor]:
    """Add the probabilities of equal ids; the shape stays, freed entries have id and mass 0.

    >>> merge_entries(torch.tensor([[5, 3, 5]]), torch.tensor([[0.5, 0.25, 0.25]]))
    (tensor([[3, 5, 0]]), tensor([[0.2500, 0.7500, 0.0000]]))
    """
    ids, order = ids.sort(dim=-1)
    new = torch.ones_like(ids)
    new[..., 1:] = ids[..., 1:] != ids[..., :-1]
    place = new.cumsum(-1) - 1
    merged = torch.zeros_like(probs).scatter_add(-1, place, probs.gather(-1, order))
    return torch.zeros_like(ids).scatter(-1, place, ids), merged


def fusion_sums(
    model: nn.Module,
    batch: Mapping[str, Tensor],
    settings: FusionSettings,
    lm_weight: float | None = None,
    *,
    tile_bytes: int | None = None,
) -> FusionSums:
    """Both losses of a batch, summed, without logits or dense targets.

    Args:
        batch: input_ids, attention_mask, labels (B, L); with teachers also teacher_logps,
            teacher_ids (B, L, K, k) and teacher_ce; position_ids for packed documents.
        lm_weight: lambda; None takes that of the settings, see `FusionSettings.weight`.
    """
    head = output_head(model)
    hidden = hidden_states(model, batch)

    def read(rows: Tensor, tokens: Tensor) -> Tensor:
        return gathered_logprobs(hidden[rows], head, tokens, tile_bytes=tile_bytes)

    return _sums(read, batch, settings, lm_weight)


def dense_fusion_sums(
    logits: Tensor,
    batch: Mapping[str, Tensor],
    settings: FusionSettings,
    lm_weight: float | None = None,
) -> FusionSums:
    """`fusion_sums` from given logits (B, L, V)."""
    logps = (logits if logits.dtype == torch.float64 else logits.float()).log_softmax(-1)
    return _sums(lambda rows, tokens: logps[rows].gather(1, tokens), batch, settings, lm_weight)


def _sums(
    read: Callable[[Tensor, Tensor], Tensor],
    batch: Mapping[str, Tensor],
    settings: FusionSettings,
    lm_weight: float | None,
) -> FusionSums:
    """`read` returns log Q of tokens (M, m) at the M positions where a mask (B, L) is true."""
    scored, fused, targets = counted(batch, settings)
    rows = scored | fused
    labels = next_labels(batch["labels"]).clamp(min=0)
    if targets is None:
        nll = -read(rows, labels[rows][:, None])[:, 0]
        none = nll.new_zeros(())
        return FusionSums(nll.sum(), none, scored.sum(), fused.sum(), (nll.detach().sum(), none))
    tokens = torch.cat([labels[..., None], targets.ids], dim=-1)[rows]
    logps = read(rows, tokens)  # (M, 1 + m)
    nll = -logps[:, 0] * scored[rows]
    apart = divergence(logps[:, 1:], targets.probs[rows], settings.divergence) * fused[rows]
    share: Tensor | float = settings.lm_weight if lm_weight is None else lm_weight
    if settings.weighting == "soft":
        best = targets.rewards.mean(-1) if settings.fusion == "avg_ce" else targets.rewards.amax(-1)
        share = 1 - best[rows]
    return FusionSums(
        (share * nll).sum(),
        ((1 - share) * apart).sum(),
        scored.sum(),
        fused.sum(),
        (nll.detach().sum(), apart.detach().sum()),
    )


def counted(
    batch: Mapping[str, Tensor], settings: FusionSettings
) -> tuple[Tensor, Tensor, Targets | None]:
    """Positions (B, L) of the language-model loss and of the fusion loss, and the targets."""
    scored = next_labels(batch["labels"]) != IGNORE
    if "teacher_ids" not in batch:
        return scored, torch.zeros_like(scored), None
    targets = fuse(batch["teacher_logps"], batch["teacher_ids"], batch["teacher_ce"], settings)
    wanted = scored if settings.positions == "scored" else batch["attention_mask"].bool()
    return scored, wanted & (targets.probs.sum(-1) > 0), targets


def next_labels(labels: Tensor) -> Tensor:
    """labels (B, L) shifted left by one: at t the label of token t + 1."""
    return torch.cat([labels[:, 1:], torch.full_like(labels[:, :1], IGNORE)], dim=1)


def divergence(logps: Tensor, probs: Tensor, kind: str = "ce") -> Tensor:
    """-sum P log Q over the last dimension; "kl" adds the negative entropy of the target."""
    found = -(probs * logps).sum(-1)
    return found + torch.xlogy(probs, probs).sum(-1) if kind == "kl" else found
