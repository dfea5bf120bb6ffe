"""Chunked log-probabilities against whole logits, golden vectors, and laws of padding."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from harness.core.errors import BadData, UserError
from harness.models import heads, logprobs
from harness.models.heads import check_head, output_head, transform
from harness.models.logprobs import dense_logprobs, sequence_logprobs, token_logprobs, top_logprobs
from harness.models.tokenize import IGNORE
from tests.golden_vectors import vectors

KINDS = ["llama", "tied", "neox", "gemma2", "cohere", "granite"]


def ragged_batch(
    vocabulary: int,
    lengths: list[tuple[int, int]],
    seed: int = 0,
    pad_to: int = 0,
    left: bool = False,
) -> dict[str, Tensor]:
    """Sequences of (prompt, response) lengths with labels on the response."""
    generator = torch.Generator().manual_seed(seed)
    width = max(pad_to, *(p + r for p, r in lengths))
    batch = {
        "input_ids": torch.zeros(len(lengths), width, dtype=torch.long),
        "attention_mask": torch.zeros(len(lengths), width, dtype=torch.long),
        "labels": torch.full((len(lengths), width), IGNORE),
    }
    for row, (prompt, response) in enumerate(lengths):
        total = prompt + response
        ids = torch.randint(0, vocabulary, (total,), generator=generator)
        start = width - total if left else 0
        batch["input_ids"][row, start : start + total] = ids
        batch["attention_mask"][row, start : start + total] = 1
        batch["labels"][row, start + prompt : start + total] = ids[prompt:]
    return batch


def dense_of(model: Any, batch: dict[str, Tensor]) -> Tensor:
    output = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
    return dense_logprobs(output.logits, batch["labels"])


def gradients(model: Any) -> dict[str, Tensor]:
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_values_and_gradients_equal_those_of_whole_logits(kind: str, model_of: Any) -> None:
    model = model_of(kind).double()
    batch = ragged_batch(40, [(3, 5), (2, 1), (6, 4)])
    weights = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    dense = dense_of(model, batch)
    (dense * weights).sum().backward()
    expected = gradients(model)
    sums, counts = sequence_logprobs(model, batch, tile_bytes=64)
    (sums * weights).sum().backward()
    found = gradients(model)
    torch.testing.assert_close(sums, dense, rtol=1e-10, atol=1e-10)
    assert counts.tolist() == [5, 1, 4]
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-8, atol=1e-10, msg=name)


@pytest.mark.parametrize("cap", [None, 3.0])
@pytest.mark.parametrize("with_bias", [False, True])
def test_the_custom_backward_passes_gradcheck(
    cap: float | None, with_bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logprobs, "TILE_ROWS", 3)
    torch.manual_seed(0)
    hidden = torch.randn(7, 5, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(11, 5, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(11, dtype=torch.float64, requires_grad=True) if with_bias else None
    words = torch.randint(0, 11, (7, 3))
    words[0] = 4  # one word three times

    def function(h: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
        return logprobs._GatheredLogProbs.apply(h, w, b, words, (0.7, cap), 96)

    assert torch.autograd.gradcheck(function, (hidden, weight, bias))


@pytest.mark.parametrize("bias", [False, True])
def test_a_head_with_bias_is_scored_with_it(bias: bool, model_of: Any) -> None:
    model = model_of("neox")
    old = model.get_output_embeddings()
    head = torch.nn.Linear(old.in_features, old.out_features, bias=bias)
    model.set_output_embeddings(head)
    batch = ragged_batch(40, [(2, 3), (1, 4)])
    torch.testing.assert_close(sequence_logprobs(model, batch)[0], dense_of(model, batch))
    sequence_logprobs(model, batch)[0].sum().backward()
    assert (head.bias is not None and head.bias.grad is not None) == bias


@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.tuples(st.integers(1, 6), st.integers(0, 7)), min_size=1, max_size=4),
    vocabulary=st.integers(8, 43),
    tile_bytes=st.sampled_from([8, 100, 1000, 1 << 20]),
    seed=st.integers(0, 1000),
)
def test_any_shape_and_tile_equals_dense(
    lengths: list[tuple[int, int]], vocabulary: int, tile_bytes: int, seed: int
) -> None:
    model = SHARED["llama"]
    batch = ragged_batch(vocabulary, lengths, seed)
    sums, counts = sequence_logprobs(model, batch, tile_bytes=tile_bytes)
    torch.testing.assert_close(sums, dense_of(model, batch), rtol=1e-4, atol=1e-4)
    assert counts.tolist() == [response for _, response in lengths]


@pytest.mark.parametrize("kind", ["llama", "neox"])
@pytest.mark.parametrize("pad_to", [0, 25])
@pytest.mark.parametrize("left", [False, True])
def test_padding_side_and_amount_change_nothing(
    kind: str, pad_to: int, left: bool, model_of: Any
) -> None:
    model = model_of(kind).double()
    lengths = [(3, 5), (2, 1), (6, 4)]
    tight, counts = sequence_logprobs(model, ragged_batch(40, lengths))
    padded, padded_counts = sequence_logprobs(
        model, ragged_batch(40, lengths, pad_to=pad_to, left=left)
    )
    torch.testing.assert_close(padded, tight, rtol=1e-9, atol=1e-9)
    assert padded_counts.tolist() == counts.tolist()


def test_splitting_a_batch_leaves_the_gradient_unchanged(model_of: Any) -> None:
    model = model_of("tied").double()
    batch = ragged_batch(40, [(3, 5), (2, 1), (6, 4), (1, 7)])
    sequence_logprobs(model, batch)[0].sum().backward()
    whole = gradients(model)
    for part in (slice(0, 1), slice(1, 4)):
        sequence_logprobs(model, {k: v[part] for k, v in batch.items()})[0].sum().backward()
    for name, value in gradients(model).items():
        torch.testing.assert_close(value, whole[name], rtol=1e-9, atol=1e-12)


def test_token_values_stand_under_their_tokens(model_of: Any) -> None:
    model = model_of("llama")
    batch = ragged_batch(40, [(3, 2), (1, 4)])
    logps, counted = token_logprobs(model, batch)
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    expected = logits.log_softmax(-1)[1, 2, batch["input_ids"][1, 3]]
    torch.testing.assert_close(logps[1, 2], expected)
    assert counted.tolist() == [[False, False, True, True], [True] * 4]
    assert logps[0, 0] == 0


def test_a_batch_without_labels_is_zero_and_stays_connected(model_of: Any) -> None:
    model = model_of("llama")
    batch = ragged_batch(40, [(3, 0), (5, 0)])
    sums, counts = sequence_logprobs(model, batch)
    sums.sum().backward()
    assert sums.tolist() == [0, 0]
    assert counts.tolist() == [0, 0]
    assert all(float(g.abs().sum()) == 0 for g in gradients(model).values())


def test_extreme_logits_stay_finite(model_of: Any) -> None:
    model = model_of("llama")
    model.get_output_embeddings().weight.data *= 1e4
    sums, _ = sequence_logprobs(model, ragged_batch(40, [(3, 5)]), tile_bytes=64)
    sums.sum().backward()
    assert torch.isfinite(sums).all()
    assert all(torch.isfinite(g).all() for g in gradients(model).values())


def test_bfloat16_models_are_scored_in_float32(model_of: Any) -> None:
    model = model_of("llama").bfloat16()
    batch = ragged_batch(40, [(3, 5), (2, 6)])
    sums, _ = sequence_logprobs(model, batch, tile_bytes=256)
    sums.sum().backward()
    found = gradients(model)["lm_head.weight"]
    with torch.no_grad():
        hidden = heads.hidden_states(model, batch)
    head = model.lm_head.weight.detach().float().requires_grad_()
    expected = dense_logprobs(hidden.float() @ head.T, batch["labels"])
    expected.sum().backward()
    assert sums.dtype == torch.float32
    torch.testing.assert_close(sums, expected)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), head.grad, rtol=1e-2, atol=1e-2)


def test_autocast_rounds_the_operands_and_keeps_wide_sums(model_of: Any) -> None:
    model = model_of("llama")
    batch = ragged_batch(40, [(3, 5), (2, 6)])
    exact, _ = sequence_logprobs(model, batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, _ = sequence_logprobs(model, batch)
    found.sum().backward()
    assert found.dtype == torch.float32
    assert model.lm_head.weight.grad.dtype == torch.float32
    torch.testing.assert_close(found, exact, rtol=0.05, atol=0.5)
    assert not torch.equal(found, exact)


def test_no_tensor_of_positions_times_words_is_ever_made(model_of: Any) -> None:
    from torch.utils._python_dispatch import TorchDispatchMode

    class Largest(TorchDispatchMode):
        size = 0

        def __torch_dispatch__(
            self, function: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            made = function(*args, **(kwargs or {}))
            for item in made if isinstance(made, tuple | list) else (made,):
                if isinstance(item, Tensor):
                    self.size = max(self.size, item.numel())
            return made

    words, positions = 5000, 60
    model = model_of("llama", vocabulary=words)
    batch = ragged_batch(words, [(4, 30), (3, 30)])
    with Largest() as ours:
        sequence_logprobs(model, batch, tile_bytes=1 << 14)[0].sum().backward()
    assert ours.size <= words * 16  # the head itself and its gradient
    with Largest() as dense:
        dense_of(model, batch).sum().backward()
    assert dense.size >= words * positions


@pytest.mark.parametrize(("tile_bytes", "k"), [(96, 4), (96, 40), (1 << 20, 4)])
def test_the_likeliest_words_are_found_across_tiles(tile_bytes: int, k: int, model_of: Any) -> None:
    head = output_head(model_of("gemma2"))
    hidden = torch.randn(9, head.weight.shape[1])
    words = torch.randint(0, len(head.weight), (9, 2))
    values, ids, given = top_logprobs(hidden, head, k, words, tile_bytes=tile_bytes)
    logits = transform((hidden @ head.weight.T).detach(), head.scale, head.cap)
    expected = logits.log_softmax(-1)
    torch.testing.assert_close(values, expected.topk(k).values, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(expected.gather(1, ids), values, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(given, expected.gather(1, words), rtol=1e-5, atol=1e-5)
    hidden[3] = torch.nan
    values = top_logprobs(hidden, head, k, words, tile_bytes=tile_bytes)[0]
    assert values.isnan().any(dim=1).tolist() == [place == 3 for place in range(9)]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_gpu_agrees_with_the_cpu(dtype: torch.dtype, model_of: Any) -> None:
    batch = ragged_batch(40, [(3, 5), (2, 6)])
    found = []
    for device in ("cpu", "cuda"):
        model = model_of("llama").to(device, dtype)
        sums, _ = sequence_logprobs(model, {k: v.to(device) for k, v in batch.items()})
        sums.sum().backward()
        found.append((sums.detach().cpu(), model.lm_head.weight.grad.float().cpu()))
    tolerance = 1e-3 if dtype == torch.float32 else 5e-2
    for cpu, cuda in zip(*found, strict=True):
        torch.testing.assert_close(cuda, cpu, rtol=tolerance, atol=tolerance)


def test_a_frozen_head_gets_no_gradient(model_of: Any) -> None:
    model = model_of("llama")
    model.lm_head.weight.requires_grad_(False)
    sequence_logprobs(model, ragged_batch(40, [(3, 5)]))[0].sum().backward()
    found = gradients(model)
    assert "lm_head.weight" not in found
    assert float(found["model.norm.weight"].abs().sum()) > 0


def test_golden_values_of_the_released_code(golden: Callable[[str], Path]) -> None:
    for case in vectors(golden("wrpo/sequence_logprobs.json"))["cases"]:
        logits = torch.tensor(case["logits"], dtype=torch.float64)
        labels = torch.tensor(case["labels"])
        released = dense_logprobs(logits, labels, average=True, released=True)
        clamped = dense_logprobs(logits, labels, average=True)
        key = "average_with_denominator_clamped_to_1_open_instruct"
        assert dense_logprobs(logits, labels).tolist() == pytest.approx(case["sum"], rel=1e-12)
        assert released.tolist() == pytest.approx(numbers(case["average"]), rel=1e-12, nan_ok=True)
        assert clamped.tolist() == pytest.approx(numbers(case[key]), rel=1e-12)
        # The chunked form on the same numbers: hidden states that are the logits, an identity head.
        counted = labels[:, 1:] != IGNORE
        assert counted.sum(1).tolist() == case["counted_tokens"]
        words = torch.eye(logits.shape[-1], dtype=torch.float64)
        values = logprobs._GatheredLogProbs.apply(
            logits[:, :-1][counted], words, None, labels[:, 1:][counted][:, None], (1.0, None), 48
        )[:, 0]
        sums = torch.zeros(counted.shape, dtype=torch.float64).masked_scatter(counted, values)
        assert sums.sum(1).tolist() == pytest.approx(case["sum"], rel=1e-12)


def numbers(values: list[Any]) -> list[float]:
    return [math.nan if value == "NaN" else float(value) for value in values]


def test_shapes_that_do_not_fit_are_refused(model_of: Any) -> None:
    with pytest.raises(BadData, match="expected the same except for the vocabulary"):
        dense_logprobs(torch.zeros(2, 3, 4), torch.zeros(2, 4, dtype=torch.long))
    batch = ragged_batch(40, [(3, 5)])
    with pytest.raises(BadData, match="expected that of input_ids"):
        sequence_logprobs(model_of("llama"), {**batch, "labels": batch["labels"][:, 1:]})


def test_a_model_without_a_head_is_refused(model_of: Any) -> None:
    with pytest.raises(UserError, match="no output head"):
        sequence_logprobs(model_of("llama").model, ragged_batch(40, [(3, 5)]))


@pytest.mark.parametrize("kind", KINDS)
def test_heads_of_known_families_pass_the_check(kind: str, model_of: Any) -> None:
    check_head(model_of(kind))


def test_an_unknown_transformation_of_logits_is_found(model_of: Any) -> None:
    class Twisted(torch.nn.Linear):
        def forward(self, hidden: Tensor) -> Tensor:
            return super().forward(hidden) * 1.5

    model = model_of("llama")
    head = Twisted(16, model.config.vocab_size, bias=False)
    model.set_output_embeddings(head)
    with pytest.raises(UserError, match="more to its logits"):
        check_head(model)


def _shared() -> dict[str, Any]:
    """One model for the property test, which may not use function-scoped fixtures."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=43, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=64,
    )  # fmt: skip
    return {"llama": LlamaForCausalLM(config)}


SHARED = _shared()
