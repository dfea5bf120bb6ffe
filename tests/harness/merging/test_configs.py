"""Which differences of two configs change what weights mean."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import BadData
from harness.merging.configs import check_configs, differences

LLAMA = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 64}
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "head_dim": 8}
QWEN2 = {"model_type": "qwen2", "num_hidden_layers": 3}
DEFAULT = {"rope_type": "default"}
REMOTE = {"model_type": "of_a_stranger", "auto_map": {"AutoConfig": "configuration.Strange"}}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 2048}


def check(folder: Path, ours: dict[str, Any], theirs: dict[str, Any], *allowed: str) -> list[str]:
    for name, config in (("base", ours), ("target", theirs)):
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "config.json").write_text(json.dumps(config))
    return check_configs(folder / "base", folder / "target", (ours, theirs), allowed)


@pytest.mark.parametrize(
    ("kind", "ours", "theirs"),
    [
        (LLAMA, {}, {"rope_theta": 10000}),
        (LLAMA, {"rope_theta": 1e6}, {"rope_parameters": {**DEFAULT, "rope_theta": 1e6}}),
        (
            LLAMA,
            {"rope_scaling": {"type": "linear", "factor": 2.0}, "rope_theta": 5e5},
            {"rope_parameters": {"rope_type": "linear", "factor": 2, "rope_theta": 500000}},
        ),
        (LLAMA, {}, {"head_dim": 2, "num_key_value_heads": 32, "hidden_act": "swish"}),
        (LLAMA, {"rms_norm_eps": 1e-5}, {"rms_norm_eps": 9.999999747378752e-06}),
        (LLAMA, {}, {"torch_dtype": "bfloat16", "use_cache": False, "attention_dropout": 0.1}),
        (LLAMA, {}, {"vocab_size": 7, "pretraining_tp": 2, "_name": "x", "do_sample": True}),
        (QWEN2, {"max_window_layers": 21, "sliding_window": 4096}, {"max_window_layers": 28}),
        ({"model_type": "gpt2"}, {}, {"n_inner": 3072, "activation_function": "gelu_pytorch_tanh"}),
        ({"model_type": "gpt_neox"}, {}, {"rotary_pct": 0.25, "rotary_emb_base": 10000}),
        (REMOTE, {"rope_theta": 1e4}, {"rope_parameters": {"rope_theta": 1e4}}),
        (REMOTE, {"rope_scaling": None}, {"resid_pdrop": 0.1, "auto_map": {"AutoConfig": "b.C"}}),
        (
            {"model_type": "gemma3_text", "num_hidden_layers": 6},
            {"rope_theta": 1e6, "rope_local_base_freq": 1e4, "sliding_window_pattern": 6},
            {},
        ),
    ],
)
def test_equal_meanings_may_be_spelled_in_two_ways(
    tmp_path: Path, kind: dict[str, Any], ours: dict[str, Any], theirs: dict[str, Any]
) -> None:
    for one, two in ((ours, theirs), (theirs, ours)):
        assert check(tmp_path, {**kind, **one}, {**kind, **two}) == []


@pytest.mark.parametrize(
    ("kind", "change", "key"),
    [
        ("llama", {"rope_theta": 1e6}, "rope_theta"),
        ("llama", {"rope_parameters": {"rope_theta": 1e6}}, "rope_theta"),
        ("llama", {"rope_scaling": {"rope_type": "linear", "factor": 2.0}}, "rope_scaling"),
        ("llama", {"num_attention_heads": 2, "head_dim": 16}, "num_attention_heads"),
        ("llama", {"num_key_value_heads": 2}, "num_key_value_heads"),
        ("llama", {"hidden_act": "gelu"}, "hidden_act"),
        ("llama", {"rms_norm_eps": 1e-5}, "rms_norm_eps"),
        ("llama", {"tie_word_embeddings": True}, "tie_word_embeddings"),
        ("llama", {"a_new_switch": 1}, "a_new_switch"),
        ("granite", {"logits_scaling": 8.0}, "logits_scaling"),
        ("granite", {"residual_multiplier": 0.2}, "residual_multiplier"),
        ("mistral", {"sliding_window": None}, "sliding_window"),
        ("gemma2", {"query_pre_attn_scalar": 224}, "query_pre_attn_scalar"),
        ("gemma2", {"final_logit_softcapping": None}, "final_logit_softcapping"),
        ("gemma2", {"sliding_window": 64}, "sliding_window"),
        ("qwen3", {"layer_types": ["full_attention", "sliding_attention"]}, "layer_types"),
        ("gpt_neox", {"rotary_pct": 0.5}, "partial_rotary_factor"),
        ("gpt_neox", {"use_parallel_residual": False}, "use_parallel_residual"),
        ("gpt2", {"activation_function": "gelu"}, "activation_function"),
        ("mixtral", {"num_experts_per_tok": 1}, "num_experts_per_tok"),
        ("gemma3", {"text_config": {"query_pre_attn_scalar": 8}}, "query_pre_attn_scalar"),
        ("of_a_stranger", {"attn_config": {"alibi_bias_max": 4}}, "alibi_bias_max"),
        ("of_a_stranger", {"top_k": 4}, "top_k"),
        ("of_a_stranger", {"rope_scaling": {"type": "dynamic", "factor": 2.0}}, "rope_scaling"),
    ],
)
def test_keys_that_change_what_weights_mean_are_refused_unless_named(
    tmp_path: Path, kind: str, change: dict[str, Any], key: str
) -> None:
    base = {"model_type": kind, **SMALL}
    with pytest.raises(BadData, match=r"target does not fit the base .*base: .*allow_config = \["):
        check(tmp_path, base, {**base, **change})
    with pytest.raises(BadData, match="gives weights another meaning"):
        check(tmp_path, base, {**base, **change}, "vocab_size", key[:-1])
    others = ("head_dim",) if key == "num_attention_heads" else ()
    (note,) = check(tmp_path, base, {**base, **change}, key, *others, "num_key_value_heads")
    assert note.startswith("target: config: ")
    assert note.endswith("(allowed by allow_config)")


def test_a_refusal_names_keys_values_and_the_setting(tmp_path: Path) -> None:
    theirs = {**LLAMA, "rope_theta": 1e6, "rms_norm_eps": 1e-5}
    with pytest.raises(BadData) as found:
        check(tmp_path, LLAMA, theirs)
    said = str(found.value)
    assert "rms_norm_eps is 1e-05; expected 1e-06" in said
    assert "rope_parameters.rope_theta is 1000000.0; expected 10000.0" in said
    assert said.endswith('allow_config = ["rms_norm_eps", "rope_theta"]')


def test_limits_of_positions_and_token_ids_are_noted(tmp_path: Path) -> None:
    theirs = {**LLAMA, "max_position_embeddings": 8192, "eos_token_id": 3}
    (note,) = check(tmp_path, LLAMA, theirs)
    assert "eos_token_id is 3; expected 2" in note
    assert "max_position_embeddings is 8192; expected 2048 (the base's is kept)" in note
    stretched = {**LLAMA, "rope_theta": 1e4, "rope_scaling": YARN}
    with pytest.raises(BadData, match="max_position_embeddings is 9000"):
        check(tmp_path, stretched, {**stretched, "max_position_embeddings": 9000})


def test_differences_are_listed_by_path(tmp_path: Path) -> None:
    ours = {"model_type": "of_a_stranger", "inner": {"a": 1, "b": [1, 2.0]}}
    theirs = {"model_type": "of_a_stranger", "inner": {"a": 2, "b": [1, 2]}, "eos_token_id": 4}
    check(tmp_path, ours, theirs, "inner")
    found = differences(tmp_path / "base", tmp_path / "target", (ours, theirs))
    assert [(each.path, each.harmless) for each in found] == [
        ("eos_token_id", True),
        ("inner.a", False),
    ]
