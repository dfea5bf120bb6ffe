"""Conformance test of preference losses, run by `harness.testing.check_method`."""

from __future__ import annotations

from harness.core.errors import BadData
from harness.training.losses import get_loss
from harness.training.preference_operations import TrainPreferenceParams

ROWS = 4


def check_loss(params: TrainPreferenceParams, with_reference: bool) -> None:
    """Assert that a loss returns what the trainer reads, finite and with a gradient.

    Raises:
        AssertionError: naming what is missing or wrong.
    """
    import torch

    where, columns = f'loss "{params.loss}"', len(params.columns)
    draws = torch.Generator().manual_seed(0)
    logps = (-10 * torch.rand(ROWS, columns, generator=draws)).requires_grad_()
    reference = -10 * torch.rand(ROWS, columns, generator=draws) if with_reference else None
    lengths = torch.full((ROWS, columns), 5)
    loss = get_loss(params.loss)
    scheduled = loss.scheduled_at(params.settings, 1, 2)
    try:
        losses, metrics = loss(logps, reference, lengths, settings=params.settings, **scheduled)
    except BadData as problem:
        raise AssertionError(str(problem)) from None
    for name, shape in (("rewards", (ROWS, columns)), ("margins", (ROWS,)), ("accuracy", (ROWS,))):
        found = tuple(metrics[name].shape) if name in metrics else None
        assert found == shape, (
            f"{where}: its metrics lack {name} of shape {shape} "
            "(harness.training.losses.with_metrics gives them)"
        )
    losses.sum().backward()
    assert logps.grad is not None, f"{where}: no gradient"
    for values in (losses, logps.grad):
        assert torch.isfinite(values).all(), f"{where}: a loss or gradient that is not finite"
