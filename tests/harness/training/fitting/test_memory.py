"""Memory of trainings: figures by hand, and activations as torch keeps them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from harness.engine import costs
from harness.engine.operations import Estimate
from harness.training.fitting.memory import (
    CONTEXT,
    TILE,
    Launch,
    Training,
    activations,
    estimate,
    layer_activations,
    serving_memory,
    settings_of,
    training_memory,
)
from harness.training.fitting.shapes import Shape
from harness.training.preference_operations import TrainPreferenceParams
from harness.training.settings import LaunchSettings, LoraSettings, RunSettings
from harness.training.sft import SftParams

FULL = Training(parameters_b=7.0, tokens=2048, batch=128)
EIGHT = replace(FULL, parameters_b=8.03)
LORA = LoraSettings(rank=16)


def test_adam_takes_16_bytes_per_parameter() -> None:
    """7 B: weights 28, gradients 28, moments 56 GB; divided by eight with FSDP or ZeRO-3."""
    for dtype in ("float32", "bfloat16"):
        whole = training_memory(replace(FULL, dtype=dtype), Launch())
        assert (whole.weights, whole.gradients, whole.moments) == (28e9, 28e9, 56e9)
        assert whole.states == 112e9
    assert training_memory(FULL, Launch(8)).states == 112e9  # DDP: each process has all
    assert training_memory(FULL, Launch(8, "fsdp")).states == 14e9


def test_copies_of_processes() -> None:
    """Casts of autocast 2 bytes, buckets of DDP 4; FSDP gathers two layers and the root."""
    assert training_memory(FULL, Launch()).copies == 14e9
    assert training_memory(FULL, Launch(8)).copies == 14e9 + 28e9
    assert training_memory(replace(FULL, dtype="float32"), Launch()).copies == 0
    layer = 4096 * (2 * 4096 + 2 * 1024 + 3 * 14336)
    root = 2 * 128256 * 4096
    found = training_memory(EIGHT, Launch(8, "fsdp")).copies
    assert found == 2 * (2 * layer + root) + 4 * root


def test_adapters_keep_the_base_in_16_bits_and_nothing_else_of_it() -> None:
    found = training_memory(replace(EIGHT, lora=LORA), Launch())
    assert found.states == pytest.approx(2 * 8.03e9 + 16 * 41_943_040)
    assert found.copies == 2 * 41_943_040
    wide = training_memory(replace(EIGHT, lora=LORA, dtype="float32"), Launch())
    assert wide.states == pytest.approx(4 * 8.03e9 + 16 * 41_943_040)
    four = replace(EIGHT, lora=LoraSettings(rank=16, quantise="nf4"))
    embeddings = 2 * 128256 * 4096
    expected = 2 * embeddings + 0.516 * (8.03e9 - embeddings) + 16 * 41_943_040
    assert training_memory(four, Launch()).states == pytest.approx(expected)


def test_activations_by_hand() -> None:
    """Llama-3.1-8B: 217,088 + 24,576 bytes per token and layer; 32 layers of 2,048 tokens."""
    each = 16 * 4096 + 2 * (7 * 4096 + 2 * 1024 + 4 * 14336)
    assert each == 241_664
    assert activations(8.03, 2048, 2, False) == 2048 * 32 * each
    assert activations(8.03, 2048, 2, True) == 2048 * (4 * 4096 * 32 + 2 * each)
    memory = training_memory(EIGHT, Launch(rows=4))
    assert memory.activations == 4 * 2048 * 32 * each
    assert memory.logits == 3 * TILE
    parts = memory.states + memory.copies + memory.activations + memory.logits + CONTEXT
    assert memory.total == pytest.approx(parts)
    assert training_memory(replace(EIGHT, frozen_b=8.03), Launch()).frozen == pytest.approx(
        2 * 8.03e9
    )


H, F, K, TOKENS = 64, 192, 32, 96


def kept(layers: int, dtype: str, checkpointing: bool, lora: bool) -> int:
    """Bytes that a Llama keeps for its backward pass, without its own weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from harness.training.adapters import adapt

    config = LlamaConfig(
        vocab_size=50,
        hidden_size=H,
        intermediate_size=F,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=1,
    )
    settings = RunSettings(
        learning_rate=1.0, dtype=dtype, lora=LoraSettings(rank=1) if lora else None
    )
    model: Any = adapt(LlamaForCausalLM(config), settings)
    inner = model.get_base_model() if lora else model
    inner.train()
    if checkpointing:
        inner.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    found: dict[int, int] = {}
    tensors = []  # so that no storage is used again

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        tensors.append(tensor)
        place = tensor.untyped_storage()
        if place.data_ptr() not in own:
            found[place.data_ptr()] = place.nbytes()
        return tensor

    cast = torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16")
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), cast:
        inner.model(input_ids=torch.ones(1, TOKENS, dtype=torch.long), use_cache=False)
    return sum(found.values())


