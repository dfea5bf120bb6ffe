"""SCE merging: select, calculate, erase (FuseChat v2, arXiv 2408.07990), one tensor at a time.

With base phi, Delta_j = theta_j - phi for K targets, and M the mask of the
k = int(tau * number of entries with non-zero variance) entries of largest variance over targets:

    eta_j = sum((M Delta_j)^2) / sum_i sum((M Delta_i)^2)
    s     = + where sum_j Delta'_j >= 0, else -              (the vote; `SceSettings.vote`)
    theta = phi + sum_j eta_j kept_j Delta'_j / sum_j eta_j kept_j,  kept_j: sign(Delta'_j) = s

Delta' is M Delta in mergekit and Delta in the authors' code (`SceSettings.select_applies_to`).
An entry without any kept change keeps the base's value. An empty mask gives equal eta. (mergekit
up to 0.1.4 returned K stacked copies of such a tensor; this code returns its normal shape.) Of
equal variances at the threshold, those with the lowest index are selected.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from harness.merging.pieces import Stack
from harness.merging.settings import SceSettings

_RESOLUTION = 2.0**-48  # square of half the distance between float32 numbers near 1


@dataclass(frozen=True)
class Selection:
    """The k entries above a variance, and the first `ties` entries exactly at it."""

    k: int
    threshold: float
    ties: int


def variance(deltas: Tensor) -> Tensor:
    """Population variance (n,) over targets of changes (K, n); exactly 0 where all are equal."""
    shifted = deltas[1:] - deltas[0]
    mean = shifted.sum(0).div_(len(deltas))
    squares = mean.square()
    for row in shifted.sub_(mean):
        squares.addcmul_(row, row)
    return squares.div_(len(deltas))


def select(tensor: Stack, share: float) -> Selection:
    """The share of entries with the largest variance, exactly, in two passes and constant memory.

    Non-negative float32 numbers sort like the integers with the same bits. The first pass counts
    the upper 16 bits; the second counts the lower 16 bits within the bin of the k-th largest.
    """
    upper, nonzero = torch.zeros(1 << 15, dtype=torch.int64), 0
    for rows in tensor.pieces():
        bits = variance(rows[1:] - rows[0]).view(torch.int32)
        nonzero += int(bits.count_nonzero())
        upper += torch.bincount(bits >> 16, minlength=1 << 15)
    k = int(share * nonzero)
    if k == 0:
        return Selection(0, torch.inf, 0)
    high, left = _bin_of(upper, k)
    lower = torch.zeros(1 << 16, dtype=torch.int64)
    for rows in tensor.pieces():
        bits = variance(rows[1:] - rows[0]).view(torch.int32)
        lower += torch.bincount(bits[bits >> 16 == high] & 0xFFFF, minlength=1 << 16)
    low, ties = _bin_of(lower, left)
    threshold = torch.tensor([high << 16 | low], dtype=torch.int32).view(torch.float32)
    return Selection(k, float(threshold), ties)


def _bin_of(counts: Tensor, k: int) -> tuple[int, int]:
    """Bin of the k-th largest value, and its rank from the top within that bin."""
    reached = counts.flip(0).cumsum(0)
    place = int(torch.searchsorted(reached, k))
    number = len(counts) - 1 - place
    return number, k - int(reached[place] - counts[number])


def _changes(tensor: Stack, selection: Selection | None) -> Iterator[tuple[Tensor, Tensor]]:
    """Pieces of the base (n,) and of the changes (K, n), the latter 0 where not selected."""
    left = selection.ties if selection else 0
    for rows in tensor.pieces():
        deltas = rows[1:] - rows[0]
        if selection:
            spread = variance(deltas)
            mask = (spread > selection.threshold).float()
            if left:
                tied = (spread == selection.threshold).nonzero()[:left, 0]
                mask[tied] = 1.0
                left -= len(tied)
            deltas *= mask
        yield rows[0], deltas


def coefficients(tensor: Stack, selection: Selection | None, settings: SceSettings) -> Tensor:
    """eta (K,) float64, with sum 1."""
    squares, base = torch.zeros(tensor.targets, dtype=torch.float64), 0.0
    for row, deltas in _changes(tensor, selection):
        squares += torch.linalg.vecdot(deltas, deltas)
        base += float(torch.dot(row, row))
    limits = {"relative": _RESOLUTION * base, "exact": 0.0, "mergekit": 1e-6 * prod(tensor.shape)}
    if (total := float(squares.sum())) <= limits[settings.zero_threshold]:
        return torch.full_like(squares, 1 / len(squares))
    return squares / total


def kept(deltas: Tensor, vote: str = "value") -> Tensor:
    """Mask (K, n) of the entries with the majority's sign; an entry of 0 is not kept."""
    return deltas * _majority(deltas, vote) > 0


def _majority(deltas: Tensor, vote: str) -> Tensor:
    """Sign of the majority (n,), 1 or -1.

    Zero is never -0 here if any entry differs from 0, so a tie counts as 1.
    """
    ballot = deltas.sign().sum(0) if vote == "count" else deltas.sum(0)
    return torch.ones_like(ballot).copysign_(ballot)


def merged(
    tensor: Stack, selection: Selection | None, eta: Tensor, settings: SceSettings
) -> Iterator[Tensor]:
    """Merged float32 pieces (n,)."""
    eta = eta.float()
    least = 1e-6 if settings.zero_threshold == "mergekit" else torch.finfo(torch.float32).tiny
    resets = settings.select_applies_to == "coefficients_and_deltas"
    for base, deltas in _changes(tensor, selection if resets else None):
        if not settings.erase:
            yield base + eta @ deltas
            continue
        sign = _majority(deltas, settings.vote)
        aligned = deltas.mul_(sign).clamp_(min=0)  # kept changes are positive
        update = (eta @ aligned).mul_(sign)
        divisor = (eta @ aligned.sign_()).clamp_(min=least)
        yield update.div_(divisor).add_(base)


def sce(
    tensors: Mapping[str, Stack], settings: SceSettings
) -> Iterator[tuple[str, list[float], Iterator[Tensor]]]:
    """Merge tensors independently of each other.

    Yields: name, coefficients of the targets, and merged float32 pieces, to be consumed in order.
    """
    for name, tensor in tensors.items():
        share = settings.select_topk
        selection = select(tensor, share) if share < 1 else None
        eta = coefficients(tensor, selection, settings)
        yield name, eta.tolist(), merged(tensor, selection, eta, settings)
