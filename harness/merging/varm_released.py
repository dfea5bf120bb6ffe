"""VaRM with defects of FuseChat's released merging scripts, for reproduction of their results.

`VarmSettings.released` names the defects and describes each one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from harness.merging.pieces import Stack
from harness.merging.settings import VarmSettings
from harness.merging.varm import (
    Change,
    combine,
    element_weights,
    group_scores,
    normalised,
    varm,
)


def varm_released(
    group: Mapping[str, Stack], settings: VarmSettings, name: str = "m"
) -> Iterator[tuple[str, list[float] | None, Iterator[Tensor]]]:
    """`varm` with the defects in `settings.released`."""
    if "first_model" in settings.released:  # their excluded_pattern "" matches every name
        settings = settings.model_copy(update={"exclude": ("",)})
    return varm(group, settings, name, _group_weights, _merge_piece)


def _group_weights(changes: Sequence[Change], settings: VarmSettings, group: str) -> Tensor:
    defects, scores = settings.released, group_scores(changes, settings)
    if settings.level != "model" or "signed_model" not in defects:
        scores = scores.abs()
    a_zero = settings.level in ("tensor", "module") and bool((scores == 0).any())
    if not group or "one_analysis" in defects or (a_zero and "equal_on_zero" in defects):
        return torch.full_like(scores, 1 / len(scores))
    return normalised(scores, settings)


def _element_weights(deltas: Tensor, settings: VarmSettings) -> Tensor:
    if "item_sums" not in settings.released:
        return element_weights(deltas, settings)
    scores = {"square": deltas.square, "abs": deltas.abs}.get(settings.statistic, deltas.clone)()
    return scores / scores.sum(0).clamp(min=1e-13)


def _merge_piece(rows: Tensor, weights: Tensor | None, settings: VarmSettings) -> Tensor:
    rounded = {"bfloat16_sums", "first_model"} & set(settings.released)
    targets = rows[1:].bfloat16() if rounded else rows[1:]
    if weights is None:
        weights = _element_weights(rows[1:] - rows[0], settings)
        if rounded or "item_sums" in settings.released:
            return (weights * targets).sum(0)
    elif rounded:
        products = [float(weight) * target for weight, target in zip(weights, targets)]
        return sum(products[1:], products[0]).float()
    return combine(targets, weights)
