"""What the trainer released with WRPO does differently, for comparison with it."""

from __future__ import annotations

import math

from harness.core.errors import unknown
from harness.training.losses import PreferenceLoss
from methods.wrpo.loss import wrpo, wrpo_two_pairs


def released_training_steps(batches: int, accumulation_steps: int, epochs: float) -> int:
    """Length of the released schedule: ceil(epochs * floor(batches / accumulation_steps)).

    Departure: our trainer uses its true number of updates, which counts a last partial window and
    respects `max_steps`; the released count is 0 when an epoch is shorter than one window.
    """
    return math.ceil(epochs * (batches // accumulation_steps))


def released_loss(loss_type: str) -> PreferenceLoss:
    """The loss that the released trainer calls `loss_type`; it knows only these two.

    Raises:
        UnknownName: for any other.
    """
    known = {"wrpo": wrpo, "sigmoid": wrpo_two_pairs}
    if loss_type not in known:
        raise unknown("loss type of the released WRPO trainer", loss_type, known)
    return known[loss_type]
