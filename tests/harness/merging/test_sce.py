"""SCE: golden merges of both implementations, exact selection, and the laws of the method."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from torch import Tensor

from harness.merging import sce as method
from harness.merging.pieces import joined, stack
from harness.merging.sce import kept, select, variance
from harness.merging.settings import SceSettings, VarmSettings
from harness.merging.varm import varm
from tests.golden_vectors import vectors

Golden = Callable[[str], Path]
FEW = examples(max_examples=15)


def sce(base: Tensor, targets: list[Tensor], settings: SceSettings) -> tuple[Tensor, list[float]]:
    ((_, eta, pieces),) = method.sce({"m": stack(base, targets)}, settings)
    return joined(pieces, base.shape), eta


READINGS: dict[str, dict[str, Any]] = {
    "fuseai": {"select_applies_to": "coefficients", "zero_threshold": "exact"},
    "mergekit": {"select_applies_to": "coefficients_and_deltas", "zero_threshold": "mergekit"},
}


def mask_of(base: Tensor, targets: list[Tensor], tau: float) -> Tensor:
    """The selection, spelt out."""
    if tau >= 1:
        return torch.ones_like(base)
    spread = variance(torch.stack([t - base for t in targets]).flatten(1)).reshape(base.shape)
    found = select(stack(base, targets), tau)
    mask = (spread > found.threshold).float()
    tied = (spread == found.threshold).flatten().nonzero()[: found.ties, 0]
    mask.view(-1)[tied] = 1.0
    assert int(mask.sum()) == found.k
    return mask


@pytest.mark.parametrize("reading", READINGS)
def test_golden_selection_coefficients_signs_and_merges(golden: Golden, reading: str) -> None:
    cases = vectors(golden("fusechat/sce.json"))["cases"]
    assert cases
    for case in cases:
        base, *targets = (torch.tensor(v) for v in (case["base"], *case["targets"]))
        tau, where = case["select_topk"], f"{case['name']} {reading}"
        made, found = sce(base, targets, SceSettings(select_topk=tau, **READINGS[reading]))
        expected = torch.tensor(case[f"merged_{reading}"])
        if expected.shape != base.shape:  # mergekit 0.1.4 and an empty mask: K times the base
            assert expected.shape == (len(targets), *base.shape)
            expected = expected[0]
        mask, theirs = mask_of(base, targets, tau), torch.tensor(case["selection_mask"])
        same = torch.ones_like(base, dtype=torch.bool)
        exact = case["dtype"] == "torch.float32"
        if not exact:  # the reference rounds variances to bfloat16, and may swap close ones
            same = (mask > 0) == (theirs > 0)
        assert torch.equal(mask[same], theirs[same].float()), where
        if not bool(same.all()):
            continue
        tolerance = 1e-6 if exact else 1e-2
        assert found == pytest.approx(
            case[f"coefficients_{reading}"], rel=tolerance, abs=tolerance
        ), where
        deltas = torch.stack([t - base for t in targets])
        if reading == "mergekit":
            deltas = deltas * mask
        signs = torch.tensor(case[f"sign_keep_{reading}"])
        assert torch.equal(kept(deltas).long(), signs.reshape(deltas.shape).long()), where
        torch.testing.assert_close(made, expected, rtol=tolerance, atol=tolerance, msg=where)


def test_a_merge_by_hand() -> None:
    base = torch.zeros(3)
    targets = [torch.tensor([1.0, 1.0, 1.0]), torch.tensor([1.0, -3.0, 2.0])]
    # Variances 0, 4, 0.25; one of the two non-zero ones is selected: the second entry.
    made, found = sce(base, targets, SceSettings(select_topk=0.5))
    assert found == pytest.approx([0.1, 0.9])
    assert made.tolist() == pytest.approx([0.0, -3.0, 0.0])
    made, _ = sce(base, targets, SceSettings(select_topk=0.5, select_applies_to="coefficients"))
    assert made.tolist() == pytest.approx([1.0, -3.0, 1.9])
    made, _ = sce(base, targets, SceSettings(select_topk=0.5, erase=False))
    assert made.tolist() == pytest.approx([0.0, -2.6, 0.0])


def test_votes_by_value_and_by_count() -> None:
    deltas = torch.tensor([[1.0, 2.0], [1.0, -2.0], [-3.0, 0.0]])
    assert kept(deltas).tolist() == [[False, True], [False, False], [True, False]]
    assert kept(deltas, "count").tolist() == [[True, True], [True, False], [False, False]]
    made, _ = sce(torch.zeros(2), list(deltas), SceSettings(vote="count"))
    assert made.tolist() == pytest.approx([1.0, 2.0])


def test_an_empty_selection_keeps_the_shape() -> None:
    base = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    for targets in ([base + 1], [base + 1, base + 1]):
        made, found = sce(base, targets, SceSettings(select_topk=0.5))
        assert found == pytest.approx([1 / len(targets)] * len(targets))
        assert torch.equal(made, base)
        settings = SceSettings(select_topk=0.5, select_applies_to="coefficients")
        torch.testing.assert_close(sce(base, targets, settings)[0], base + 1)


def test_small_changes_keep_their_coefficients_but_noise_does_not() -> None:
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(50, generator=generator)
    steps = [1e-4 * n * torch.randn(50, generator=generator) for n in (1, 3)]
    targets = [base + step for step in steps]
    assert sce(base, targets, SceSettings())[1][1] > 0.8
    mergekit = SceSettings(zero_threshold="mergekit")
    assert sce(base, targets, mergekit)[1] == [0.5, 0.5]
    noise = [base.clone(), base.clone()]
    noise[1][3] = torch.nextafter(base[3], base[3] + 1)
    assert sce(base, noise, SceSettings())[1] == [0.5, 0.5]
    assert sce(base, noise, SceSettings(zero_threshold="exact"))[1] == [0.0, 1.0]


@st.composite
def problems(draw: st.DrawFn, targets: int | None = None) -> tuple[Tensor, list[Tensor]]:
    """Values of few bits, so that ties and exact sums of zero occur."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    shape = draw(st.sampled_from([(1,), (3, 5), (40,), (2, 3, 4)]))
    count = draw(st.integers(1, 4)) if targets is None else targets
    coarse = draw(st.booleans())

    def value() -> Tensor:
        if coarse:
            return torch.randint(-3, 4, shape, generator=generator) / 4
        return torch.randn(shape, generator=generator)

    base = value()
    return base, [base + value() for _ in range(count)]


