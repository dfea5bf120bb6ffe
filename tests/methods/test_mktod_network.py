"""The generator's views: encoded once, shared by all decoders; likelihoods and greedy replies."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from methods.mktod.network import Generator, Memory, TurnViews, stacked
from tests.methods.mktod_world import generator

TURNS = [
    TurnViews([5, 6, 7], [[8, 9], [10, 11, 12]]),
    TurnViews([9, 4], [[7, 7, 7, 8]]),
    TurnViews([6, 6], []),
]
REPLIES = [[8, 9, 1], [4, 1], [5, 6, 7, 1]]
FUSIONS = ("fid", "concat", "split")


def counted(made: Generator) -> list[int]:
    """Number of texts of each call of the encoder from now on."""
    calls: list[int] = []
    made.model.get_encoder().register_forward_pre_hook(
        lambda module, args, kwargs: calls.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    return calls


def test_all_views_of_a_batch_are_encoded_in_one_call() -> None:
    made, _ = generator()
    calls = counted(made)
    found = made.memories(TURNS, singles=True, bare=True)
    labels = stacked(REPLIES)
    assert found.singles is not None
    assert found.bare is not None
    made.token_log_probs(found.joint, labels)
    made.token_log_probs(found.singles, labels.repeat_interleave(2, dim=0))
    made.token_log_probs(found.bare, labels)
    assert calls == [3 * 2 + 3]  # two records of three turns, and three bare contexts


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_single_view_is_what_the_model_reads_alone(fusion: Any) -> None:
    made, _ = generator(fusion)
    found = made.memories(TURNS, singles=True, bare=True)
    assert found.singles is not None
    assert found.bare is not None
    assert found.present.tolist() == [[True, True], [True, False], [False, False]]
    labels = stacked(REPLIES)
    own = made.token_log_probs(found.singles, labels.repeat_interleave(2, dim=0))[1]
    (alone,) = made.token_log_probs(
        made.memories([TurnViews([5, 6, 7], [[10, 11, 12]])], False, False).joint,
        stacked(REPLIES[:1]),
    )
    torch.testing.assert_close(own[:3], alone)
    bare = made.token_log_probs(found.bare, labels)
    torch.testing.assert_close(bare[2], made.token_log_probs(found.joint, labels)[2])


def test_without_copying_the_likelihood_is_that_of_transformers() -> None:
    made, _ = generator()
    memory = made.encode([[5, 6, 7], [9, 4]])
    labels = stacked(REPLIES[:2])
    found = made.token_log_probs(memory, labels)
    loss = made.model(input_ids=memory.ids, attention_mask=memory.mask, labels=labels).loss
    torch.testing.assert_close(-found.sum() / (labels >= 0).sum(), loss)
    assert found[1, 2] == 0  # padding


def test_with_copying_probabilities_still_sum_to_one() -> None:
    made, tokenizer = generator(copying=True)
    memory = made.encode([[5, 6, 7], [9, 4]])
    every = torch.arange(len(tokenizer))
    rows = Memory(*(part[:1].repeat_interleave(len(every), 0) for part in memory))
    found = made.token_log_probs(rows, every[:, None])
    torch.testing.assert_close(found.exp().sum(), torch.tensor(1.0))
    plain = Generator(made.model, "fid", False, made.end).token_log_probs(rows, every[:, None])
    assert found[5] > plain[5]  # token 5 stands in the text
    assert found[8] < plain[8]


@pytest.mark.parametrize("copying", [False, True])
@pytest.mark.parametrize("fusion", FUSIONS)
def test_gradients_are_numbers_and_absent_records_have_none(fusion: Any, copying: bool) -> None:
    made, _ = generator(fusion, copying)
    found = made.memories(TURNS, singles=True, bare=False)
    assert found.singles is not None
    labels = stacked(REPLIES).repeat_interleave(2, dim=0)
    log_probs = made.token_log_probs(found.singles, labels).sum(dim=-1).reshape(3, 2)
    log_probs.masked_fill(~found.present, 0.0).sum().backward()
    gradient = made.model.get_input_embeddings().weight.grad
    assert torch.isfinite(gradient).all()
    assert gradient.abs().sum() > 0


@pytest.mark.parametrize("copying", [False, True])
@pytest.mark.parametrize("fusion", ["fid", "split"])
def test_the_order_of_records_does_not_matter_without_meta_knowledge(
    fusion: Any, copying: bool
) -> None:
    made, _ = generator(fusion, copying)
    labels = stacked(REPLIES[:1])
    one, other = (
        made.token_log_probs(made.memories([TurnViews([5, 6], r)], False, False).joint, labels)
        for r in ([[8, 9], [10, 11]], [[10, 11], [8, 9]])
    )
    torch.testing.assert_close(one, other)


@pytest.mark.parametrize("copying", [False, True])
@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_greedy_reply_is_the_most_probable_token_each_time(fusion: Any, copying: bool) -> None:
    made, tokenizer = generator(fusion, copying)
    memory = made.memories(TURNS, singles=False, bare=False).joint
    for row, written in enumerate(made.greedy(memory, most=4)):
        ids = [*written, made.end][:4]
        for place, chosen in enumerate(ids):
            every = torch.arange(len(tokenizer))[:, None]
            labels = torch.cat([torch.tensor([ids[:place]] * len(every)).long(), every], dim=1)
            rows = memory.rows(torch.full((len(every),), row))
            assert made.token_log_probs(rows, labels)[:, -1].argmax() == chosen
