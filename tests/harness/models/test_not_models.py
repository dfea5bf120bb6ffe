"""What is given as a model by mistake: each gets one sentence with what to type instead."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from harness.core.errors import BadData, UserError
from harness.models.checkpoints import load_causal_lm
from harness.models.not_models import check_file, check_weights, has_tokenizer
from harness.models.references import model_identity, resolve


def refused(ref: Path | str) -> str:
    """The sentence for a reference, the same from every way in."""
    said = set()
    for way in (model_identity, resolve):
        for form in (f"{ref}", f"vllm:{ref}"):
            with pytest.raises(UserError) as found:
                way(form)
            said.add(str(found.value))
    (sentence,) = said
    assert "\n" not in sentence
    return sentence


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("q4.gguf", b"GGUF\x03", "openai:q4@http://127.0.0.1:8080/v1"),
        ("renamed", b"GGUF\x03", "is a model in GGUF"),
        ("old.ggml", b"lmgg", "llama-server -m"),
        ("m.onnx", b"\x08\x07", "the format ONNX, which Crucible does not run"),
        ("m.h5", b"\x89HDF", "the format TensorFlow"),
        ("flax_model.msgpack", b"\x81", "the format Flax"),
        ("m.safetensors", b"x" * 20, "contains only weights (safetensors)"),
        ("renamed2", b'\x10\0\0\0\0\0\0\0{"a":1}', "contains only weights (safetensors)"),
        ("m.bin", b"PK\x03\x04", "contains only weights (PyTorch's pickles)"),
        ("m.pt", b"\x80\x02", "hf download ORG/NAME --local-dir FOLDER"),
        ("m.pth", b"", "contains only weights (PyTorch's pickles)"),
        ("m.ckpt", b"\x80\x02", "contains only weights (PyTorch's pickles)"),
        ("a.zip", b"PK\x03\x04zz", "is an archive; unpack it"),
        ("a.tar.gz", b"\x1f\x8b", "is an archive; unpack it"),
        ("a.csv", b"prompt,answer", "is a table, no model"),
        ("a.parquet", b"PAR1", "convert stored outputs to .jsonl"),
        ("notes.txt", b"hello", "is neither a model nor stored outputs"),
        ("empty", b"", "is neither a model nor stored outputs"),
        ("config.json", b"{}", "is a part of a checkpoint, no model; expected its folder"),
        ("tokenizer.json", b"{}", "is a part of a checkpoint"),
        ("model.safetensors.index.json", b"{}", "is a part of a checkpoint"),
        ("x.safetensors", b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
    ],
)
def test_files(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    sentence = refused(tmp_path / name)
    assert said in sentence
    assert str(tmp_path) in sentence


def test_stored_outputs_stay_stored_outputs(tmp_path: Path) -> None:
    for name, text in (("a.json", "[{}]"), ("b.jsonl", "{}\n"), ("c.out", '\ufeff {"a": 1}')):
        (tmp_path / name).write_text(text)
        check_file(tmp_path / name)
        assert model_identity(tmp_path / name).startswith("stored:")


def test_weights_beside_their_configuration_lead_to_the_folder(llama_folder: Path) -> None:
    assert refused(llama_folder / "model.safetensors").endswith(f"give {llama_folder}")


@pytest.mark.parametrize("name", ["org/model-q4.gguf", "nowhere/model.safetensors", "a.bin"])
def test_files_of_weights_that_do_not_exist(name: str) -> None:
    assert f"there is no file {name}" in refused(name)


def adapter(folder: Path) -> Path:
    folder.mkdir()
    (folder / "adapter_config.json").write_text(
        json.dumps({"base_model_name_or_path": "org/base", "peft_type": "LORA"})
    )
    (folder / "adapter_model.safetensors").write_bytes(b"x")
    return folder


def test_an_adapter_names_its_base(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "mine")
    for ref in (folder, folder / "adapter_model.safetensors"):
        sentence = refused(ref)
        assert "is an adapter (LoRA) of org/base" in sentence
        assert "merge_and_unload" in sentence
        assert "openai:mine@http://127.0.0.1:8000/v1" in sentence
    (folder / "config.json").write_text("{}")
    with pytest.raises(UserError, match="is an adapter"):
        model_identity(folder)
    (folder / "adapter_config.json").write_text("broken")
    with pytest.raises(UserError, match=r"is an adapter .LoRA. of BASE"):
        model_identity(folder)


@pytest.mark.parametrize(
    ("kept", "said"),
    [
        ("tokenizer*", "contains no model: a tokenizer only"),
        ("*.safetensors", "contains no model: weights, but no config.json"),
        ("nothing", "contains no model; expected a config.json"),
    ],
)
def test_folders_with_a_part_of_a_checkpoint(
    llama_folder: Path, tmp_path: Path, kept: str, said: str
) -> None:
    for path in llama_folder.glob(kept):
        shutil.copy(path, tmp_path)
    assert said in refused(tmp_path)


def test_a_folder_of_another_programs_files(tmp_path: Path) -> None:
    (tmp_path / "q4.gguf").write_bytes(b"GGUF")
    assert "openai:q4@http" in refused(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="openai:q4@http"):
        check_weights(tmp_path)


@pytest.fixture
def copy(llama_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(llama_folder, tmp_path / "copy"))


def test_incomplete_weights(copy: Path) -> None:
    weights = copy / "model.safetensors"
    whole = weights.read_bytes()
    model_identity(copy)
    for content, said in (
        (whole[:-5], "its header says"),
        (whole + b"x", "its header says"),
        (whole[:40], "is no whole safetensors file"),
        (b"", "is no whole safetensors file"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "pointer of git-lfs"),
    ):
        weights.write_bytes(content)
        with pytest.raises(UserError, match=said):
            model_identity(copy)
    weights.unlink()
    with pytest.raises(UserError, match=r"has a config.json, but no weights"):
        model_identity(copy)
    parts = {"a": "model-1-of-2.safetensors", "b": "model-2-of-2.safetensors"}
    (copy / "model.safetensors.index.json").write_text(json.dumps({"weight_map": parts}))
    (copy / "model-1-of-2.safetensors").write_bytes(whole)
    with pytest.raises(UserError, match=r"lacks 1 of the 2 files .* .model-2-of-2.safetensors, n"):
        model_identity(copy)


def test_weights_in_pickles_are_part_of_the_identity(copy: Path) -> None:
    (copy / "model.safetensors").unlink()
    (copy / "pytorch_model.bin").write_bytes(b"one")
    before = model_identity(copy)
    (copy / "pytorch_model.bin").write_bytes(b"two")
    assert model_identity(copy) != before
    with pytest.raises(BadData, match="cannot be loaded as a model"):
        load_causal_lm(copy)


def test_a_checkpoint_without_a_tokenizer(copy: Path) -> None:
    assert has_tokenizer(copy)
    for path in copy.glob("tokenizer*"):
        path.unlink()
    assert not has_tokenizer(copy)
    with pytest.raises(BadData, match=r"has no tokenizer; expected tokenizer.json"):
        load_causal_lm(copy)
