"""MK-TOD's losses, meta knowledge and distant labels against golden vectors, and their laws."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from methods.mktod import maker_released as released
from methods.mktod.labels import distant_label
from methods.mktod.losses import (
    MktodWeights,
    contrastive_loss,
    distillation_loss,
    in_batch_contrastive,
    marginal_loss,
    posterior,
    retrieval_log_probs,
    sequence_log_likelihood,
    total_loss,
)
from methods.mktod.meta_knowledge import meta_knowledge, of_row
from tests.golden_vectors import vectors

Golden = Callable[[str], Path]
TIGHT = {"rtol": 1e-10, "atol": 1e-10}


def double(values: Any, grad: bool = False) -> Tensor:
    return torch.tensor(values, dtype=torch.float64, requires_grad=grad)


@pytest.fixture
def cases(golden: Golden) -> Any:
    return vectors(golden("mktod/losses.json"))


def equal(found: Tensor, expected: Any) -> None:
    torch.testing.assert_close(found.detach(), double(expected), **TIGHT)


def test_golden_marginal_likelihoods_and_gradients(cases: Any) -> None:
    for case in cases["mml"]:
        scores, likelihoods = (
            double([case["scores"]], True),
            double([case["log_likelihoods"]], True),
        )
        tau = case["temperature"]
        loss = marginal_loss(scores, likelihoods, tau)
        equal(loss[0], case["loss"])
        equal(retrieval_log_probs(scores, tau).exp()[0], case["retrieval_probs"])
        equal(posterior(scores, likelihoods, tau)[0], case["posterior"])
        loss.sum().backward()
        assert scores.grad is not None
        assert likelihoods.grad is not None
        equal(scores.grad[0], case["grad_scores"])
        equal(likelihoods.grad[0], case["grad_log_likelihoods"])


def test_golden_gradients_reach_the_embeddings(cases: Any) -> None:
    case = cases["from_embeddings"]
    context, entities = double(case["context"], True), double(case["entities"], True)
    scores = torch.einsum("bd,bkd->bk", context, entities)
    loss = marginal_loss(scores, double(case["log_likelihoods"])).mean()
    equal(loss, case["loss_batch_mean"])
    loss.backward()
    assert context.grad is not None
    assert entities.grad is not None
    equal(context.grad, case["grad_context"])
    equal(entities.grad, case["grad_entities"])


def test_golden_sequence_likelihoods(cases: Any) -> None:
    case = cases["sequence_likelihood"]
    total, mean = sequence_log_likelihood(double(case["token_log_probs"]), double(case["mask"]))
    equal(total, case["sequence_log_likelihood"])
    equal(mean, case["length_normalised"])


def test_golden_contrastive_losses_and_gradients(cases: Any) -> None:
    for case in cases["contrastive"]:
        positive = double([case["positive_avg_loglik"]], True)
        baseline = double([case["baseline_avg_loglik"]], True)
        loss = contrastive_loss(positive, baseline, case["margin"])
        equal(loss[0], case["loss_sum"])
        loss.sum().backward()
        assert positive.grad is not None
        assert baseline.grad is not None
        equal(positive.grad[0], case["grad_positive"])
        equal(baseline.grad[0], case["grad_baseline"])


def test_golden_totals(cases: Any) -> None:
    for case in cases["total_loss"]:
        weights = MktodWeights(alpha=case["alpha"], beta=case["beta"], gamma=case["gamma"])
        terms = (double(case[name]) for name in ("nll", "mml", "ctr"))
        equal(total_loss(*terms, weights), case["total"])


def test_golden_in_batch_losses(cases: Any) -> None:
    case = cases["in_batch_contrastive"]
    queries, entities = double(case["queries"]), double(case["entities"])
    ids, tau = torch.tensor(case["entity_ids"]), case["temperature"]
    equal(in_batch_contrastive(queries, entities, None, tau), case["loss_plain"])
    equal(in_batch_contrastive(queries, entities, ids, tau), case["loss_duplicates_masked"])


def test_golden_distillation_as_written_and_as_released(cases: Any) -> None:
    case = cases["kl_distillation"]
    student, teacher = double(case["student_scores"]), double(case["teacher_scores"])
    equal(distillation_loss(student, teacher), case["kl_sum_over_k_mean_over_batch"])
    equal(released.distillation_loss(student, teacher), case["kl_mean_over_all_elements"])


def test_golden_meta_knowledge(golden: Golden) -> None:
    for case in vectors(golden("mktod/meta_knowledge.json"))["cases"]:
        for record in case["records"]:
            rank = None if record["negative"] else record["rank"]
            given_ = (rank, record["score"], record["entity"], case["context"])
            found, other = meta_knowledge(*given_), meta_knowledge(*given_, "footnote")
            assert found.confidence == record["confidence"], record
            assert other.confidence == record["confidence_alt_0_4"], record
            assert found.cooccurrence == record["cooccurrence"], record
            assert found.prefix() == record["prefix_confidence_order"], record
            tokens = found.tokens
            assert tokens["order"] == record["order_token"]
            assert tokens["confidence"] == record["confidence_token"]
            assert tokens["cooccurrence"] == record["cooccurrence_token"]


def test_golden_distant_labels(golden: Golden) -> None:
    table = vectors(golden("mktod/distant_supervision.json"))
    for case in table["cases"]:
        found = distant_label(case["context"], case["response"], table["kb"])
        assert found == (case["counts"], case["label"], case["tie"]), case


# --- Laws

SEEDS = st.integers(0, 999)


def drawn(seed: int, k: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(3, k, generator=generator, dtype=torch.float64)
    return scores, -20 * torch.rand(3, k, generator=generator, dtype=torch.float64)


@given(SEEDS)
def test_the_loss_is_between_the_likelihoods_and_below_their_mean(seed: int) -> None:
    scores, likelihoods = drawn(seed)
    loss = marginal_loss(scores, likelihoods)
    q = retrieval_log_probs(scores).exp()
    assert (loss >= -likelihoods.max(dim=1).values - 1e-9).all()
    assert (loss <= (q * -likelihoods).sum(dim=1) + 1e-9).all()  # Jensen


@given(SEEDS)
def test_the_retriever_is_pulled_to_the_posterior(seed: int) -> None:
    scores, likelihoods = drawn(seed)
    scores.requires_grad_()
    marginal_loss(scores, likelihoods, 0.5).sum().backward()
    expected = retrieval_log_probs(scores, 0.5).exp() - posterior(scores, likelihoods, 0.5)
    assert scores.grad is not None
    torch.testing.assert_close(scores.grad, expected.detach() / 0.5)
    torch.testing.assert_close(scores.grad.sum(dim=1), torch.zeros(3, dtype=torch.float64))


@given(SEEDS, st.floats(-50, 50))
def test_a_constant_on_all_scores_changes_nothing(seed: int, shift: float) -> None:
    scores, likelihoods = drawn(seed)
    torch.testing.assert_close(
        marginal_loss(scores + shift, likelihoods), marginal_loss(scores, likelihoods)
    )


def test_one_record_gives_its_likelihood_and_the_retriever_nothing() -> None:
    scores = double([[3.0]], True)
    loss = marginal_loss(scores, double([[-7.0]]))
    loss.sum().backward()
    assert loss.item() == 7
    assert scores.grad is not None
    assert scores.grad.item() == 0


@given(SEEDS)
def test_padding_has_no_gradient_and_changes_nothing(seed: int) -> None:
    scores, likelihoods = drawn(seed)
    mask = torch.tensor([[True, True, False, False], [True] * 4, [False] * 4])
    scores.requires_grad_()
    likelihoods.requires_grad_()
    loss = marginal_loss(scores, likelihoods, mask=mask)
    loss.sum().backward()
    torch.testing.assert_close(loss[0], marginal_loss(scores[:1, :2], likelihoods[:1, :2])[0])
    assert loss[2].item() == 0  # an empty base: the term is skipped
    for grad in (scores.grad, likelihoods.grad):
        assert grad is not None
        assert torch.isfinite(grad).all()
        assert (grad[~mask] == 0).all()
    assert (posterior(scores, likelihoods, mask=mask)[2] == 0).all()


def test_float32_agrees_for_very_unlikely_replies() -> None:
    scores, likelihoods = drawn(7)
    for scale in (1.0, 10.0, 100.0):
        exact = marginal_loss(scores, scale * likelihoods)
        single = marginal_loss(scores.float(), scale * likelihoods.float())
        torch.testing.assert_close(single.double(), exact, rtol=1e-5, atol=1e-4)


def test_a_margin_of_zero_costs_nothing_where_records_help() -> None:
    assert contrastive_loss(double([[-1.0, -2.0]]), double([-2.0]), 0.0).item() == 0


def test_the_negative_entity_is_low_and_new_whatever_its_score() -> None:
    assert {meta_knowledge(None, score, "efes", "is efes open") for score in (-1.0, 0.99)} == {
        (None, "low", "new")
    }


def test_a_record_without_a_name_is_new() -> None:
    assert meta_knowledge(1, 0.9, "", "any text").cooccurrence == "new"


def test_counts_of_a_rule_become_shares_of_the_best_match() -> None:
    records = [{"name": "efes"}, {"name": "nandos"}, {}]
    found = of_row(records, [4.0, 2.0, 0.0], ["is efes", "open ?"])
    assert [entry.confidence for entry in found] == ["high", "mid", "low"]
    assert [entry.cooccurrence for entry in found] == ["old", "new", "new"]
    assert of_row(records[:1], [0.8], [])[0].confidence == "high"  # a cosine


def test_labels_of_training_need_two_values_and_no_rival() -> None:
    records = [{"name": "a b", "food": "thai"}, {"name": "c", "food": "thai"}]
    assert distant_label("thai", "ok", records, min_count=2).label is None
    assert distant_label("thai", "ok", records, unique=True).label is None
    assert distant_label("thai", "try a b", records, min_count=2, unique=True).label == 0
    assert distant_label("thai", "", []).label is None


def test_released_truncation_loses_the_first_token() -> None:
    assert released.truncated([101, *range(5), 102], 4) == [2, 3, 4, 102]
    assert released.truncated([101, 102], 4) == [101, 102]