@pytest.mark.parametrize(("dtype", "width"), [("float32", 4), ("bfloat16", 2)])
def test_activations_are_those_that_torch_keeps(dtype: str, width: int) -> None:
    shape = Shape("tiny", 0.0, 2, H, F, K, 50)
    weights = shape.layer * 2 if width == 2 else 0  # casts of autocast, counted as copies
    found = (kept(4, dtype, False, False) - kept(2, dtype, False, False)) / 2 - weights
    assert found / TOKENS == pytest.approx(layer_activations(shape, width), rel=0.01)
    adapted = (kept(4, dtype, False, True) - kept(2, dtype, False, True)) / 2
    assert 0.8 < adapted / TOKENS / layer_activations(shape, width) <= 1.0
    again = (kept(4, dtype, True, False) - kept(2, dtype, True, False)) / 2
    assert again / TOKENS == 4 * H


def test_a_model_that_answers() -> None:
    """Two bytes per parameter, keys and values of 8 x 4,096 tokens, over tensor parallelism."""
    cache = 2 * 2 * 1024 * 32 * 8 * 4096
    assert serving_memory(8.03, 1) == pytest.approx(2 * 8.03e9 + cache + CONTEXT)
    assert serving_memory(8.03, 2) == pytest.approx((2 * 8.03e9 + cache) / 2 + CONTEXT)


def test_estimates_change_with_adapters_alone() -> None:
    rows, model = Estimate(rows=100), Estimate(parameters_b=8.03)
    plain = RunSettings(learning_rate=1e-3, dtype="bfloat16")
    assert estimate(plain, rows, model) == costs.training(plain, rows, model)
    adapted = estimate(plain.model_copy(update={"lora": LORA}), rows, model)
    expected = 1.2 * (2 * 8.03e9 + 16 * 41_943_040) / 2**30
    assert adapted.gpu_gib == pytest.approx(expected)
    whole = costs.training(plain, rows, model)
    assert whole.gpu_seconds is not None
    assert adapted.gpu_seconds == pytest.approx(whole.gpu_seconds * 4 / 6)
    assert (adapted.rows, adapted.tokens) == (whole.rows, whole.tokens)
    unknown = plain.model_copy(update={"lora": LORA})
    assert estimate(unknown, rows, Estimate()) == costs.training(unknown, rows, Estimate())


def test_the_estimate_of_a_launch_is_that_of_each_process() -> None:
    rows, model = Estimate(rows=100), Estimate(parameters_b=8.03)
    plain = SftParams(learning_rate=1e-3, dtype="bfloat16", accumulation_steps=2)
    alone = estimate(plain, rows, model)
    for config, sharding in (("ddp", "none"), ("fsdp", "fsdp"), ("zero3", "fsdp")):
        launch = LaunchSettings(processes=8, config=config)
        found = estimate(plain.model_copy(update={"launch": launch}), rows, model)
        share = Launch(processes=8, sharding=sharding, rows=2)  # type: ignore[arg-type]
        expected = training_memory(settings_of(plain, 8.03, 0.0), share).total / 2**30
        assert found == replace(alone, gpu_gib=pytest.approx(expected))
    own = plain.model_copy(update={"launch": LaunchSettings(processes=8, config="own.yaml")})
    assert estimate(own, rows, model) == alone


def test_settings_of_trainings() -> None:
    preference = TrainPreferenceParams(
        loss="wrpo",
        learning_rate=1e-6,
        per_device_batch_size=2,
        accumulation_steps=64,
        gradient_checkpointing=True,
        save_steps=5,
    )
    found = settings_of(preference, 8.03, 1.5)
    assert (found.tokens, found.batch, found.frozen_b) == (3 * 2048, 128, 1.5)
    assert (found.checkpointing, found.saves, found.coupled) == (True, True, 0)
    coupled = TrainPreferenceParams(loss="aot", learning_rate=1e-6, per_device_batch_size=12)
    assert settings_of(coupled, 8.03, 0.0).coupled == 12
    sft = settings_of(SftParams(learning_rate=1e-5, max_length=512), 1.0, 0.0)
    assert (sft.tokens, sft.batch) == (512, 8)
    assert RunSettings(learning_rate=1.0).longest_sequence == 2048
    assert not RunSettings(learning_rate=1.0).whole_batches
