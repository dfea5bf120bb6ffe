"""One parameter of several models, read in pieces so that memory does not grow with its size."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

PIECE = 1 << 16  # entries: a piece of four models and its intermediates stay in a core's cache


@dataclass(frozen=True)
class Stack:
    """A parameter of the base and of K targets.

    Attributes:
        shape: shape of the parameter.
        targets: K.
        read: maps (start, stop) of the flattened parameter to float32 rows
            (1 + K, stop - start), the base in row 0.
    """

    shape: tuple[int, ...]
    targets: int
    read: Callable[[int, int], Tensor]

    def pieces(self) -> Iterator[Tensor]:
        """Rows (1 + K, n) of consecutive pieces, n <= `PIECE`."""
        numel = prod(self.shape)
        for start in range(0, numel, PIECE):
            yield self.read(start, min(start + PIECE, numel))


def stack(base: Tensor, targets: Sequence[Tensor]) -> Stack:
    """Stack of a parameter in memory; all tensors have the same shape."""
    rows = torch.stack([tensor.float().reshape(-1) for tensor in (base, *targets)])
    return Stack(tuple(base.shape), len(targets), lambda start, stop: rows[:, start:stop])


def joined(pieces: Iterator[Tensor], shape: Sequence[int]) -> Tensor:
    """Concatenate pieces (n,) into one float32 tensor of `shape`."""
    return torch.cat([torch.empty(0), *pieces]).reshape(tuple(shape))
