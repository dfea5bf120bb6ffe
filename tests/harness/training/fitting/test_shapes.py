"""Shapes of models by size: as many parameters as is said, and as many in adapters as peft."""

from __future__ import annotations

import pytest
import torch

from harness.training.fitting.shapes import SHAPES, Shape, adapter_parameters, shape_of
from harness.training.settings import LoraSettings, RunSettings


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.model)
def test_a_shape_has_the_parameters_of_its_model(shape: Shape) -> None:
    """Within 3 %; T5's decoder reads the encoder in further matrices, 12 %."""
    counted = (shape.layers * shape.layer + shape.embeddings) / 1e9
    assert counted == pytest.approx(shape.billions, rel=0.12 if "T5" in shape.model else 0.03)


def test_the_nearest_published_model() -> None:
    assert shape_of(8.03).model == "Llama-3.1-8B"
    assert shape_of(0.001).model == "MiniLM-L6"
    assert shape_of(1000).model == "Llama-3.1-405B"


def test_adapters_of_llama_3_8b() -> None:
    """By hand: 32 layers x 16 x (8192 + 5120 + 5120 + 8192 + 3 x 18432); q and v alone."""
    assert adapter_parameters(8.03, LoraSettings(rank=16)) == 41_943_040
    named = LoraSettings(rank=8, targets=("q_proj", "v_proj"))
    assert adapter_parameters(8.03, named) == 8 * 32 * (8192 + 5120)
    other = LoraSettings(rank=16, targets=("wqkv",))
    assert adapter_parameters(8.03, other) == 41_943_040  # an upper bound


def test_adapters_are_as_many_as_peft_makes() -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    from harness.training.adapters import Adapters, adapt

    shape = shape_of(0.135)
    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.layers,
        num_attention_heads=9,
        num_key_value_heads=3,
        tie_word_embeddings=True,
    )
    lora = LoraSettings(rank=8)
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
        adapted = adapt(model, RunSettings(learning_rate=1e-3, lora=lora))
    assert Adapters(adapted).numbers() == adapter_parameters(shape.billions, lora)
