"""How far checkpoints moved from their base, tensor by tensor, in constant memory."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch

from harness.core.errors import BadData
from harness.merging.buffers import is_buffer
from harness.merging.checkpoint import DTYPES, Checkpoint, open_checkpoint


@dataclass(frozen=True)
class TensorChange:
    """Change of one tensor.

    Attributes:
        square: sum of the squares of the base's entries.
        moved: of each model, sum of the squares of its differences from the base.
        changed: number of entries that at least two models changed.
        conflicts: number of these whose changes do not all have one sign.
    """

    name: str
    square: float
    moved: tuple[float, ...]
    changed: int
    conflicts: int


def tensor_changes(base: Path, models: Sequence[Path]) -> tuple[list[TensorChange], list[str]]:
    """Changes of the tensors that the base and all models have, and the names of all others.

    Computed in float64 from the stored values. Known buffers and tensors that are not floats are
    left out of both.

    Raises:
        BadData: no tensor is common to all, or a file is damaged.
    """
    with ExitStack() as stack:
        start, *others = [
            stack.enter_context(open_checkpoint(folder)) for folder in (base, *models)
        ]
        found, left = [], []
        for name in sorted({name for each in (start, *others) for name in each.tensors}):
            if any(_is_no_weight(each, name) for each in (start, *others)):
                continue
            shapes = [each.tensors[name].shape for each in (start, *others) if name in each.tensors]
            if len(shapes) == len(models) + 1 and len(set(shapes)) == 1:
                found.append(_change(name, start, others))
            else:
                left.append(name)
    if not found:
        raise BadData(f"{base} has no tensor in common with the models that were made from it")
    return found, left


def _is_no_weight(checkpoint: Checkpoint, name: str) -> bool:
    stored = checkpoint.tensors.get(name)
    return stored is not None and (is_buffer(name, stored.shape) or stored.dtype not in DTYPES)


def _change(name: str, base: Checkpoint, models: Sequence[Checkpoint]) -> TensorChange:
    square, moved = 0.0, [0.0] * len(models)
    changed = conflicts = 0
    if not prod(base.tensors[name].shape):
        return TensorChange(name, square, tuple(moved), changed, conflicts)
    for own, *others in zip(base.pieces(name), *(model.pieces(name) for model in models)):
        start = own.double()
        square += float(start.square().sum())
        deltas = torch.stack([other.double() - start for other in others])
        moved = [total + float(part) for total, part in zip(moved, deltas.square().sum(1))]
        up, down = (deltas > 0).sum(0), (deltas < 0).sum(0)
        changed += int((up + down >= 2).sum())
        conflicts += int(((up > 0) & (down > 0)).sum())
    return TensorChange(name, square, tuple(moved), changed, conflicts)
