"""VaRM: a target weighs as much as it moved away from the base (arXiv 2402.16107).

With phi the base, theta_j the j-th of K targets, Delta_j = theta_j - phi, for every group m of
entries that share a weight (a parameter matrix in the recipe):

    W_jm = s(Delta_jm) / sum_i s(Delta_im),   theta_m = sum_j W_jm theta_jm

where s is the mean of squares (or another `statistic`). The score of a module or layer is the sum
of its tensors' means, as released. Where no target moved, weights are equal.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod

import torch
from torch import Tensor

from harness.merging.pieces import Stack
from harness.merging.settings import LinearSettings, VarmSettings

_LAYER = re.compile(r"(?:.*?\.)?\d+(?=\.)")


@dataclass(frozen=True)
class Change:
    """How far K targets moved in one tensor: the statistic's sum and the entries changed, (K,)."""

    total: Tensor
    changed: Tensor
    numel: int


def group_of(name: str, level: str) -> str:
    """The group whose members share a weight; "" outside layers at layer level.

    >>> [group_of("model.layers.0.mlp.up_proj.weight", level) for level in ("module", "layer")]
    ['model.layers.0.mlp', 'model.layers.0']
    """
    if level in ("model", "weight"):
        return "model"
    if level in ("element", "tensor"):
        return name
    found = _LAYER.match(name)
    if level == "layer":
        return found.group() if found else ""
    if found is None:
        return name.rpartition(".")[0] or name
    return f"{found.group()}.{name[found.end() + 1 :].partition('.')[0]}"


def change(stack: Stack, settings: VarmSettings) -> Change:
    """The statistic of one tensor (float64, with its sign if "signed"), in one reading."""
    total = torch.zeros(stack.targets, dtype=torch.float64)
    changed = torch.zeros(stack.targets, dtype=torch.int64)
    for rows in stack.pieces():
        deltas = rows[1:] - rows[0]
        if settings.level == "weight":
            changed += deltas.count_nonzero(1)
        if settings.statistic == "square":
            total += torch.linalg.vecdot(deltas, deltas)
        else:
            total += (deltas if settings.statistic == "signed" else deltas.abs_()).sum(1)
    return Change(total, changed, max(1, prod(stack.shape)))


def group_weights(changes: Sequence[Change], settings: VarmSettings, group: str) -> Tensor:
    """Weights (K,) float64 of the tensors of one group (`group_of`); they sum to 1."""
    if settings.level in ("model", "weight"):
        numel = sum(each.numel for each in changes)
        scores = sum(each.total for each in changes) / numel
        if settings.level == "weight":
            scores = scores.abs() * 100 * sum(each.changed for each in changes) / numel
        elif "signed_model" not in settings.released:
            scores = scores.abs()
    else:
        scores = sum(each.total / each.numel for each in changes).abs()
    a_zero = settings.level in ("tensor", "module") and bool((scores == 0).any())
    equal = "one_analysis" in settings.released or (a_zero and "equal_on_zero" in settings.released)
    if equal or not group:
        return torch.full_like(scores, 1 / len(scores))
    return _normalised(scores, settings)


def element_weights(deltas: Tensor, settings: VarmSettings) -> Tensor:
    """Weights (K, n) of single entries from their changes (K, n)."""
    if "item_sums" in settings.released and settings.statistic == "signed":
        scores = deltas
    else:
        scores = deltas.square() if settings.statistic == "square" else deltas.abs()
    if "item_sums" in settings.released:
        return scores / scores.sum(0).clamp(min=1e-13)
    return _normalised(scores, settings)


def _normalised(scores: Tensor, settings: VarmSettings) -> Tensor:
    """Scores of the targets, along the first dimension, as weights."""
    if settings.normalisation == "softmax":
        return torch.softmax(scores / settings.temperature, 0)
    scores = scores / scores.abs().amax(0).clamp(min=torch.finfo(scores.dtype).tiny)
    total = scores.sum(0)
    return torch.where(total == 0, 1 / len(scores), scores / torch.where(total == 0, 1, total))


def linear(
    tensors: Mapping[str, Stack], settings: LinearSettings
) -> Iterator[tuple[str, list[float], Iterator[Tensor]]]:
    """Weighted means of the targets, in the form of `varm`."""
    for name, stack in tensors.items():
        weights = torch.tensor(settings.weights or [1.0] * stack.targets, dtype=torch.float64)
        weights /= weights.sum()
        pieces = (combine(rows[1:], weights) for rows in stack.pieces())
        yield name, weights.tolist(), pieces


def combine(targets: Tensor, weights: Tensor) -> Tensor:
    """sum_j W_j theta_j of targets (K, n) with weights (K,) or (K, n) that sum to 1.

    Anchored at the first target, so that one target, or equal ones, come out unchanged.
    """
    merged = targets[0].clone()
    for weight, target in zip(weights[1:], targets[1:]):
        merged += weight.to(merged.dtype) * (target - targets[0])
    return merged


def varm(
    group: Mapping[str, Stack], settings: VarmSettings, name: str = "m"
) -> Iterator[tuple[str, list[float] | None, Iterator[Tensor]]]:
    """Merge the tensors of the group called `name`.

    Yields: name, weights of the targets (None for single entries), and the merged float32 pieces,
    to be taken in turn.
    """
    weights = None
    if settings.level != "element":
        weights = group_weights([change(s, settings) for s in group.values()], settings, name)
    for tensor, stack in group.items():
        used = weights
        if "first_model" in settings.released or any(part in tensor for part in settings.exclude):
            used = torch.eye(stack.targets)[0]
        pieces = map(partial(_merged, weights=used, settings=settings), stack.pieces())
        yield tensor, None if used is None else used.tolist(), pieces


def _merged(rows: Tensor, weights: Tensor | None, settings: VarmSettings) -> Tensor:
    rounded = {"bfloat16_sums", "first_model"} & set(settings.released)
    targets = rows[1:].bfloat16() if rounded else rows[1:]
    if weights is None:
        weights = element_weights(rows[1:] - rows[0], settings)
        if rounded or "item_sums" in settings.released:
            return (weights * targets).sum(0)
    elif rounded:
        products = [float(weight) * target for weight, target in zip(weights, targets)]
        return sum(products[1:], products[0]).float()
    return combine(targets, weights)
