"""Loaded models are those of their files; the faults themselves are in training/test_runs.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from harness.core.errors import BadData
from harness.models.checkpoints import load_causal_lm, load_encoder, load_reward_model
from harness.models.completeness import (
    check_loaded,
    check_stored,
    check_trainable,
    quantisation,
)
from tests.tiny_models import make_model, make_tokenizer

NOTHING: dict[str, list[Any]] = {
    "missing_keys": [],
    "unexpected_keys": [],
    "mismatched_keys": [],
}
Change = Callable[[dict[str, torch.Tensor]], object]


def changed(folder: Path, change: Change) -> Path:
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    import transformers

    sizes = {"vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.BertConfig(**sizes, intermediate_size=32, max_position_embeddings=64)
    transformers.BertForMaskedLM(config).save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    return tmp_path


def test_a_new_head_is_no_missing_weight(bert: Path) -> None:
    load_encoder(bert)
    load_encoder(bert, labels=3)


@pytest.mark.parametrize("labels", [None, 3])
def test_an_encoder_without_some_weights_is_refused(labels: int | None, bert: Path) -> None:
    name = "bert.encoder.layer.0.output.dense.weight"
    changed(bert, lambda state: state.pop(name))
    with pytest.raises(BadData, match=r"no weights for .*encoder.layer.0.output.dense.weight"):
        load_encoder(bert, labels=labels)


def test_a_body_of_another_shape_is_refused_below_a_new_head(bert: Path) -> None:
    name = "bert.encoder.layer.0.output.dense.weight"
    changed(bert, lambda state: state.update({name: torch.ones(16, 8)}))
    with pytest.raises(BadData, match=r"shape 16 x 8 in its files, but 16 x 32 by its config"):
        load_encoder(bert, labels=3)


def test_an_encoder_pads_with_a_token_that_has_a_row(bert: Path) -> None:
    tokenizer = make_tokenizer()
    tokenizer.add_special_tokens({"pad_token": "<new>"})
    tokenizer.add_tokens([f"<{number}>" for number in range(64)])
    tokenizer.pad_token = "<63>"
    tokenizer.save_pretrained(bert)
    model, loaded = load_encoder(bert)
    batch = loaded.pad([{"input_ids": [5]}, {"input_ids": [5, 6]}], return_tensors="pt")
    assert batch["input_ids"].max() < 64
    model(**batch)


def test_a_reward_model_without_its_head_is_refused(reward_folder: Path, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "reward"
    shutil.copytree(reward_folder, folder)
    changed(folder, lambda state: state.pop("score.weight"))
    with pytest.raises(BadData, match=r"no weights for score.weight"):
        load_reward_model(folder)


def test_weights_beside_the_model_are_no_fault(tmp_path: Path) -> None:
    """A value head, for example, and the buffers of old checkpoints."""
    make_model("llama").save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    more = {"v_head.summary.weight": torch.ones(1, 16)}
    more["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(4)
    changed(tmp_path, lambda state: state.update(more))
    load_causal_lm(tmp_path)


def test_what_is_missing_is_listed_with_a_limit() -> None:
    model = make_model("llama")
    check_loaded("m", model, NOTHING)
    names = [f"model.layers.{layer}.norm.weight" for layer in range(5)]
    with pytest.raises(BadData, match=r"m: .*layers.0.norm.*layers.2.norm.weight and 2 m") as e:
        check_loaded("m", model, {**NOTHING, "missing_keys": names})
    assert "layers.3" not in str(e.value)


def test_stored_types_are_read_from_all_files(tmp_path: Path) -> None:
    config = make_model("llama").config
    save_file({"a.weight": torch.ones(2), "mask": torch.ones(2).byte()}, tmp_path / "1.safetensors")
    check_stored(tmp_path, config)
    save_file({"b.weight": torch.ones(2).byte()}, tmp_path / "2.safetensors")
    with pytest.raises(BadData, match=r"b.weight is stored as U8"):
        check_stored(tmp_path, config)
    (tmp_path / "0.safetensors").write_bytes(b"")  # loading says what is wrong with it
    config.quantization_config = {"quant_method": "gptq"}
    check_stored(tmp_path, config)
    assert quantisation(config) == "gptq"


def test_finite_full_precision_weights_can_be_trained() -> None:
    model = make_model("llama")
    check_trainable("m", model)
    assert quantisation(model.config) == ""
    model.model.norm.weight.data[3] = -torch.inf
    with pytest.raises(BadData, match=r"model.norm.weight contains NaN or infinity"):
        check_trainable("m", model)
