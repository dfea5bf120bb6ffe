"""SEFT's rules against the golden vectors, and the laws that they must obey."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.core.errors import BadData, BadRecord
from harness.core.records import parse
from harness.training.weighted_tokens import share_right, token_weights, weighted_nll
from methods.seft.labels import (
    LABELS,
    Gate,
    ScoreThresholds,
    decide,
    external_share,
    label_by_likelihood,
    label_by_rank_gap,
    label_by_score_gap,
    label_probabilities,
    pointwise_information,
)
from tests.golden_vectors import vectors

Golden = Callable[[str], Path]
ORDER = {label: place for place, label in enumerate(LABELS)}
# Dyadic numbers, so that shifting and scaling them is exact.
dyadic = st.integers(-400, 400).map(lambda n: n / 16)


def test_golden_labels_by_score_gap(golden: Golden) -> None:
    data = vectors(golden("seft/label_by_score_gap.json"))
    limits = {"t_no": data["t_no"], "t_major": data["t_major"]}
    for case in data["cases"]:
        scores = case["source_score"], case["target_score"]
        ceiling = data["quality_ceiling"]
        assert label_by_score_gap(*scores, **limits, ceiling=ceiling) == case["label"]
        assert label_by_score_gap(*scores, **limits) == case["label_without_quality_ceiling"]


def test_golden_labels_by_rank_gap(golden: Golden) -> None:
    data = vectors(golden("seft/label_by_rank_gap.json"))
    for case in data["cases"]:
        ranks = case["source_rank"], case["target_rank"]
        assert label_by_rank_gap(*ranks, max_minor=data["max_minor"]) == case["label"]


def test_golden_labels_by_likelihood(golden: Golden) -> None:
    data = vectors(golden("seft/label_by_likelihood.json"))
    found = [
        pointwise_information(
            item["logp_target_given_prompt"], item["logp_target_given_prompt_and_source"]
        )
        for item in data["items"]
    ]
    assert found == pytest.approx([item["pmi"] for item in data["items"]], abs=1e-12)
    labelled = label_by_likelihood(found)
    assert (labelled.q1, labelled.q2) == pytest.approx((data["q1"], data["q2"]), abs=1e-12)
    assert list(labelled.labels) == [item["label"] for item in data["items"]]


def test_golden_decisions(golden: Golden) -> None:
    data = vectors(golden("seft/decision.json"))
    assert list(LABELS) == data["order"]
    for case in data["cases"]:
        found = label_probabilities(case["label_logits"])
        assert found == pytest.approx(case["probabilities"], abs=1e-12)
        assert decide(found) == case["argmax_label"]
        for more in case["with_threshold"]:
            assert decide(found, more["no_revise_threshold"]) == more["label"]


def test_golden_acceptance(golden: Golden) -> None:
    data = vectors(golden("seft/acceptance_gate.json"))
    gate = Gate(min_gain=data["min_gain"], max_length_ratio=data["max_length_ratio"])
    for case in data["cases"]:
        accepted = gate.accepts(
            case["source_score"], case["revised_score"], case["source_tokens"],
            case["revised_tokens"],
        )  # fmt: skip
        assert accepted == case["accept"]
        assert case["training_target"] == ("revised" if accepted else "source")


@pytest.mark.parametrize("name", ["equal_weights", "label_weight_4", "label_only"])
def test_golden_reviser_losses_and_gradients(golden: Golden, name: str) -> None:
    data = vectors(golden(f"seft/reviser_loss_{name}.json"))
    logits = torch.tensor(data["logits"], dtype=torch.float64, requires_grad=True)
    targets, groups = torch.tensor(data["targets"]), torch.tensor(data["position_kind"])
    logps = logits.log_softmax(-1).gather(-1, targets[..., None])[..., 0]
    weights = token_weights(groups, [data["label_weight"], data["text_weight"]])
    total, weight = weighted_nll(logps, weights)
    loss = total / weight
    assert loss.item() == pytest.approx(data["loss"], abs=1e-10)
    (gradient,) = torch.autograd.grad(loss, logits)
    torch.testing.assert_close(
        gradient, torch.tensor(data["grad_logits"], dtype=torch.float64), rtol=0, atol=1e-10
    )
    torch.testing.assert_close(gradient.sum(-1), torch.zeros(targets.shape).double())
    at = groups == 1
    right, number = share_right(logits.argmax(-1)[at], targets[at])
    assert (right / number).item() == pytest.approx(data["label_accuracy"])


def test_without_any_weight_loss_and_gradient_are_zero() -> None:
    logps = torch.randn(2, 3, requires_grad=True)
    total, weight = weighted_nll(logps, token_weights(torch.zeros(2, 3, dtype=torch.long), [1, 1]))
    assert (total.item(), weight.item()) == (0, 0)
    (gradient,) = torch.autograd.grad(total, logps)
    assert not gradient.any()


# --- laws -----------------------------------------------------------------------------------


@given(dyadic, dyadic, dyadic, st.integers(1, 8))
def test_score_labels_depend_on_the_gap_alone(
    source: float, target: float, shift: float, scale: int
) -> None:
    label = label_by_score_gap(source, target, t_no=0.25, t_major=2)
    assert label_by_score_gap(source + shift, target + shift, t_no=0.25, t_major=2) == label
    scaled = label_by_score_gap(
        source * scale, target * scale, t_no=0.25 * scale, t_major=2 * scale
    )
    assert scaled == label


@given(dyadic, dyadic, dyadic)
def test_score_labels_grow_with_the_target_and_never_revise_for_the_worse(
    source: float, target: float, more: float
) -> None:
    low, high = (
        label_by_score_gap(source, value, t_no=0.25, t_major=2)
        for value in (target, target + abs(more))
    )
    assert ORDER[low] <= ORDER[high]
    if target < source:
        assert low == LABELS[0]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("first", [True, False])
def test_scores_that_are_not_finite_are_errors(value: float, first: bool) -> None:
    scores = (value, 1.0) if first else (1.0, value)
    with pytest.raises(BadData, match="expected a finite number"):
        label_by_score_gap(*scores, t_no=0, t_major=1)


@pytest.mark.parametrize(("t_no", "t_major"), [(-0.1, 1), (1, 1), (2, 1)])
def test_thresholds_out_of_order_are_refused(t_no: float, t_major: float) -> None:
    with pytest.raises(BadData, match="expected 0 <= t_no < t_major"):
        label_by_score_gap(0, 1, t_no=t_no, t_major=t_major)
    with pytest.raises(BadRecord):
        parse(ScoreThresholds, {"t_no": t_no, "t_major": t_major}, "thresholds")


@pytest.mark.parametrize(("source", "target"), [(1, 2), (0, 0), (3, 0)])
def test_ranks_that_cannot_be_are_refused(source: int, target: int) -> None:
    with pytest.raises(BadData, match="rank"):
        label_by_rank_gap(source, target, max_minor=2)


@given(st.lists(dyadic, min_size=1, max_size=12), dyadic)
def test_likelihood_labels_ignore_a_common_constant(values: list[float], shift: float) -> None:
    one, two = label_by_likelihood(values), label_by_likelihood([v + shift for v in values])
    near = any(abs(v - q) < 1e-6 for v in values for q in (one.q1, one.q2))
    assert one.labels == two.labels or near
    assert two.q1 == pytest.approx(one.q1 + shift)


def test_a_likely_target_with_a_large_gap_is_not_left_alone() -> None:
    values = [0.0, 0.0, 0.0, 5.0]
    assert label_by_likelihood(values).labels[-1] == "no_revise"
    assert label_by_likelihood(values, [0, 0, 0, 0.1]).labels[-1] == "minor_revise"
    assert label_by_likelihood(values, [0, 0, 0, 0.1], t_no=0.1).labels[-1] == "no_revise"


@pytest.mark.parametrize(("one", "two"), [([], []), ([0.1], [0.1, 0.2]), ([math.nan], [0.0])])
def test_information_needs_the_same_finite_tokens(one: list[float], two: list[float]) -> None:
    with pytest.raises(BadData):
        pointwise_information(one, two)


logits = st.lists(st.floats(-60, 60), min_size=3, max_size=3)


@given(logits, st.floats(-50, 50))
def test_label_probabilities_sum_to_one_and_ignore_other_tokens(
    values: list[float], normaliser: float
) -> None:
    found = label_probabilities(values)
    assert sum(found) == pytest.approx(1)
    assert label_probabilities([v - normaliser for v in values]) == pytest.approx(found)


@given(st.lists(logits, min_size=1, max_size=20), st.floats(0, 1), st.floats(0, 1))
def test_a_higher_threshold_copies_no_more_answers(
    rows: list[list[float]], one: float, two: float
) -> None:
    found = [label_probabilities(row) for row in rows]
    low, high = (
        sum(decide(p, theta) == "no_revise" for p in found)
        for theta in (min(one, two), max(one, two))
    )
    assert low >= high
    assert all(decide(p, 0.0) == "no_revise" for p in found)  # the identity reviser
    assert all(decide(p, 1.5) != "no_revise" for p in found)  # above any probability
    assert decide(label_probabilities([60.0, 0.0, 0.0]), 1.0) == "no_revise"


@given(
    st.lists(st.tuples(dyadic, dyadic, st.integers(0, 9), st.integers(0, 9)), max_size=20),
    dyadic,
    dyadic,
)
def test_a_higher_gain_accepts_no_more_revisions(
    rows: list[tuple[float, float, int, int]], one: float, two: float
) -> None:
    low, high = (
        sum(Gate(min_gain=gain).accepts(*row) for row in rows)
        for gain in (min(one, two), max(one, two))
    )
    assert low >= high


def test_empty_sources_and_revisions_are_never_accepted() -> None:
    for gate in (Gate(), Gate(min_gain=-9.0), Gate(max_length_ratio=100.0)):
        assert not gate.accepts(0.0, 1.0, 3, 0)
        assert not gate.accepts(0.0, 1.0, 0, 3)
        assert gate.accepts(0.0, 1.0, 3, 3)
    with pytest.raises(BadData, match="scorer"):
        Gate(min_gain=0.0).accepts(None, None, 3, 3)
    with pytest.raises(BadData, match="finite"):
        Gate(min_gain=0.0).accepts(math.nan, 1.0, 3, 3)


@given(st.integers(1, 12))
def test_the_schedule_ends_with_the_external_reviser(rounds: int) -> None:
    shares = [external_share(k, rounds) for k in range(rounds)]
    assert shares[-1] == 1
    assert shares == sorted(shares)
    assert rounds == 1 or shares[0] == 0
    assert np.allclose(np.diff(shares), 1 / max(1, rounds - 1))
