"""WRPO's losses against vectors of the released code, and the laws they must obey."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from torch import Tensor

from harness.core.errors import BadRecord, UnknownName
from harness.core.records import Record, parse
from harness.training.losses import PreferenceLoss, get_loss
from harness.training.objective import linear_ramp
from methods.wrpo.loss import (
    MixSettings,
    WrpoSettings,
    weighted_loss,
    wrpo,
    wrpo_ipo,
    wrpo_simpo,
    wrpo_two_pairs,
)
from methods.wrpo.loss_released import released_loss, released_training_steps
from tests.golden_vectors import vectors

alphas = st.floats(0, 1)
seeds = st.integers(0, 200)


def test_golden_losses_rewards_and_gradients(golden: Callable[[str], Path]) -> None:
    for case in vectors(golden("wrpo/wrpo_loss.json"))["cases"]:
        inputs, name = case["inputs"], case["name"]
        if "error" in case:
            with pytest.raises(UnknownName):
                released_loss(inputs["loss_type"])
            continue
        dtype = getattr(torch, inputs["dtype"])
        tolerance = 1e-12 if dtype == torch.float64 else 2e-6
        loss = released_loss(inputs["loss_type"])
        settings = settings_of(
            loss,
            beta=inputs["beta"],
            label_smoothing=inputs["label_smoothing"],
            alpha_end=inputs["alpha_end"],
            alpha_mode="dynamic" if inputs["is_dynamic"] else "static",
            released=True,
        )
        steps = inputs["global_step"], inputs["num_training_steps"]
        scheduled = loss.scheduled_at(settings, *steps)
        if scheduled:  # the two-pair loss has no alpha
            assert scheduled == {"alpha": pytest.approx(inputs["alpha_used"], rel=1e-12)}, name
        policy = table(inputs, "policy", dtype).requires_grad_()
        losses, metrics = loss(
            policy, table(inputs, "reference", dtype), torch.ones_like(policy),
            settings=settings, **scheduled,
        )  # fmt: skip
        losses.mean().backward()
        assert losses.dtype == dtype
        assert policy.grad is not None
        rejected = metrics["rewards"][:, 2:]
        ours = {
            "losses": losses,
            "mean_loss": losses.mean(),
            "chosen_rewards": metrics["rewards"][:, :2],
            "rejected_rewards": rejected,
            "weighted_chosen_rewards": metrics["margins"] + rejected[:, 0],
            "grad_mean_loss_wrt_policy_chosen": policy.grad[:, :2],
            "grad_mean_loss_wrt_policy_rejected": policy.grad[:, 2:],
        }
        _compared(ours, case["outputs"], tolerance, name)


def _compared(
    ours: dict[str, torch.Tensor], expected: dict[str, Any], tolerance: float, name: str
) -> None:
    for key, found in ours.items():
        reference = torch.tensor(expected[key], dtype=found.dtype).reshape(found.shape)
        close = {"rtol": tolerance, "atol": tolerance, "msg": f"{name}: {key}"}
        torch.testing.assert_close(found.detach(), reference, **close)


def settings_of(loss: PreferenceLoss, **told: Any) -> Record:
    """Of some settings those that a loss has."""
    fields = loss.settings.model_fields
    return loss.settings(**{key: value for key, value in told.items() if key in fields})


def table(inputs: dict[str, Any], prefix: str, dtype: torch.dtype) -> Tensor:
    parts = [inputs[f"{prefix}_{side}_logps"] for side in ("chosen", "rejected")]
    return torch.cat([torch.tensor(part, dtype=dtype) for part in parts], dim=1)


def test_golden_schedule(golden: Callable[[str], Path]) -> None:
    data = vectors(golden("wrpo/alpha_schedule.json"))
    for schedule in data["schedules"]:
        line = {
            "start": schedule["start_value"],
            "end": schedule["end_value"],
            "start_step": schedule["start_step"],
            "end_step": schedule["end_step"],
        }
        found = [linear_ramp(step, **line) for step in schedule["steps"]]
        assert found == pytest.approx(schedule["values"], rel=1e-12)
    empty = data["zero_length"]
    line = {
        "start": empty["start_value"],
        "end": empty["end_value"],
        "start_step": empty["start_step"],
        "end_step": empty["end_step"],
    }
    for result in empty["results"]:
        if "error" in result:
            with pytest.raises(ZeroDivisionError):
                linear_ramp(result["step"], released=True, **line)
            assert linear_ramp(result["step"], **line) == empty["start_value"]
        else:
            assert linear_ramp(result["step"], **line) == result["value"]
            assert linear_ramp(result["step"], released=True, **line) == result["value"]
    for count in data["training_step_counts"]:
        found_steps = released_training_steps(
            count["len_train_dataloader_per_process"],
            count["gradient_accumulation_steps"],
            count["num_train_epochs"],
        )
        assert found_steps == count["num_training_steps"]


def draw(seed: int, rows: int = 3, responses: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    policy = -100 * torch.rand(rows, responses, generator=generator, dtype=torch.float64)
    frozen = policy + 5 * torch.randn(rows, responses, generator=generator, dtype=torch.float64)
    return policy, frozen, torch.randint(1, 50, (rows, responses), generator=generator)


def losses_of(
    loss: PreferenceLoss, data: tuple[Tensor, ...], alpha: float = 0.0, **options: Any
) -> Tensor:
    scheduled = {"alpha": alpha} if loss.scheduled else {}
    return loss(*data, settings=loss.settings(**{"beta": 0.1, **options}), **scheduled)[0]


def pair(data: tuple[Tensor, ...], first: int) -> tuple[Tensor, ...]:
    return tuple(tensor[:, [first, 2]] for tensor in data)


@pytest.mark.parametrize(
    ("function", "limit", "options"),
    [
        (wrpo, "dpo", {"label_smoothing": 0.1}),
        (wrpo_simpo, "simpo", {"gamma_over_beta": 0.3, "beta": 2.0}),
        (wrpo_ipo, "ipo", {"tau": 0.2}),
        (wrpo_ipo, "ipo", {"normalisation": "sum"}),
    ],
)
@pytest.mark.parametrize(("alpha", "column"), [(0.0, 1), (1.0, 0)])
def test_the_ends_of_alpha_are_the_pair_losses(
    function: Any, limit: str, options: dict[str, Any], alpha: float, column: int
) -> None:
    data = draw(1)
    expected = losses_of(get_loss(limit), pair(data, column), **options)
    torch.testing.assert_close(losses_of(function, data, alpha, **options), expected)


@given(alpha=alphas, seed=seeds)
@effort(max_examples=30, deadline=None)
def test_loss_is_convex_in_alpha_and_swapping_mirrors_it(alpha: float, seed: int) -> None:
    data = draw(seed)
    ends = [losses_of(wrpo, data, end) for end in (0.0, 1.0)]
    found = losses_of(wrpo, data, alpha)
    assert (found <= (1 - alpha) * ends[0] + alpha * ends[1] + 1e-9).all()
    swapped = tuple(tensor[:, [1, 0, 2]] for tensor in data)
    torch.testing.assert_close(losses_of(wrpo, swapped, 1 - alpha), found)


@given(alpha=alphas, seed=seeds)
@effort(max_examples=30, deadline=None)
def test_gradients_of_the_three_responses_sum_to_zero(alpha: float, seed: int) -> None:
    policy, frozen, lengths = draw(seed)
    policy.requires_grad_()
    losses_of(wrpo, (policy, frozen, lengths), alpha).mean().backward()
    assert policy.grad is not None
    torch.testing.assert_close(policy.grad.sum(1), torch.zeros(3, dtype=torch.float64))


@given(alpha=alphas, seed=seeds, shift=st.floats(-50, 50))
@effort(max_examples=30, deadline=None)
def test_shifting_policy_and_reference_together_changes_nothing(
    alpha: float, seed: int, shift: float
) -> None:
    policy, frozen, lengths = draw(seed)
    column = torch.tensor([0.0, shift, 0.0], dtype=torch.float64)
    torch.testing.assert_close(
        losses_of(wrpo, (policy + column, frozen + column, lengths), alpha),
        losses_of(wrpo, (policy, frozen, lengths), alpha),
    )


@given(seed=seeds)
@effort(max_examples=30, deadline=None)
def test_two_pairs_are_at_least_wrpo_at_one_half(seed: int) -> None:
    data = draw(seed)
    gap = losses_of(wrpo_two_pairs, data) - losses_of(wrpo, data, 0.5)
    assert (gap >= -1e-12).all()
    same = tuple(tensor[:, [0, 0, 2]] for tensor in data)
    torch.testing.assert_close(losses_of(wrpo_two_pairs, same), losses_of(wrpo, same, 0.5))


def test_policy_equal_to_reference_gives_log_2_for_every_alpha() -> None:
    policy, _, lengths = draw(0)
    for alpha in (0.0, 0.3, 1.0):
        found = losses_of(wrpo, (policy, policy, lengths), alpha)
        assert found.tolist() == pytest.approx([math.log(2)] * 3)


def test_equal_preferred_responses_make_alpha_idle() -> None:
    same = tuple(tensor[:, [0, 0, 2]] for tensor in draw(0))
    torch.testing.assert_close(losses_of(wrpo, same, 0.1), losses_of(wrpo, same, 0.9))


def test_any_number_of_preferred_responses_with_weights() -> None:
    data, settings = draw(4, responses=5), WrpoSettings(beta=0.1)
    weights = torch.tensor([0.0, 0.3, 0.0, 0.7])
    found, metrics = weighted_loss(*data, weights=weights, settings=settings)
    three = tuple(tensor[:, [1, 3, 4]] for tensor in data)
    torch.testing.assert_close(found, losses_of(wrpo, three, 0.3))
    assert metrics["rewards"].shape == (3, 5)
    per_row, _ = weighted_loss(*data, weights=weights.expand(3, 4), settings=settings)
    torch.testing.assert_close(per_row, found)
    with pytest.raises(BadRecord, match="2 weights for 4 preferred"):
        weighted_loss(*data, weights=torch.ones(2), settings=settings)


def test_alpha_out_of_range_needs_the_released_flag() -> None:
    data = draw(0)
    with pytest.raises(BadRecord, match="expected a weight in"):
        losses_of(wrpo, data, 1.5)
    losses_of(wrpo, data, 1.5, released=True)


def test_the_hybrid_without_reference_is_declared_so() -> None:
    assert not get_loss("wrpo_simpo").needs_reference
    assert get_loss("wrpo_ipo").needs_reference
    assert get_loss("wrpo").responses == ("source", "target", "rejected")


def test_the_mix_refuses_what_makes_no_sense() -> None:
    with pytest.raises(BadRecord, match="alpha_end in"):
        parse(MixSettings, {"alpha_end": 1.5}, "recipe")
    assert MixSettings(alpha_end=1.5, released=True).alpha(0, 9) == 0
    assert MixSettings(alpha_mode="static", alpha_end=0.3).alpha(0, 9) == 0.3


@given(end=st.floats(0, 1), total=st.integers(0, 50), step=st.integers(0, 60))
def test_alpha_is_monotone_and_stays_in_range(end: float, total: int, step: int) -> None:
    settings = MixSettings(alpha_end=end)
    assert settings.alpha(0, total) == 0
    assert 0 <= settings.alpha(step, total) <= settings.alpha(step + 1, total) <= end
    assert linear_ramp(total + 1, start=0, end=end, end_step=total) == end