TAU = st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.9, 1.0])
READING = st.sampled_from(["coefficients", "coefficients_and_deltas"])


@FEW
@given(problems(), TAU)
def test_selection_is_the_k_largest_variances(problem: Any, tau: float) -> None:
    base, targets = problem
    deltas = torch.stack([t - base for t in targets]).flatten(1)
    spread = variance(deltas)
    torch.testing.assert_close(spread, deltas.var(0, unbiased=False), rtol=1e-5, atol=1e-7)
    found = select(stack(base, targets), tau)
    k, threshold, ties = found.k, found.threshold, found.ties
    assert k == int(tau * int(spread.count_nonzero()))
    ordered = spread.sort(descending=True).values
    assert threshold == (float(ordered[k - 1]) if k else torch.inf)
    assert int((spread > threshold).sum()) + ties == k


@FEW
@given(problems(), TAU, READING, st.booleans())
def test_merged_entries_lie_between_the_base_and_the_extreme_target(
    problem: Any, tau: float, reading: str, erase: bool
) -> None:
    base, targets = problem
    settings = SceSettings(select_topk=tau, select_applies_to=reading, erase=erase)
    made, found = sce(base, targets, settings)
    values = torch.stack([base, *targets])
    inside = (made >= values.amin(0) - 1e-5) & (made <= values.amax(0) + 1e-5)
    assert made.shape == base.shape
    assert bool(inside.all())
    assert sum(found) == pytest.approx(1)
    if reading == "coefficients_and_deltas":
        outside = mask_of(base, targets, tau) == 0
        assert torch.equal(made[outside], base[outside])


@FEW
@given(problems(targets=2))
def test_without_selection_and_with_one_sign_it_is_varm(problem: Any) -> None:
    base, targets = problem
    upward = [base + (t - base).abs() for t in targets]
    ((_, _, pieces),) = varm({"m": stack(base, upward)}, VarmSettings())
    moved = torch.stack([t - base for t in upward]).amin(0) > 0  # an unmoved entry has no sign
    made, _ = sce(base, upward, SceSettings())
    torch.testing.assert_close(made[moved], joined(pieces, base.shape)[moved], rtol=1e-4, atol=1e-5)


@FEW
@given(st.integers(0, 2**32))
def test_of_opposite_changes_the_positive_is_taken(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    base, change = (torch.randint(-8, 9, (20,), generator=generator) / 8 for _ in range(2))
    made, _ = sce(base, [base + change, base - change], SceSettings())
    torch.testing.assert_close(made, base + change.abs())


@FEW
@given(problems(), TAU, READING)
def test_targets_equal_to_the_base_change_nothing(problem: Any, tau: float, reading: str) -> None:
    base, targets = problem
    settings = SceSettings(select_topk=tau, select_applies_to=reading)
    assert torch.equal(sce(base, [base, base], settings)[0], base)
    plain = SceSettings(select_applies_to=reading)
    _, found = sce(base, targets, plain)
    _, wider = sce(base, [*targets, base], plain)
    if any(not torch.equal(target, base) for target in targets):
        assert wider == pytest.approx([*found, 0.0])


@FEW
@given(problems(targets=3), TAU)
def test_permuting_targets_permutes_coefficients_only(problem: Any, tau: float) -> None:
    base, targets = problem
    made, found = sce(base, targets, SceSettings(select_topk=tau))
    turned, others = sce(base, targets[::-1], SceSettings(select_topk=tau))
    # Rounding depends on the order: where it decides a close vote or selection, there is no law.
    masks = [mask_of(base, order, tau) for order in (targets, targets[::-1])]
    if torch.equal(*masks):
        assert others[::-1] == pytest.approx(found, rel=1e-4)
        clear = torch.stack([t - base for t in targets]).sum(0).abs() > 1e-6
        torch.testing.assert_close(turned[clear], made[clear], rtol=1e-4, atol=1e-5)
