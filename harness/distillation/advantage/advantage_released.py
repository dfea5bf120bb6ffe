"""What the code released with ADPA (gaoshiping/ADPA) does differently, each behind its own switch.

    clamped            log-ratios clamped to [1e-8, 1 - 1e-8]   loss.advantage_clip
    without_end        the end token is not distilled           loss.end_token
    half_log_probs     teachers' softmax in fp16                teachers.lists = "released"
    floored_reference  missing reference entries floored        teachers.lists = "released"
    compressed, released_margins, released_expectation          the released lists, for comparison
    floored_kl         student probabilities floored at 1e-7    for comparison
    micro_batch_mean   means of micro-batches averaged          for comparison

Another is a setting of the recipe: the README computes the reference's margins with the student
(`reference = "student_init"`). The importance weights and the KL penalty of that code, off by
default there, are not implemented.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from harness.models.tokenize import IGNORE

FLOOR = 1e-8
MISSING = 1e-7


def clamped(ratio: Tensor) -> Tensor:
    """Log-ratios in [1e-8, 1 - 1e-8]: negative ones vanish, and none exceeds 1."""
    return ratio.clamp(FLOOR, 1 - FLOOR)


def compressed(logits: Tensor, k: int, *, half: bool = True) -> list[dict[str, Any]]:
    """Top-k probabilities of each position of logits (T, V), and 1 minus their sum.

    Args:
        half: in fp16 as released, whose spacing makes the rest wrong by up to 4.9e-4.
    """
    probs = logits.half().softmax(-1) if half else logits.softmax(-1)
    values, ids = probs.topk(k, dim=-1)
    rest = (1 - values.sum(-1)).tolist()
    pairs = zip(ids.tolist(), values.tolist(), rest, strict=True)
    return [{"indices": i, "values": v, "remaining_probs_sum": r} for i, v, r in pairs]


def released_margins(
    teacher: Sequence[Mapping[str, Any]], reference: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """log q - log r at the ids of the teacher's list, sorted by margin.

    An id that the reference's list lacks gets max(smallest of the TEACHER's values, 1e-7) as its
    reference probability; ids of the reference's list alone, those that DPO demoted, are dropped.
    """
    found = []
    for mine, other in zip(teacher, reference, strict=True):
        known = dict(zip(other["indices"], other["values"], strict=True))
        floor = max(min(mine["values"]), MISSING)
        values = torch.tensor(mine["values"], dtype=torch.float64)
        base = torch.tensor([known.get(id, floor) for id in mine["indices"]], dtype=torch.float64)
        margins = (values.log() - base.log()).tolist()
        ranked = sorted(zip(margins, mine["indices"], strict=True), key=lambda pair: -pair[0])
        found.append({"indices": [i for _, i in ranked], "values": [m for m, _ in ranked]})
    return found


def released_expectation(
    logps: Tensor, ids: Tensor, margins: Tensor, *, clamp: bool = True, beta: float = 1.0
) -> Tensor:
    """sum_a p(a) A(a) per position (...,), everything outside the list being 1e-8 or 0.

    Args:
        logps: (..., V); ids, margins: (..., k).
        clamp: as released; without it the rest of the vocabulary has advantage 0.
    """
    dense = torch.zeros_like(logps).scatter(-1, ids, margins.to(logps.dtype))
    dense = clamped(dense) if clamp else dense
    return (logps.exp() * beta * dense).sum(-1)


def floored_kl(logps: Tensor, teacher: Tensor) -> Tensor:
    """KL(q || p) with student probabilities of at least 1e-7, without gradient below."""
    q = teacher.exp()
    return (q * (teacher.clamp(min=-1e30) - logps.exp().clamp(min=MISSING).log())).sum(-1)


def micro_batch_mean(sums: Sequence[Tensor], counts: Sequence[Tensor]) -> Tensor:
    """The mean of the means of micro-batches, whose tokens then count differently."""
    return torch.stack([s / c for s, c in zip(sums, counts, strict=True)]).mean()


def without_end(weights: Tensor, labels: Tensor) -> Tensor:
    """Weights (B, T) with 0 at the last counted position of each row."""
    counted = labels != IGNORE
    place = torch.arange(labels.shape[-1], device=labels.device)
    last = torch.where(counted, place, -1).amax(-1, keepdim=True)
    return weights.masked_fill(place == last, 0.0)


def half_log_probs(logits: Tensor) -> Tensor:
    """Logarithms of an fp16 softmax: entries below 6e-8 are -inf, the sum is off by up to 5e-4."""
    return logits.half().softmax(-1).to(logits.dtype).log()


def floored_reference(teacher: Tensor, reference: Tensor, smallest: Tensor) -> Tensor:
    """Reference log-probabilities (M, k) at the teacher's ids, as the released lists have them.

    Args:
        teacher: (M, k) of the teacher at its ids.
        smallest: (M,) smallest log-probability in the reference's own list; entries below it are
            missing and get the smallest of the teacher's.
    """
    floor = teacher.amin(-1, keepdim=True).clamp(min=math.log(MISSING))
    return torch.where(reference >= smallest[:, None], reference, floor.expand_as(reference))
