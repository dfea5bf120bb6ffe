"""The decode loop: exact top-p, paddings, caches and seeds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.backends.base import Sampling
from harness.backends.decoding import decode, next_tokens, uniforms
from harness.backends.reading import ROOM

KINDS = ["llama", "neox", "mistral", "qwen"]
PROMPTS = [[5, 6, 7], [9, 8, 7, 6, 5, 4, 3, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19], [20, 21, 5, 9]]


def reference_choice(logits: np.ndarray, draw: float, temperature: float, top_p: float) -> int:
    """Temperature, then the smallest set of likeliest tokens that reaches top_p, by a loop."""
    scaled = torch.softmax(torch.tensor(logits) / temperature, dim=-1).numpy().astype(np.float64)
    order = np.argsort(-scaled, kind="stable")
    kept, mass = [], 0.0
    for token in order:
        if mass >= top_p and kept:
            break
        kept.append(token)
        mass += scaled[token]
    target, total = draw * mass, 0.0
    for token in kept:
        total += scaled[token]
        if total > target:
            return int(token)
    return int(kept[-1])


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    vocabulary=st.sampled_from([2, 7, 31, 33, 200, 1500]),
    top_p=st.sampled_from([1e-6, 0.1, 0.5, 0.9, 0.95, 0.999]),
    temperature=st.sampled_from([0.01, 0.3, 1.0, 5.0]),
    draw=st.one_of(st.floats(0, 1, exclude_max=True), st.just(1 - 2**-53), st.just(0.0)),
)
def test_top_p_is_exact(
    seed: int, vocabulary: int, top_p: float, temperature: float, draw: float
) -> None:
    logits = np.random.default_rng(seed).normal(size=vocabulary, scale=3).astype(np.float32)
    found = next_tokens(
        torch.tensor(logits)[None],
        torch.tensor([draw], dtype=torch.float64),
        temperature=temperature,
        top_p=top_p,
    )
    assert int(found) == reference_choice(logits, draw, temperature, top_p)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), draw=st.floats(0, 1, exclude_max=True))
def test_without_top_p_the_whole_distribution_is_inverted(seed: int, draw: float) -> None:
    logits = torch.tensor(np.random.default_rng(seed).normal(size=(1, 50)))
    weights = torch.softmax(logits.float(), -1).double()[0].numpy()
    cumulative = weights.cumsum()
    expected = int(np.searchsorted(cumulative, draw * cumulative[-1], side="right"))
    found = next_tokens(
        logits, torch.tensor([draw], dtype=torch.float64), temperature=1.0, top_p=1.0
    )
    assert int(found) == min(expected, 49)


def test_frequencies_follow_the_distribution() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05]])).repeat(40_000, 1)
    draws = torch.from_numpy(np.random.default_rng(0).random(40_000))
    counts = torch.bincount(next_tokens(logits, draws, temperature=1.0, top_p=0.9), minlength=4)
    shares = counts.double() / 40_000
    expected = torch.tensor([0.5, 0.3, 0.15, 0.0]).double() / 0.95
    assert torch.allclose(shares, expected, atol=0.01)


@pytest.mark.parametrize("temperature", [0.0, 9e-5, 1e-3])
def test_cold_sampling_is_greedy(temperature: float) -> None:
    logits = torch.randn(20, 60, generator=torch.Generator().manual_seed(0)) * 5
    draws = torch.linspace(0, 0.999, 20, dtype=torch.float64)
    found = next_tokens(logits, draws, temperature=temperature, top_p=1.0)
    assert found.tolist() == logits.argmax(-1).tolist()


def test_impossible_tokens_are_never_chosen() -> None:
    logits = torch.tensor([[-torch.inf, 1.0, -torch.inf, 1.0, -torch.inf]]).repeat(3, 1)
    draws = torch.tensor([0.0, 0.5, 1 - 2**-53], dtype=torch.float64)
    for top_p in (1.0, 0.9):
        found = next_tokens(logits, draws, temperature=1.0, top_p=top_p).tolist()
        assert set(found) <= {1, 3}


def test_draws_are_fixed_by_seed_id_and_sample() -> None:
    wide = uniforms(Sampling(n=4, seed=3), "a", 10)
    assert wide.shape == (4, 10)
    assert np.array_equal(wide[:2, :6], uniforms(Sampling(n=2, seed=3), "a", 6))
    assert not np.array_equal(wide[0], wide[1])
    assert not np.array_equal(wide, uniforms(Sampling(n=4, seed=3), "b", 10))
    assert not np.array_equal(wide, uniforms(Sampling(n=4, seed=4), "a", 10))


def decoded(model: Any, prompts: list[list[int]], sampling: Sampling, stop: list[int]) -> Any:
    draws = np.concatenate(
        [uniforms(sampling, str(prompt), sampling.max_tokens) for prompt in prompts]
    )
    return decode(model, prompts, sampling, draws, [sampling.max_tokens] * len(prompts), stop)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_and_cache_change_nothing(make_tiny_model: Callable[..., Any], kind: str) -> None:
    """A batch of prompts of unequal length equals each prompt alone, recomputed without a cache."""
    model = make_tiny_model(kind)
    sampling = Sampling(temperature=0.8, top_p=0.9, max_tokens=24, n=3, seed=1)
    together = decoded(model, PROMPTS, sampling, [])
    for number, prompt in enumerate(PROMPTS):
        draws = uniforms(sampling, str(prompt), 24)
        for sample in range(3):
            ids = list(prompt)
            for step in range(24):
                with torch.inference_mode():
                    logits = model(torch.tensor([ids]), use_cache=False).logits[:, -1]
                draw = torch.from_numpy(draws[sample, step : step + 1])
                ids.append(int(next_tokens(logits, draw, temperature=0.8, top_p=0.9)))
            row = together.tokens[number * 3 + sample].tolist()
            assert row == ids[len(prompt) :], f"{kind}, prompt {number}, sample {sample}"


@pytest.mark.parametrize("kind", ["llama", "neox", "mistral"])
def test_greedy_equals_the_librarys_generate(
    make_tiny_model: Callable[..., Any], kind: str
) -> None:
    model = make_tiny_model(kind)
    ours = decoded(model, [PROMPTS[1]], Sampling(max_tokens=30), [1])
    with torch.inference_mode():
        theirs = model.generate(
            torch.tensor([PROMPTS[1]]), do_sample=False, max_new_tokens=30, pad_token_id=2
        )
    assert ours.tokens[0, : ours.lengths[0]].tolist() == theirs[0, len(PROMPTS[1]) :].tolist()


@pytest.mark.parametrize("penalty", [1.05, 1.8])
def test_a_repetition_penalty_is_the_librarys(
    make_tiny_model: Callable[..., Any], penalty: float
) -> None:
    model = make_tiny_model("llama")
    sampling = Sampling(max_tokens=30, repetition_penalty=penalty)
    ours = decoded(model, PROMPTS, sampling, [])
    for row, prompt in enumerate(PROMPTS):
        with torch.inference_mode():
            theirs = model.generate(
                torch.tensor([prompt]), do_sample=False, max_new_tokens=30, min_new_tokens=30,
                pad_token_id=2, eos_token_id=None, repetition_penalty=penalty,
            )  # fmt: skip
        assert ours.tokens[row].tolist() == theirs[0, len(prompt) :].tolist()


def test_no_repetition_penalty_leaves_digests_alone() -> None:
    assert "repetition_penalty" not in Sampling().model_dump()
    assert Sampling(repetition_penalty=1.05).fingerprint != Sampling().fingerprint


def test_rows_that_end_leave_without_disturbing_the_others(
    make_tiny_model: Callable[..., Any],
) -> None:
    model = make_tiny_model("llama")
    sampling = Sampling(temperature=1.5, max_tokens=40, n=6, seed=5)
    free = decoded(model, PROMPTS, sampling, [])
    stop = list(range(0, 40))
    cut = decoded(model, PROMPTS, sampling, stop)
    assert cut.stopped.sum() > 0
    assert len(set(cut.lengths.tolist())) > 3
    for row in range(len(free.tokens)):
        hits = np.flatnonzero(free.tokens[row] < 40)
        length = hits[0] + 1 if len(hits) else 40
        assert cut.lengths[row] == length
        assert bool(cut.stopped[row]) == bool(len(hits))
        assert cut.tokens[row, :length].tolist() == free.tokens[row, :length].tolist()


def test_answers_longer_than_the_spare_room(make_tiny_model: Callable[..., Any]) -> None:
    model = make_tiny_model("llama")
    long = ROOM + 20
    ours = decoded(model, [PROMPTS[0]], Sampling(max_tokens=long), [])
    with torch.inference_mode():
        ids = torch.tensor([PROMPTS[0] + ours.tokens[0].tolist()])
        logits = model(ids, use_cache=False).logits[0, len(PROMPTS[0]) - 1 : -1]
    assert logits.argmax(-1).tolist() == ours.tokens[0].tolist()


def test_limits_are_per_prompt(make_tiny_model: Callable[..., Any]) -> None:
    model = make_tiny_model("llama")
    sampling = Sampling(temperature=1.0, max_tokens=12, n=2)
    draws = np.concatenate([uniforms(sampling, str(p), 12) for p in PROMPTS])
    result = decode(model, PROMPTS, sampling, draws, [12, 3, 1], [])
    assert result.lengths.tolist() == [12, 12, 3, 3, 1, 1]
    assert not result.stopped.any()


def test_logits_that_are_no_numbers_are_reported(make_tiny_model: Callable[..., Any]) -> None:
    model = make_tiny_model("llama")
    with torch.no_grad():
        model.lm_head.weight[7] = torch.nan
    for temperature in (0.0, 1.0):
        result = decoded(model, PROMPTS, Sampling(temperature=temperature, max_tokens=5), [])
        assert result.broken.all()
