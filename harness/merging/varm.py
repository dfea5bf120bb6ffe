"""VaRM: merge targets with weights that grow with their distance from the base (arXiv 2402.16107).

With base phi, targets theta_j (j = 1..K), Delta_j = theta_j - phi, and a group m of entries that
share a weight (by default one parameter matrix, as in the paper's recipe):

    W_jm = s(Delta_jm) / sum_i s(Delta_im),   theta_m = sum_j W_jm theta_jm

s is the mean of squares, or another `statistic`. The score of a module or layer is the sum of its
tensors' means, as in the released code. If no target differs from the base, the weights are equal.
`varm_released` reproduces the defects of the released scripts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from math import prod

import torch
from torch import Tensor

from harness.merging.pieces import Stack
from harness.merging.settings import LinearSettings, VarmSettings

_LAYER = re.compile(r"(?:.*?\.)?\d+(?=\.)")


@dataclass(frozen=True)
class Change:
    """Change of K targets in one tensor.

    Attributes:
        total: sum of the statistic over entries, (K,) float64.
        changed: number of entries that differ from the base, (K,) int64.
        numel: number of entries, at least 1.
    """

    total: Tensor
    changed: Tensor
    numel: int


def group_of(name: str, level: str) -> str:
    """Name of the group of tensors that share a weight; "" outside layers at layer level.

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
    """Statistic of one tensor (with its sign if "signed"), in one pass over its pieces."""
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


def group_scores(changes: Sequence[Change], settings: VarmSettings) -> Tensor:
    """Scores (K,) float64 of one group's tensors; negative values only if "signed"."""
    if settings.level not in ("model", "weight"):
        return sum((each.total / each.numel for each in changes), torch.zeros(()))
    numel = sum(each.numel for each in changes)
    scores = sum((each.total for each in changes), torch.zeros(())) / numel
    if settings.level == "weight":
        scores = scores.abs() * 100 * sum(each.changed for each in changes) / numel
    return scores


def group_weights(changes: Sequence[Change], settings: VarmSettings, group: str) -> Tensor:
    """Weights (K,) float64, with sum 1, of the tensors of one group; equal for group ""."""
    scores = group_scores(changes, settings).abs()
    return normalised(scores, settings) if group else torch.full_like(scores, 1 / len(scores))


def element_weights(deltas: Tensor, settings: VarmSettings) -> Tensor:
    """Weights (K, n) of single entries from their changes (K, n)."""
    square = settings.statistic == "square"
    return normalised(deltas.square() if square else deltas.abs(), settings)


def normalised(scores: Tensor, settings: VarmSettings) -> Tensor:
    """Weights from scores (K,) or (K, n), normalised over the targets (first dimension)."""
    if settings.normalisation == "softmax":
        return torch.softmax(scores / settings.temperature, 0)
    scores = scores / scores.abs().amax(0).clamp(min=torch.finfo(scores.dtype).tiny)
    total = scores.sum(0)
    return torch.where(total == 0, 1 / len(scores), scores / torch.where(total == 0, 1, total))


def linear(
    tensors: Mapping[str, Stack], settings: LinearSettings
) -> Iterator[tuple[str, list[float], Iterator[Tensor]]]:
    """Merge by the weighted mean of the targets; yields the same triples as `varm`."""
    for name, stack in tensors.items():
        weights = torch.tensor(settings.weights or [1.0] * stack.targets, dtype=torch.float64)
        pieces = (mean(rows[1:], weights) for rows in stack.pieces())
        yield name, (weights / weights.sum()).tolist(), pieces


def mean(targets: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean (n,) of targets (K, n) in float64, rounded to float32 once.

    Args:
        weights: (K,) float64, with any sum above 0: equal ones give the exact sum, divided by K.
    """
    total = (weights[:, None] * targets.double()).sum(0)
    return (total / weights.sum()).float()


def combine(targets: Tensor, weights: Tensor) -> Tensor:
    """sum_j W_j theta_j of targets (K, n) with weights (K,) or (K, n) that sum to 1.

    Computed as differences from the first target, so that one target, or equal targets, are
    returned unchanged.
    """
    merged = targets[0].clone()
    for weight, target in zip(weights[1:], targets[1:]):
        merged += weight.to(merged.dtype) * (target - targets[0])
    return merged


def merge_piece(rows: Tensor, weights: Tensor | None, settings: VarmSettings) -> Tensor:
    """Merged piece (n,) of rows (1 + K, n), base first; no weights: one weight per entry."""
    if weights is None:
        weights = element_weights(rows[1:] - rows[0], settings)
    return combine(rows[1:], weights)


def varm(
    group: Mapping[str, Stack],
    settings: VarmSettings,
    name: str = "m",
    weigh: Callable[[Sequence[Change], VarmSettings, str], Tensor] = group_weights,
    merge: Callable[[Tensor, Tensor | None, VarmSettings], Tensor] = merge_piece,
) -> Iterator[tuple[str, list[float] | None, Iterator[Tensor]]]:
    """Merge the tensors of the group called `name`.

    Yields: name, weights of the targets (None at element level), and the merged float32 pieces,
    to be consumed in order.
    """
    weights = None
    if settings.level != "element":
        weights = weigh([change(s, settings) for s in group.values()], settings, name)
    for tensor, stack in group.items():
        used = weights
        if any(part in tensor for part in settings.exclude):
            used = torch.eye(stack.targets)[0]
        pieces = map(merge, stack.pieces(), repeat(used), repeat(settings))
        yield tensor, None if used is None else used.tolist(), pieces
