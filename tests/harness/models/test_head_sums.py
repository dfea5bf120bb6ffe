"""Sums over positions of functions of logits: values, gradients, and what is kept."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from harness.models.head_sums import function_sum, head_logits
from harness.models.heads import Head, transform


def head(dtype: torch.dtype = torch.float64, *, bias: bool = True) -> Head:
    torch.manual_seed(0)
    weight = torch.randn(11, 5, dtype=dtype, requires_grad=True)
    shift = torch.randn(11, dtype=dtype, requires_grad=True) if bias else None
    return Head(weight, shift, scale=0.7, cap=4.0)


def entropy(span: slice, logits: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
    logps = logits.log_softmax(-1)
    each = -(logps.exp() * logps).sum(-1)
    return each.sum(), {"rows": torch.tensor(float(len(logits))), "sum": each.detach().sum()}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [1, 2, 7, 100])
def test_values_and_gradients_equal_the_plain_ones(bias: bool, rows: int) -> None:
    own = head(bias=bias)
    hidden = torch.randn(7, 5, dtype=torch.float64, requires_grad=True)
    found, logged = function_sum(hidden, own, entropy, chunk_bytes=rows * 11 * 8)
    (3 * found).backward()
    parts = [hidden, own.weight, *([own.bias] if own.bias is not None else [])]
    gradients = [part.grad.clone() for part in parts]
    for part in parts:
        part.grad = None
    logits = hidden @ own.weight.T + (0 if own.bias is None else own.bias)
    plain, _ = entropy(slice(None), 4.0 * torch.tanh(0.7 * logits / 4.0))
    (3 * plain).backward()
    torch.testing.assert_close(found, plain)
    for part, gradient in zip(parts, gradients, strict=True):
        torch.testing.assert_close(gradient, part.grad)
    assert logged["rows"] == 7
    torch.testing.assert_close(logged["sum"], plain.detach())


def test_a_head_or_body_that_is_not_trained_needs_no_gradient() -> None:
    own = head()
    frozen = Head(own.weight.detach(), None, 1.0, None)
    hidden = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    function_sum(hidden, frozen, entropy)[0].backward()
    assert hidden.grad is not None
    with torch.no_grad():
        value, _ = function_sum(hidden, own, entropy)
    assert not value.requires_grad


def test_no_positions_give_zero_and_no_gradient() -> None:
    own = head()
    hidden = torch.zeros(0, 5, dtype=torch.float64, requires_grad=True)
    value, logged = function_sum(hidden, own, entropy)
    value.backward()
    assert value.item() == 0
    assert logged["rows"] == 0
    assert (own.weight.grad == 0).all()


def test_half_precision_heads_are_computed_wide() -> None:
    own = head(torch.bfloat16, bias=False)
    hidden = torch.randn(4, 5, dtype=torch.bfloat16, requires_grad=True)
    value, _ = function_sum(hidden, own, entropy)
    value.backward()
    assert value.dtype == torch.float32
    assert own.weight.grad is not None
    assert own.weight.grad.dtype == torch.bfloat16


def test_logits_of_the_first_ids() -> None:
    own = head()
    hidden = torch.randn(4, 5, dtype=torch.float64)
    whole = transform(hidden @ own.weight.detach().T + own.bias.detach(), own.scale, own.cap)
    torch.testing.assert_close(head_logits(hidden, own), whole)
    torch.testing.assert_close(head_logits(hidden, own, vocabulary=6), whole[:, :6])
