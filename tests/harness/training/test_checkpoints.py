"""What a saved model consists of, what is odd about it, and what it cannot hold."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import GenerationConfig

from harness.core.errors import BadData
from harness.training.parts import (
    Checkpoint,
    Parts,
    apart,
    check_types,
    checkpoints_of,
    one_line,
)
from tests.tiny_models import make_model, make_tokenizer

Make = Callable[..., Any]


def oddities(model: Any, ids: int | None = None) -> list[str]:
    tokenizer = make_tokenizer()
    if ids is not None:
        tokenizer = SimpleNamespace(vocab_size=ids, added_tokens_decoder={})
    return Checkpoint(model, tokenizer).oddities()


def test_a_usual_model_has_no_oddity() -> None:
    for kind in ("llama", "tied"):
        assert oddities(make_model(kind)) == []


def test_tensors_that_are_one_are_named_two_at_most() -> None:
    model = make_model("llama", num_hidden_layers=3)
    for layer in model.model.layers[1:]:
        layer.self_attn.q_proj = model.model.layers[0].self_attn.q_proj
    (found,) = oddities(model)
    names = [f"model.layers.{number}.self_attn.q_proj.weight" for number in (0, 1)]
    assert found.startswith(f"{names[0]} and {names[1]} are one tensor")


class Extra(torch.nn.Module):
    def get_extra_state(self) -> object:
        return {"a": 1}


def test_a_state_that_is_no_tensor_is_no_oddity_here() -> None:
    model = make_model("llama")
    model.extra = Extra()
    assert oddities(model) == []


def test_a_declared_tie_of_two_different_matrices_is_named() -> None:
    model = make_model("tied")
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    (found,) = oddities(model)
    assert found.startswith("config.json ties the output head to the embedding, but")
    untied = make_model("llama")
    assert oddities(untied) == []
    untied.get_output_embeddings = lambda: None
    assert oddities(untied) == []
    untied.config.tie_word_embeddings = True
    assert oddities(untied) == []


@pytest.mark.parametrize(("ids", "odd"), [(89, True), (90, False), (91, False), (120, False)])
def test_an_embedding_with_a_tenth_unused_rows_is_usual(ids: int, odd: bool) -> None:
    found = oddities(make_model("llama", vocabulary=100), ids)
    assert bool(found) == odd
    if odd:
        assert found[0].startswith("the tokenizer has 89 ids, the embedding 100 rows: check")


def test_equal_memory_is_written_once_for_each_name_that_is_not_tied() -> None:
    whole, other = torch.arange(6.0), torch.ones(2)
    state = {"a": whole, "b": whole, "tied": whole, "c": other, "d": whole.view(2, 3).T}
    found = apart(state, ["tied", "unknown"])
    assert list(found) == ["a", "b", "tied", "c", "d"]
    assert found["tied"] is whole
    pointers = [found[name].untyped_storage().data_ptr() for name in ("a", "b", "c", "d")]
    assert len(set(pointers)) == 4
    for name, value in state.items():
        assert torch.equal(found[name], value)
        assert found[name].is_contiguous()
    assert found["a"].untyped_storage().data_ptr() == whole.untyped_storage().data_ptr()
    assert found["c"] is other


def model_with(**tensors: Any) -> Any:
    return SimpleNamespace(name_or_path="m", state_dict=lambda: tensors)


def test_only_what_a_file_can_hold_is_trained() -> None:
    check_types(model_with(a=torch.ones(1), number=torch.tensor(3), flag=torch.tensor(True)),
                torch.bfloat16)  # fmt: skip
    odd = torch.zeros(2, dtype=torch.complex128)
    with pytest.raises(BadData, match=r"m: odd has type torch.complex128, which a checkpoint"):
        check_types(model_with(a=torch.ones(1), odd=odd), torch.float32)
    with pytest.raises(BadData, match=r"m: a has type torch.complex128"):
        check_types(model_with(a=torch.ones(1)), torch.complex128)
    check_types(model_with(number=torch.tensor(3)), torch.complex128)
    with pytest.raises(BadData, match="m: state is no tensor but dict, which"):
        check_types(model_with(state={}), torch.float32)


def test_an_error_is_said_in_one_line() -> None:
    assert one_line(ValueError("two\n  lines\t of  it ")) == "two lines of it"
    assert one_line(KeyError()) == "KeyError"
    assert one_line(ValueError("x" * 400)) == "x" * 300


def test_generation_defaults_that_contradict_are_put_aside_and_written(tmp_path: Path) -> None:
    model = make_model("llama")
    model.generation_config = GenerationConfig(
        bos_token_id=1, eos_token_id=[2, 4], do_sample=False, temperature=0.6
    )
    checkpoint = Checkpoint(model, make_tokenizer())
    (said,) = checkpoint.settle_generation()
    assert "settings that contradict each other (temperature); they are saved" in said
    assert model.generation_config.to_diff_dict().keys() <= {
        "bos_token_id", "eos_token_id", "transformers_version"
    }  # fmt: skip
    ids = model.generation_config
    assert (ids.bos_token_id, ids.eos_token_id, ids.temperature) == (1, [2, 4], None)
    ids.eos_token_id, ids.pad_token_id = 2, 0  # the trainer's doing
    checkpoint.save_all_but_weights(tmp_path / "trial")
    checkpoint.save(tmp_path / "made", model.state_dict(), torch.float32)
    for name in ("trial", "made"):
        written = json.loads((tmp_path / name / "generation_config.json").read_text())
        del written["transformers_version"]
        assert written == {
            "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "do_sample": False,
            "temperature": 0.6,
        }  # fmt: skip
    assert list(Checkpoint(make_model("llama"), make_tokenizer()).settle_generation()) == []


def test_a_model_that_generates_nothing_has_no_generation_defaults() -> None:
    model = SimpleNamespace(can_generate=lambda: False, state_dict=dict)
    assert list(Checkpoint(model, None).settle_generation()) == []


def test_an_error_without_flags_is_said_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model("llama")

    def refuse(**options: Any) -> None:
        raise ValueError("no\nsuch mode")

    monkeypatch.setattr(model.generation_config, "validate", refuse, raising=False)
    (said,) = Checkpoint(model, make_tokenizer()).settle_generation()
    assert "contradict each other (no such mode); they" in said


def test_the_trial_writes_all_but_weights_and_leaves_the_type(tmp_path: Path) -> None:
    model = make_model("llama")
    model.config.dtype = torch.float64
    Checkpoint(model, make_tokenizer(), "part").save_all_but_weights(tmp_path)
    assert model.config.dtype == torch.float64
    names = {path.name for path in (tmp_path / "part").iterdir()}
    assert {"config.json", "generation_config.json", "tokenizer.json"} <= names
    weights = tmp_path / "part" / "model.safetensors"
    assert not weights.exists() or not load_file(weights)


def test_a_part_is_saved_from_the_state_of_the_whole(tmp_path: Path) -> None:
    parts = Parts({"one": make_model("llama"), "two": make_model("llama", seed=1)})
    tokenizers = {"one": make_tokenizer(), "two": make_tokenizer()}
    found = checkpoints_of(parts, tokenizers)
    assert [(each.folder, each.prefix) for each in found] == [
        ("one", "models.one."), ("two", "models.two.")
    ]  # fmt: skip
    assert [each.tokenizer for each in found] == list(tokenizers.values())
    state = {name: value + 1 for name, value in parts.state_dict().items()}
    found[1].model.config.use_cache = False
    found[1].save(tmp_path, state, torch.float32)
    saved = load_file(tmp_path / "two" / "model.safetensors")
    for name, value in parts["two"].state_dict().items():
        torch.testing.assert_close(saved[name], value + 1)
    config = json.loads((tmp_path / "two" / "config.json").read_text())
    assert (config["use_cache"], config["dtype"]) == (True, "float32")
    assert not (tmp_path / "one").exists()
    (single,) = checkpoints_of(parts["one"], tokenizers["one"])
    assert (single.folder, single.prefix, single.model) == ("", "", parts["one"])


def test_parts_are_checkpointed_and_named_together() -> None:
    parts = Parts({"one": make_model("llama"), "two": make_model("llama")})
    parts["one"].name_or_path = "a"
    parts["two"].name_or_path = "b"
    assert parts.name_or_path == "a and b"
    parts.gradient_checkpointing_enable()
    assert all(parts[name].is_gradient_checkpointing for name in ("one", "two"))
