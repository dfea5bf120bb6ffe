"""Model references, identities, artifacts and loading."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from harness.core.errors import BadData, EnvironmentProblem, UserError
from harness.models import checkpoints
from harness.models.checkpoints import load_causal_lm
from harness.models.references import ImportModelParams, import_model, model_identity, resolve


@pytest.fixture(autouse=True)
def empty_cache() -> Iterator[None]:
    checkpoints.forget_models()
    yield
    checkpoints.forget_models()


def imported(folder: Path, **params: Any) -> Path:
    folder.mkdir()
    import_model(SimpleNamespace(directory=folder), ImportModelParams(**params))
    return folder


def test_an_artifact_points_to_a_checkpoint(llama_folder: Path, tmp_path: Path) -> None:
    artifact = imported(tmp_path / "a", ref=str(llama_folder), digest=model_identity(llama_folder))
    data = json.loads((artifact / "model.json").read_text())
    assert data["ref"] == str(llama_folder.resolve())
    assert resolve(artifact).location == str(llama_folder.resolve())
    model, tokenizer = load_causal_lm(artifact)
    assert model.dtype == torch.float32
    assert not model.training
    assert tokenizer.chat_template


def test_the_artifacts_dtype_is_used(llama_folder: Path, tmp_path: Path) -> None:
    artifact = imported(tmp_path / "a", ref=str(llama_folder), dtype="bfloat16")
    assert load_causal_lm(artifact)[0].dtype == torch.bfloat16
    assert load_causal_lm(artifact, dtype="float32")[0].dtype == torch.float32


def test_changed_weights_are_noticed(llama_folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(llama_folder, copy)
    before = model_identity(copy)
    assert before == model_identity(llama_folder)
    model, _ = load_causal_lm(copy, fresh=True)
    with torch.no_grad():
        model.lm_head.weight.add_(1.0)
    kept = load_causal_lm(copy)[0]
    model.save_pretrained(copy)
    assert model_identity(copy) != before
    assert not torch.equal(load_causal_lm(copy)[0].lm_head.weight, kept.lm_head.weight)
    with pytest.raises(BadData, match="changed since the plan"):
        imported(tmp_path / "a", ref=str(copy), digest=before)


def test_trainer_leftovers_are_not_part_of_the_identity(llama_folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(llama_folder, copy)
    (copy / "trainer_state.json").write_text("{}")
    (copy / "optimizer.bin").write_text("x")
    assert model_identity(copy) == model_identity(llama_folder)


def test_loaded_models_are_kept_and_fresh_ones_are_not(llama_folder: Path) -> None:
    first = load_causal_lm(llama_folder)
    assert load_causal_lm(llama_folder)[0] is first[0]
    assert load_causal_lm(llama_folder, fresh=True)[0] is not first[0]
    assert load_causal_lm(llama_folder)[0] is first[0]


def test_the_cache_is_small(llama_folder: Path, tmp_path: Path) -> None:
    for number in range(6):
        copy = tmp_path / str(number)
        shutil.copytree(llama_folder, copy)
        load_causal_lm(copy)
    assert len(checkpoints._LOADED) == checkpoints._KEEP["cpu"]


def test_reward_models(reward_folder: Path) -> None:
    model, tokenizer = checkpoints.load_reward_model(reward_folder)
    assert model.config.num_labels == 1
    assert len(tokenizer) == 300


def test_hub_ids() -> None:
    source = resolve("org/some-model", "abc")
    assert (source.location, source.hub, source.revision) == ("org/some-model", True, "abc")
    assert model_identity("org/some-model") == "hub:org/some-model@main"
    assert model_identity("org/some-model", "abc") == "hub:org/some-model@abc"


def test_a_hub_model_without_network_says_what_to_do() -> None:
    with pytest.raises(EnvironmentProblem, match="path of a local copy instead, or unset HF_HUB"):
        load_causal_lm("crucible-bench/not-here")


@pytest.mark.parametrize("ref", ["/no/such/folder", "just-a-name", "a/b/c"])
def test_references_that_lead_nowhere(ref: str) -> None:
    with pytest.raises(UserError, match=r"expected nano:<name>, a folder"):
        resolve(ref)


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no model"):
        resolve(tmp_path)


def test_a_broken_checkpoint(llama_folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(llama_folder, copy)
    (copy / "config.json").write_text('{"model_type": "no-such-architecture"}')
    with pytest.raises(BadData, match="cannot be loaded as a model"):
        load_causal_lm(copy)


def test_code_in_a_checkpoint_is_not_run_unasked(llama_folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(llama_folder, copy)
    config = json.loads((copy / "config.json").read_text())
    config["model_type"] = "own"
    config["auto_map"] = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.Own"}
    (copy / "config.json").write_text(json.dumps(config))
    (copy / "own.py").write_text("raise SystemExit('ran')")
    with pytest.raises(UserError, match="set trust_remote_code = true"):
        load_causal_lm(copy)
