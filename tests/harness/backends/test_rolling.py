"""Decoding in a batch that is refilled: the answers of fixed batches, in fewer passes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch

from harness.backends.base import Request, Sampling, messages_of
from harness.backends.decoding import Decoded, decode, uniforms
from harness.backends.hf import HFBackend
from harness.backends.rolling import can_roll, decode_rolling

CAPACITY = 4
GREEDY = Sampling(max_tokens=24)
SAMPLED = Sampling(temperature=0.9, top_p=0.95, max_tokens=16, seed=3)


def prompts_of(count: int) -> list[list[int]]:
    rng = np.random.default_rng(0)
    return sorted(
        (rng.integers(5, 300, rng.integers(1, 60)).tolist() for _ in range(count)), key=len
    )


def arguments(count: int, sampling: Sampling) -> dict[str, Any]:
    limits = [int(n) for n in np.random.default_rng(1).integers(1, sampling.max_tokens + 1, count)]
    draws = np.concatenate([uniforms(sampling, str(n), max(limits)) for n in range(count)])
    return {
        "prompts": prompts_of(count),
        "sampling": sampling,
        "draws": draws,
        "limits": limits,
        "stop": [1, 7, 8, 9],
    }


def in_batches(model: Any, *, prompts: Any, draws: Any, limits: Any, **rest: Any) -> list[Decoded]:
    cuts = [slice(n, n + CAPACITY) for n in range(0, len(prompts), CAPACITY)]
    return [
        decode(model, prompts[cut], draws=draws[cut], limits=limits[cut], **rest) for cut in cuts
    ]


def written(decoded: Decoded) -> list[tuple[list[int], bool, bool]]:
    return [
        (row[:length].tolist(), bool(stopped), bool(broken))
        for row, length, stopped, broken in zip(
            decoded.tokens, decoded.lengths, decoded.stopped, decoded.broken
        )
    ]


@contextmanager
def counted(model: Any) -> Iterator[list[int]]:
    """Rows of every forward pass inside."""
    rows: list[int] = []
    handle = model.register_forward_pre_hook(
        lambda module, args, kwargs: rows.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    try:
        yield rows
    finally:
        handle.remove()


@pytest.mark.parametrize("kind", ["llama", "neox", "qwen"])
@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_the_answers_of_fixed_batches_in_fewer_passes(
    make_tiny_model: Callable[..., Any], kind: str, sampling: Sampling
) -> None:
    model = make_tiny_model(kind)
    assert can_roll(model)
    given = arguments(18, sampling)
    with counted(model) as fixed:
        expected = [row for part in in_batches(model, **given) for row in written(part)]
    with counted(model) as rolling:
        found = written(decode_rolling(model, capacity=CAPACITY, **given))
    assert found == expected
    assert max(rolling) <= CAPACITY
    assert len(rolling) < 0.8 * len(fixed)


def test_long_streams_drop_the_columns_that_nobody_needs(
    make_tiny_model: Callable[..., Any],
) -> None:
    """Many more columns are written in all than the cache ever holds."""
    model = make_tiny_model("llama")
    given = arguments(40, Sampling(max_tokens=60)) | {"stop": []}
    widths = []
    forward = model.model.forward

    def watched(*args: Any, **kwargs: Any) -> Any:
        cache = kwargs["past_key_values"]
        if cache is not None:
            widths.append(cache.layers[0]._keys.shape[2])
        return forward(*args, **kwargs)

    model.model.forward = watched
    found = decode_rolling(model, capacity=2, **given)
    assert found.lengths.tolist() == given["limits"]
    assert len(widths) > 512  # passes, each of which writes a column
    assert max(widths) == 256


def test_a_long_prompt_behind_short_ones_gets_columns_in_front(
    make_tiny_model: Callable[..., Any],
) -> None:
    model = make_tiny_model("llama")
    given = arguments(12, GREEDY) | {"limits": [5] * 12}
    given["prompts"] = [[5, 6]] * 8 + [list(range(10, 130))] * 4
    expected = [row for part in in_batches(model, **given) for row in written(part)]
    assert written(decode_rolling(model, capacity=CAPACITY, **given)) == expected


def test_one_slot_and_answers_of_one_token(make_tiny_model: Callable[..., Any]) -> None:
    model = make_tiny_model("llama")
    given = arguments(9, GREEDY) | {"limits": [1, 1, 1, 1, 1, 1, 2, 1, 1]}
    found = decode_rolling(model, capacity=1, **given)
    assert found.lengths.tolist() == given["limits"] or found.stopped.any()
    expected = [row for part in in_batches(model, **given) for row in written(part)]
    assert written(found) == expected


def test_rows_whose_logits_are_no_numbers_leave_the_others_alone(
    make_tiny_model: Callable[..., Any],
) -> None:
    model = make_tiny_model("llama")
    with torch.no_grad():
        model.model.embed_tokens.weight[250] = torch.nan
    given = arguments(20, SAMPLED)
    given["prompts"] = [[token % 240 + 5 for token in prompt] for prompt in given["prompts"]]
    for number in (0, 7, 19):
        given["prompts"][number][0] = 250
    found = decode_rolling(model, capacity=CAPACITY, **given)
    assert set(np.flatnonzero(found.broken)) >= {0, 7, 19}
    expected = [row for part in in_batches(model, **given) for row in written(part)]
    for mine, theirs in zip(written(found), expected):
        assert mine == theirs or (mine[2] and theirs[2])


def test_the_backend_rolls_where_prompts_outnumber_the_rows(
    make_tiny_model: Callable[..., Any], make_byte_tokenizer: Callable[..., Any]
) -> None:
    tokenizer = make_byte_tokenizer()
    model = make_tiny_model("llama", len(tokenizer))
    requests = [
        Request(
            id=f"r{n}",
            messages=messages_of([{"role": "user", "content": "Hello " * (1 + n % 7)}]),
            sampling=SAMPLED.model_copy(update={"seed": n}),
        )
        for n in range(20)
    ]
    wide = {r.id: r for r in HFBackend(model, tokenizer).generate(requests)}
    with counted(model) as rows:
        narrow = {r.id: r for r in HFBackend(model, tokenizer, max_rows=3).generate(requests)}
    assert narrow == wide
    assert max(rows) == 3
    again = {r.id: r for r in HFBackend(model, tokenizer, max_rows=3).generate(requests[::-1])}
    assert again == narrow


def test_caches_with_a_window_and_several_samples_keep_fixed_batches(
    make_tiny_model: Callable[..., Any], make_byte_tokenizer: Callable[..., Any]
) -> None:
    tokenizer = make_byte_tokenizer()
    assert not can_roll(make_tiny_model("mistral", len(tokenizer)))
    model = make_tiny_model("llama", len(tokenizer))
    several = Request(
        id="x",
        messages=messages_of([{"role": "user", "content": "Hello"}]),
        sampling=Sampling(temperature=1.0, max_tokens=5, n=6),
    )
    (response,) = HFBackend(model, tokenizer, max_rows=2).generate([several])
    assert len(response.completions) == 6
