"""Defects of MAKER's code, which MK-TOD builds on (18907305772/MAKER, train.py).

* The distillation loss averages over all elements of a batch, so that its weight is K times smaller
  than the formula's.
* A context longer than the limit loses its first tokens, [CLS] among them, while the vector is
  still read at position 0.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional


def distillation_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """KL(softmax(teacher) || softmax(student)) of scores (b, K), divided by b * K."""
    target = functional.softmax(teacher.detach(), dim=-1)
    found = functional.log_softmax(student, dim=-1)
    return functional.kl_div(found, target, reduction="sum") / student.numel()


def truncated(token_ids: Sequence[int], limit: int = 128) -> list[int]:
    """The last tokens of an encoded text, whatever the first one is.

    >>> truncated([101, 7, 8, 9, 102], 3)
    [8, 9, 102]
    """
    return list(token_ids[-limit:])
