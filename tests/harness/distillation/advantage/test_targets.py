"""Losses of a few positions and what they log, from probabilities made by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from harness.core.errors import BadData
from harness.distillation.advantage.settings import PairLoss
from harness.distillation.advantage.targets import (
    Distribution,
    Lists,
    Part,
    Ratio,
    advantage,
    common,
    imitation,
    weighted_tokens,
)
from harness.models.heads import Head
from harness.models.tokenize import IGNORE

P = torch.tensor([[0.5, 0.25, 0.25], [0.2, 0.3, 0.5], [0.1, 0.1, 0.8]], dtype=torch.float64)
Q = torch.tensor([[0.25, 0.5, 0.25], [0.6, 0.2, 0.2], [0.4, 0.4, 0.2]], dtype=torch.float64)
R = torch.tensor([[0.5, 0.25, 0.25], [0.3, 0.5, 0.2], [0.1, 0.1, 0.8]], dtype=torch.float64)
WEIGHTS, TAUGHT = [1.0, 0.5, 2.0], [1.0, 0.25, 0.0]
PART = Part(torch.tensor([0, 2, IGNORE]), torch.tensor(WEIGHTS), torch.tensor(TAUGHT))


def of(probs: Tensor, vocabulary: int = 3) -> Distribution:
    head = Head(torch.eye(probs.shape[-1], dtype=torch.float64), None)
    return Distribution(probs.log(), head, vocabulary)


def run(measure: Any, part: slice = slice(0, 3)) -> tuple[float, dict[str, float]]:
    total, logged = measure(part, P.log()[part].requires_grad_())
    assert not any(value.requires_grad for value in logged.values())
    return float(total.detach()), {name: float(value) for name, value in logged.items()}


def close(found: dict[str, float], expected: dict[str, float]) -> None:
    assert found == pytest.approx(expected, rel=1e-6)


KL = [float((q * (q / p).log()).sum()) for q, p in zip(Q, P, strict=True)]
NLL = [-math.log(0.5), -math.log(0.5), 0.0]


def test_imitation_is_likelihood_and_divergence_with_their_weights() -> None:
    settings = PairLoss()
    nll = sum(w * n for w, n in zip(WEIGHTS, NLL, strict=True))
    kl = sum(w * k for w, k in zip(TAUGHT, KL, strict=True))
    total, logged = run(imitation(PART, settings, of(Q), 3, nll=2.0, kl=3.0))
    assert total == pytest.approx(2 * nll + 3 * kl)
    close(logged, {"nll": nll, "kl": kl})
    total, logged = run(imitation(PART, settings, None, 3, nll=2.0, kl=3.0))
    assert total == pytest.approx(2 * nll)
    close(logged, {"nll": nll})
    total, logged = run(imitation(PART, settings, of(Q), 3, nll=0.0, kl=1.0), slice(1, 2))
    assert total == pytest.approx(0.25 * KL[1])


def test_a_list_is_imitated_with_its_rest() -> None:
    ids = torch.tensor([[1], [0], [0]])
    lists = Lists(ids, Q.gather(1, ids).log(), (1 - Q.gather(1, ids))[:, 0].log())
    total, _ = run(imitation(PART, PairLoss(), lists, 3, nll=0.0, kl=1.0))
    expected = 0.0
    for place, (kept, weight) in enumerate(zip(ids[:, 0].tolist(), TAUGHT, strict=True)):
        q, p = float(Q[place, kept]), float(P[place, kept])
        expected += weight * (q * math.log(q / p) + (1 - q) * math.log((1 - q) / (1 - p)))
    assert total == pytest.approx(expected)


A = (Q / R).log()


def test_an_advantage_is_expected_under_the_student() -> None:
    expected = [float((p * a).sum()) for p, a in zip(P, A, strict=True)]
    mean = sum(w * e for w, e in zip(TAUGHT, expected, strict=True))
    entropy = sum(w * -float((p * p.log()).sum()) for w, p in zip(TAUGHT, P, strict=True))
    how = PairLoss(gamma=3.0, beta=0.5)
    total, logged = run(advantage(PART, how, Ratio(of(Q), of(R)), 3))
    assert total == pytest.approx(-3 * 0.5 * mean)
    close(logged, {"advantage": 0.5 * mean, "entropy": entropy})
    uniform = [float((p * (q * 3).log()).sum()) for p, q in zip(P, Q, strict=True)]
    total, _ = run(advantage(PART, how, Ratio(of(Q), None), 3))
    assert total == pytest.approx(-1.5 * sum(w * u for w, u in zip(TAUGHT, uniform, strict=True)))


def test_the_mass_of_clipped_tokens_is_logged() -> None:
    """Log-ratios -0.69, 0.69, 0 and 0.69, -0.92, 0: all but the last of each exceed 0.5."""
    how = PairLoss(gamma=1.0, advantage_clip=0.5)
    total, logged = run(advantage(PART, how, Ratio(of(Q), of(R)), 3))
    values = [0.5 * (0.25 - 0.5), 0.5 * (0.2 - 0.3)]
    assert total == pytest.approx(-(values[0] + 0.25 * values[1]))
    assert logged["clipped"] == pytest.approx(0.75 + 0.25 * 0.5)


def test_a_list_of_advantages_covers_the_rest_with_one_value() -> None:
    lists = Lists(torch.tensor([[1], [0], [0]]), torch.tensor([[2.0], [1.0], [0.0]]).double(),
                  torch.tensor([-1.0, 0.5, 0.0]).double())  # fmt: skip
    total, logged = run(advantage(PART, PairLoss(gamma=2.0), lists, 3))
    first, second = 0.25 * 2 - 0.75, 0.2 + 0.8 * 0.5
    assert total == pytest.approx(-2 * (first + 0.25 * second))
    assert logged["p_tail"] == pytest.approx(0.75 + 0.25 * 0.8)


def test_weighted_tokens_are_a_policy_gradient_on_the_labels() -> None:
    given = torch.tensor([2.0, -4.0, 7.0])
    how = PairLoss(gamma=3.0, beta=0.5)
    total, logged = run(weighted_tokens(PART, how, given))
    nll = NLL[0] + 0.25 * NLL[1]
    assert total == pytest.approx(3 * (1.0 * NLL[0] + 0.25 * -2.0 * NLL[1]))
    close(logged, {"advantage": 1.0 - 0.25 * 2.0, "nll": nll})
    clip = how.model_copy(update={"advantage_clip": 1.0})
    _, logged = run(weighted_tokens(PART, clip, given))
    assert logged["advantage"] == pytest.approx(0.5 - 0.25 * 0.5)


def test_a_wider_head_is_cut_to_the_ids_in_common() -> None:
    logps = P.log()
    assert common(logps, 3) is logps
    torch.testing.assert_close(common(logps, 2).exp(), P[:, :2] / P[:, :2].sum(1, keepdim=True))
    torch.testing.assert_close(of(Q, 2).logps(slice(1, 2)).exp(), Q[1:2, :2] / 0.8)
    broken = Distribution(torch.tensor([[0.0, 1.0], [math.nan, 1.0]]), Head(torch.eye(2), None), 2)
    assert broken.logps(slice(0, 1)).shape == (1, 2)
    with pytest.raises(BadData, match="logits that are not finite"):
        broken.logps(slice(0, 2))
