"""The conformance test of losses: what a loss is called with, and what it must return."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from harness.training.conformance import check_loss
from harness.training.losses import preference_loss, with_metrics
from harness.training.pair_losses import PairSettings
from harness.training.preference_operations import TrainPreferenceParams

NAMES = ("first", "second", "third")


def check(
    function: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, *, reference: bool = True
) -> None:
    """Check a loss of three responses with a weight that changes during training."""
    declared = preference_loss(
        PairSettings, responses=NAMES,
        scheduled={"share": lambda settings, step, total: settings.beta * step / total},
    )(function)  # fmt: skip
    monkeypatch.setitem(sys.modules, "theirs", SimpleNamespace(tried=declared))
    params = TrainPreferenceParams(loss="theirs:tried", settings={"beta": 3.0}, learning_rate=1)
    check_loss(params, reference)


def good(logps: Any, *rest: Any, **named: Any) -> Any:
    return with_metrics(-logps[:, 0], logps)


@pytest.mark.parametrize("reference", [True, False])
def test_a_loss_is_called_with_the_same_tables_every_time(
    reference: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def watched(logps: Any, frozen: Any, lengths: Any, *, settings: Any, share: float) -> Any:
        calls.append((logps.detach().clone(), frozen, lengths, settings.beta, share))
        return good(logps)

    for _ in range(2):
        check(watched, monkeypatch, reference=reference)
    (logps, frozen, lengths, beta, share), again = calls
    assert (beta, share) == (3.0, 1.5)  # half of the updates are done
    assert logps.shape == lengths.shape == (4, 3)
    assert lengths.unique().tolist() == [5]
    assert torch.equal(logps, again[0])
    draws = torch.rand(8, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(logps, -10 * draws[:4])
    if reference:
        torch.testing.assert_close(frozen, -10 * draws[4:])
    else:
        assert frozen is None


def without(name: str) -> Callable[..., Any]:
    def loss(logps: Any, *rest: Any, **named: Any) -> Any:
        losses, metrics = good(logps)
        return losses, {key: value for key, value in metrics.items() if key != name}

    return loss


def wide_margins(logps: Any, *rest: Any, **named: Any) -> Any:
    losses, metrics = good(logps)
    return losses, {**metrics, "margins": metrics["rewards"]}


def one_row_without_a_limit(logps: Any, *rest: Any, **named: Any) -> Any:
    losses, metrics = good(logps)
    return losses + torch.tensor([0.0, 0.0, torch.inf, 0.0]), metrics


@pytest.mark.parametrize(
    ("function", "complaint"),
    [
        (without("rewards"), r'loss "theirs:tried": its metrics lack rewards of shape \(4, 3\)'),
        (without("margins"), r"metrics lack margins of shape \(4,\)"),
        (without("accuracy"), r"metrics lack accuracy of shape \(4,\)"),
        (wide_margins, r"metrics lack margins of shape \(4,\)"),
        (lambda logps, *_, **__: good(logps)[0], "expected a tuple"),
        (one_row_without_a_limit, "a loss or gradient that is not finite"),
    ],
)
def test_a_loss_that_returns_something_else_is_refused(
    function: Callable[..., Any], complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(good, monkeypatch)
    with pytest.raises(AssertionError, match=complaint):
        check(function, monkeypatch)


def test_a_gradient_that_is_not_finite_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def steep(logps: Any, *rest: Any, **named: Any) -> Any:
        root = (logps[:, 0] - logps[:, 0].detach()).sqrt()  # 0, with an infinite slope
        return root, good(logps)[1]

    with pytest.raises(AssertionError, match="a loss or gradient that is not finite"):
        check(steep, monkeypatch)


def test_the_gradient_is_that_of_the_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def watched(logps: Any, *rest: Any, **named: Any) -> Any:
        logps.register_hook(seen.append)
        return good(logps)

    check(watched, monkeypatch)
    assert seen[0][:, 0].tolist() == [-1.0] * 4
