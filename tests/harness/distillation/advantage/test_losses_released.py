"""The released sums of losses, where they differ from ours."""

from __future__ import annotations

import torch

from harness.distillation.advantage import advantage_released as released
from harness.distillation.advantage.losses import forward_kl, log_probs


def test_micro_batch_means_of_the_released_code_depend_on_the_split() -> None:
    sums, counts = torch.tensor([3.0, 1.0]), torch.tensor([3, 2])
    whole = sums.sum() / counts.sum()
    assert released.micro_batch_mean(list(sums), list(counts)) != whole


def test_floored_kl_of_the_released_code() -> None:
    p, q = log_probs(torch.tensor([[0.0, -40.0]])), log_probs(torch.tensor([[0.0, 0.0]]))
    assert float(released.floored_kl(p, q)) < float(forward_kl(p, q))
    q = log_probs(torch.tensor([[0.0, 1.0]]))
    p = log_probs(torch.tensor([[1.0, 0.0]]))
    torch.testing.assert_close(released.floored_kl(p, q), forward_kl(p, q))
