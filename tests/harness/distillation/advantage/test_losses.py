"""The losses of DCKD and ADPA: golden values and gradients, identities, limiting cases."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from harness.core.errors import BadRecord
from harness.core.records import parse
from harness.distillation.advantage import advantage_released as released
from harness.distillation.advantage.losses import (
    adpa_loss,
    advantages,
    dckd_loss,
    dense_advantages,
    expected_advantage,
    forward_kl,
    implicit_reward,
    list_error_bound,
    listed_advantages,
    listed_kl,
    log_probs,
    mean_of,
    tail_logp,
    weights_of,
)
from harness.distillation.advantage.settings import PairLoss
from tests.golden_vectors import vectors

Golden = Callable[[str], Path]
GRADIENT = 1e-10


def cases(golden: Golden, name: str) -> dict[str, Any]:
    found = {path.name: vectors(path) for path in sorted(golden(name).glob("*.json"))}
    assert found, f"no vectors in {golden(name)}"
    return found


def tensors(case: Mapping[str, Any]) -> dict[str, Tensor]:
    """Inputs in float64; logits require a gradient."""
    return {
        key: torch.tensor(value)
        if key.endswith("labels")
        else torch.tensor(value, dtype=torch.float64).requires_grad_("student" in key)
        for key, value in case["inputs"].items()
    }


def adpa_settings(case: Mapping[str, Any], **changes: Any) -> PairLoss:
    return PairLoss(
        sft=case["weights"]["sft"],
        gamma=case["gamma"],
        beta=case["beta"],
        reduction=case["reduction"],
        **changes,
    )


def close(found: Tensor, expected: Any, tolerance: float = GRADIENT) -> None:
    wanted = torch.tensor(expected, dtype=torch.float64)
    assert found.shape == wanted.shape
    assert not wanted.numel() or (found.double() - wanted).abs().max() <= tolerance


def test_golden_dckd(golden: Golden) -> None:
    for name, case in cases(golden, "dckd").items():
        inputs, weights, expected = tensors(case), case["weights"], case["expected"]
        settings = PairLoss(
            sft=weights["sft"],
            distill=weights["distill"],
            kl_chosen=weights["chosen"],
            kl_response=weights["rejected"],
            reduction=case["reduction"],
        )
        loss, found = dckd_loss(
            inputs["student_chosen_logits"],
            inputs["student_rejected_logits"],
            inputs["chosen_labels"],
            inputs["rejected_labels"],
            teacher_chosen=inputs["teacher_chosen_logits"],
            teacher_rejected=inputs["teacher_rejected_logits"],
            settings=settings,
        )
        loss.backward()
        assert loss.item() == pytest.approx(expected["loss"], abs=1e-10), name
        assert float(found["nll"]) == pytest.approx(expected["nll_chosen"], abs=1e-10)
        assert float(found["kl_chosen"]) == pytest.approx(expected["kl_chosen"], abs=1e-10)
        assert float(found["kl_response"]) == pytest.approx(expected["kl_rejected"], abs=1e-10)
        close(inputs["student_chosen_logits"].grad, expected["grad_student_chosen_logits"])
        close(inputs["student_rejected_logits"].grad, expected["grad_student_rejected_logits"])


def test_golden_bucketed_kl(golden: Golden) -> None:
    tested = 0
    for case in cases(golden, "dckd").values():
        if "topk" not in case:
            continue
        tested += 1
        inputs, lists = tensors(case), case["topk"]
        ids = torch.tensor(lists["indices"])
        teacher = log_probs(inputs["teacher_chosen_logits"])
        kept, tail = teacher.gather(-1, ids), tail_logp(teacher, ids)
        close(kept.exp(), lists["teacher_values"])
        close(tail.exp(), lists["teacher_tail"])
        logps = log_probs(inputs["student_chosen_logits"])
        kl = mean_of(listed_kl(logps, ids, kept, tail), inputs["chosen_labels"], case["reduction"])
        kl.backward()
        assert kl.item() == pytest.approx(lists["kl_chosen_bucketed"], abs=1e-10)
        close(inputs["student_chosen_logits"].grad, lists["grad_student_chosen_logits"])
        if "reference_code" in case:
            assert kl.item() == pytest.approx(case["reference_code"]["kl_chosen"], abs=1e-10)
    if not tested:
        pytest.skip("the golden vectors at hand have no lists")


def test_golden_adpa(golden: Golden) -> None:
    for name, case in cases(golden, "adpa").items():
        inputs, expected = tensors(case), case["expected"]
        settings = adpa_settings(case)
        dpo, ref = (log_probs(inputs[f"{side}_teacher_logits"]) for side in ("dpo", "ref"))
        advantage = advantages(dpo, ref, beta=settings.beta)
        close(advantage, expected["advantage"])
        given_ = (
            inputs["student_chosen_logits"],
            inputs["student_response_logits"],
            inputs["chosen_labels"],
            inputs["response_labels"],
        )
        loss, found = adpa_loss(*given_, advantage=advantage, settings=settings)
        loss.backward()
        assert loss.item() == pytest.approx(expected["loss"], abs=1e-10), name
        assert float(found["nll"]) == pytest.approx(expected["nll_chosen"], abs=1e-10)
        assert float(found["advantage"]) == pytest.approx(expected["expected_advantage"], abs=1e-10)
        each = expected_advantage(log_probs(given_[1].detach()), advantage)
        close(each, expected["expected_advantage_per_token"])
        for side in ("chosen", "response"):
            wanted = expected[f"grad_student_{side}_logits"]
            close(inputs[f"student_{side}_logits"].grad, wanted)
        reward = implicit_reward(dpo, ref, inputs["response_labels"], beta=settings.beta)
        close(reward, expected["sequence_implicit_reward"])
        added = torch.tensor(case["state_constants"]["added"], dtype=torch.float64)
        shifted = advantage + added[..., None]
        before = inputs["student_response_logits"].grad.clone()
        inputs["student_response_logits"].grad = None
        loss, found = adpa_loss(*given_, advantage=shifted, settings=settings)
        loss.backward()
        wanted = case["state_constants"]["expected_advantage"]
        assert float(found["advantage"]) == pytest.approx(wanted, abs=1e-10)
        close(inputs["student_response_logits"].grad, before.tolist())


def test_golden_lists_and_the_released_code(golden: Golden) -> None:
    tested = 0
    for case in cases(golden, "adpa").values():
        if "topk" not in case:
            continue
        tested += 1
        _lists(case)
        _released(case)
    if not tested:
        pytest.skip("the golden vectors at hand have no lists")


def _lists(case: dict[str, Any]) -> None:
    inputs, lists = tensors(case), case["topk"]
    ids, labels = torch.tensor(lists["indices"]), inputs["response_labels"]
    dpo, ref = (log_probs(inputs[f"{side}_teacher_logits"]) for side in ("dpo", "ref"))
    kept, tail = listed_advantages(
        dpo.gather(-1, ids),
        ref.gather(-1, ids),
        tail_logp(dpo, ids),
        tail_logp(ref, ids),
        beta=case["beta"],
    )
    close(kept, lists["kept_advantage"])
    close(tail, lists["tail_advantage"])
    student = inputs["student_response_logits"]
    close(tail_logp(log_probs(student.detach()), ids).exp(), lists["student_tail_mass"])
    full = advantages(dpo, ref, beta=case["beta"])
    bound = list_error_bound(log_probs(student.detach()), ids, full, tail)
    close(bound, lists["error_bound_per_token"])
    for name, rest in (("tail_bucket", tail), ("zero_tail", torch.zeros_like(tail))):
        student.grad = None
        dense = dense_advantages(student.shape[-1], ids, kept, rest)
        each = expected_advantage(log_probs(student), dense)
        mean = mean_of(each, labels, case["reduction"])
        (-case["gamma"] * mean).backward()
        assert mean.item() == pytest.approx(lists[f"expected_advantage_{name}"], abs=1e-10)
        close(student.grad, lists[f"grad_{name}"])
        if name == "tail_bucket":
            exact = expected_advantage(log_probs(student.detach()), full)
            assert ((each.detach() - exact).abs() <= bound + 1e-12).all()


def _released(case: dict[str, Any]) -> None:
    inputs, code = tensors(case), case["reference_code"]
    labels, student = inputs["response_labels"], inputs["student_response_logits"]
    margins = [
        released.released_margins(dpo, ref)
        for dpo, ref in zip(code["compressed_dpo"], code["compressed_ref"], strict=True)
    ]
    for ours, theirs in zip(margins, code["margin"], strict=True):
        for mine, other in zip(ours, theirs, strict=True):
            assert mine["indices"] == other["indices"]
            close(torch.tensor(mine["values"], dtype=torch.float64), other["values"])
    # The released lists begin at the first response token; positions before it are not counted.
    k = len(margins[0][0]["indices"])
    ids = torch.zeros(*labels.shape, k, dtype=torch.long)
    values = torch.zeros(*labels.shape, k, dtype=torch.float64)
    for row, found in enumerate(margins):
        places = (labels[row] != -100).nonzero().flatten().tolist()
        for place, each in zip(places, found, strict=True):
            ids[row, place] = torch.tensor(each["indices"])
            values[row, place] = torch.tensor(each["values"], dtype=torch.float64)
    for name, clamp in (("as_published_clamped", True), ("clamp_off", False)):
        student.grad = None
        each = released.released_expectation(log_probs(student), ids, values, clamp=clamp)
        loss = -mean_of(each, labels, "token")
        loss.backward()
        assert loss.item() == pytest.approx(code[name]["adpa_loss"], abs=1e-10)
        close(student.grad, code[name]["grad_student_response_logits"])


def test_compressed_lists_of_the_released_code(golden: Golden) -> None:
    case = next((c for c in cases(golden, "dckd").values() if "reference_code" in c), None)
    if case is None:
        pytest.skip("the golden vectors at hand have no released lists")
    logits = torch.tensor(case["inputs"]["teacher_chosen_logits"], dtype=torch.float64)
    labels = torch.tensor(case["inputs"]["chosen_labels"])
    for row, theirs in enumerate(case["reference_code"]["compressed_chosen"]):
        kept = logits[row][labels[row] != -100]  # the released lists are of response tokens
        ours = released.compressed(kept, case["topk"]["k"], half=False)
        assert len(ours) == len(theirs)
        for mine, other in zip(ours, theirs, strict=True):
            assert mine["indices"] == other["indices"]
            close(torch.tensor(mine["values"], dtype=torch.float64), other["values"])
    half = released.compressed(logits[0].float(), case["topk"]["k"])
    exact = released.compressed(logits[0], case["topk"]["k"], half=False)
    rests = [(a["remaining_probs_sum"], b["remaining_probs_sum"]) for a, b in zip(half, exact)]
    assert any(a != b for a, b in rests), "fp16 sums are not exact"


def world(seed: int, *shape: int, scale: float = 2.0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return scale * torch.randn(*shape, generator=draw, dtype=torch.float64)


sizes = st.tuples(st.integers(2, 40), st.integers(0, 6), st.integers(0, 10_000))


@given(sizes, st.floats(0.1, 40))
def test_identities_of_the_advantage(size: tuple[int, int, int], scale: float) -> None:
    vocabulary, length, seed = size
    p, q, r = (log_probs(world(seed + n, length, vocabulary, scale=scale)) for n in range(3))
    beta = 0.3
    a = advantages(q, r, beta=beta)
    torch.testing.assert_close((r.exp() * (a / beta).exp()).sum(-1), torch.ones(length).double())
    torch.testing.assert_close(expected_advantage(q, a), beta * forward_kl(r, q))
    torch.testing.assert_close(expected_advantage(r, a), -beta * forward_kl(q, r))
    torch.testing.assert_close(
        expected_advantage(p, a) / beta, forward_kl(r, p) - forward_kl(q, p), rtol=1e-7, atol=1e-7
    )


@given(sizes, st.integers(1, 40))
def test_lists_approach_the_full_sums(size: tuple[int, int, int], k: int) -> None:
    vocabulary, length, seed = size
    k = min(k, vocabulary)
    p, q, r = (log_probs(world(seed + n, length, vocabulary)) for n in range(3))
    full = forward_kl(p, q)
    before = None
    for size_of_list in range(1, k + 1):
        ids = q.topk(size_of_list, dim=-1).indices
        found = listed_kl(p, ids, q.gather(-1, ids), tail_logp(q, ids))
        assert (found <= full + 1e-9).all()
        assert before is None or (found >= before - 1e-9).all(), "a longer list is never worse"
        before = found
        if size_of_list >= vocabulary - 1:
            torch.testing.assert_close(found, full)
    kept, tail = listed_advantages(
        q.gather(-1, ids), r.gather(-1, ids), tail_logp(q, ids), tail_logp(r, ids)
    )
    exact = advantages(q, r)
    near = expected_advantage(p, dense_advantages(vocabulary, ids, kept, tail))
    bound = list_error_bound(p, ids, exact, tail)
    assert ((near - expected_advantage(p, exact)).abs() <= bound + 1e-9).all()


def test_a_list_of_the_whole_vocabulary_has_an_empty_bucket() -> None:
    p, q, r = (log_probs(world(n, 3, 7).float()) for n in range(3))
    ids = q.topk(7, dim=-1).indices
    p = p.clone().requires_grad_()
    kl = listed_kl(p, ids, q.gather(-1, ids), tail_logp(q, ids)).sum()
    kl.backward()
    assert torch.isfinite(p.grad).all()
    kept, tail = listed_advantages(
        q.gather(-1, ids), r.gather(-1, ids), tail_logp(q, ids), tail_logp(r, ids)
    )
    assert (tail == 0).all()
    torch.testing.assert_close(dense_advantages(7, ids, kept, tail), advantages(q, r))


@given(st.integers(0, 1000), st.sampled_from(["token", "sequence"]))
def test_a_batch_without_labels_gives_zero_and_no_gradient(seed: int, reduction: Any) -> None:
    logits = world(seed, 2, 3, 5, scale=80).requires_grad_()
    labels = torch.full((2, 3), -100)
    settings = PairLoss(gamma=1.6, kl_chosen=0.1, kl_response=0.1, reduction=reduction)
    teacher = world(seed + 1, 2, 3, 5, scale=80)
    loss, _ = dckd_loss(
        logits, logits, labels, labels,
        teacher_chosen=teacher, teacher_rejected=teacher, settings=settings,
    )  # fmt: skip
    other, _ = adpa_loss(logits, logits, labels, labels, advantage=teacher, settings=settings)
    (loss + other).backward()
    assert loss.item() == other.item() == 0
    assert (logits.grad == 0).all()


@given(st.integers(0, 1000), st.sampled_from(["token", "sequence"]))
def test_extreme_logits_stay_finite_and_rows_of_gradients_sum_to_zero(
    seed: int, reduction: Any
) -> None:
    draw = torch.Generator().manual_seed(seed)
    good, bad = (world(seed + n, 2, 4, 9, scale=80).float().requires_grad_() for n in range(2))
    labels = torch.randint(-1, 9, (2, 4), generator=draw)
    labels = labels.masked_fill(labels < 0, -100)
    q, r = (log_probs(world(seed + n, 2, 4, 9, scale=80).float()) for n in (5, 6))
    settings = PairLoss(gamma=1.6, reduction=reduction)
    loss, _ = adpa_loss(
        good, bad, labels, labels.roll(1, 0), advantage=advantages(q, r), settings=settings
    )
    loss.backward()
    for each in (good, bad):
        assert torch.isfinite(each.grad).all()
        assert each.grad.sum(-1).abs().max() < 1e-3


def test_clipping_bounds_the_true_log_ratio() -> None:
    q, r = (log_probs(world(n, 4, 9)) for n in range(2))
    plain = advantages(q, r)
    assert (plain.abs() > 1).any()
    bounded = advantages(q, r, beta=0.5, clip=1.0)
    torch.testing.assert_close(bounded, 0.5 * plain.clamp(-1, 1))
    compat = advantages(q, r, beta=0.5, clip="reference_compat")
    torch.testing.assert_close(compat, 0.5 * plain.clamp(1e-8, 1 - 1e-8))
    with pytest.raises(BadRecord, match="advantage_clip above 0"):
        parse(PairLoss, {"advantage_clip": -1.0}, "test")


def test_linear_in_gamma_and_in_beta_times_gamma() -> None:
    logits, labels = world(1, 2, 3, 7), torch.tensor([[1, 2, -100], [3, -100, -100]])
    q, r = (log_probs(world(n, 2, 3, 7)) for n in (2, 3))

    def term(gamma: float, beta: float) -> float:
        settings = PairLoss(sft=0.0, gamma=gamma, beta=beta)
        a = advantages(q, r, beta=beta)
        loss = adpa_loss(logits, logits, labels, labels, advantage=a, settings=settings)[0]
        return float(loss)

    assert term(0.0, 1.0) == 0
    assert term(1.2, 1.0) == pytest.approx(3 * term(0.4, 1.0))
    assert term(0.4, 1.0) == pytest.approx(term(4.0, 0.1))


def test_a_near_one_hot_student_has_no_gradient() -> None:
    logits = torch.zeros(1, 1, 5, dtype=torch.float64)
    logits[..., 2] = 60.0
    logits.requires_grad_()
    a = world(0, 1, 1, 5)
    expected_advantage(log_probs(logits), a).sum().backward()
    assert logits.grad.abs().max() < 1e-20


def test_weights_of_both_reductions() -> None:
    labels = torch.tensor([[1, 2, 3], [4, -100, -100], [-100, -100, -100]])
    weights, count = weights_of(labels, "token")
    assert weights.sum() == 4
    assert count == 4
    weights, count = weights_of(labels, "sequence")
    assert count == 2
    assert weights[0].tolist() == pytest.approx([1 / 3] * 3)
    assert weights[2].sum() == 0


def test_settings_are_a_record() -> None:
    assert json.loads(PairLoss(advantage_clip="reference_compat").model_dump_json())["gamma"] == 0
