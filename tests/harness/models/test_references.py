"""Model references, identities, and artifacts that point to models."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from harness.core.errors import BadData, BadRecord, UnknownName, UserError
from harness.core.hashing import digest, file_digest
from harness.engine import registry
from harness.models import chat, checkpoints
from harness.models.checkpoints import load_causal_lm, load_tokenizer
from harness.models.references import (
    ImportModelParams,
    checkpoint_names,
    import_model,
    model_files,
    model_identity,
    resolve,
    resolve_one,
    shipped,
    split_engine,
    split_template,
)


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


def test_hub_ids() -> None:
    source = resolve("org/some-model", "abc")
    assert (source.location, source.hub, source.revision) == ("org/some-model", True, "abc")
    assert model_identity("org/some-model") == "hub:org/some-model@main"
    assert model_identity("org/some-model", "abc") == "hub:org/some-model@abc"


@pytest.mark.parametrize("ref", ["/no/such/folder", "just-a-name", "a/b/c"])
def test_references_that_lead_nowhere(ref: str) -> None:
    with pytest.raises(UserError, match=r"expected nano:<name>, a folder"):
        resolve(ref)


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="contains no model"):
        resolve(tmp_path)


def composite(folder: Path, one: Path, two: Path) -> Path:
    shutil.copytree(one, folder / "generator")
    shutil.copytree(two, folder / "parts" / "retriever")
    return folder


def test_a_folder_of_several_checkpoints(
    llama_folder: Path, reward_folder: Path, tmp_path: Path
) -> None:
    both = composite(tmp_path / "both", llama_folder, reward_folder)
    assert checkpoint_names(both) == ["generator", "parts/retriever"]
    assert checkpoint_names(llama_folder) == [""]
    assert checkpoint_names(tmp_path / "none") == []
    artifact = imported(tmp_path / "a", ref=str(both), digest=model_identity(both))
    assert resolve(artifact).location == str(both.resolve())
    one = resolve_one(artifact, "parts/retriever")
    assert one.location == str(both / "parts" / "retriever")
    assert model_identity(both / "generator") == model_identity(llama_folder)
    with pytest.raises(UserError, match=r"several checkpoints \(generator, parts/retriever\)"):
        resolve_one(artifact)
    with pytest.raises(UnknownName, match='named "retriever"; did you mean "parts/retriever"'):
        resolve_one(artifact, "retriever")
    with pytest.raises(UserError, match="parts of a hub model need a local copy"):
        resolve_one("org/name", "retriever")
    assert resolve_one("org/name") == resolve("org/name")


def test_the_identity_of_several_is_of_paths_and_contents(
    llama_folder: Path, reward_folder: Path, tmp_path: Path
) -> None:
    both = composite(tmp_path / "both", llama_folder, reward_folder)
    before = model_identity(both)
    assert model_identity(composite(tmp_path / "copy", llama_folder, reward_folder)) == before
    assert model_identity(composite(tmp_path / "swapped", reward_folder, llama_folder)) != before
    (both / "generator" / "trainer_state.json").write_text("{}")
    (both / "manifest.json").write_text("{}")
    assert model_identity(both) == before
    (both / "parts.json").write_text("{}")
    assert (told := model_identity(both)) != before
    (both / "parts" / "retriever" / "chat_template.jinja").write_text("changed")
    assert model_identity(both) != told


def test_subfolders_of_a_checkpoint_are_not_part_of_it(llama_folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(llama_folder, copy)
    shutil.copytree(llama_folder, copy / "checkpoint-100")
    assert model_identity(copy) == model_identity(llama_folder)
    shutil.copytree(copy, tmp_path / "outer" / "inner")
    assert checkpoint_names(tmp_path / "outer") == ["inner"]


def test_the_identity_of_a_plain_checkpoint_is_a_digest_of_names_and_contents(
    llama_folder: Path,
) -> None:
    listed = [[path.name, file_digest(path)] for path in model_files(llama_folder)]
    assert sorted(name for name, _ in listed) == [name for name, _ in listed]
    assert model_identity(llama_folder) == digest(listed)


def test_shipped_checkpoints_are_found_by_their_scheme(
    llama_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = shipped("nano:target")
    assert found is not None
    assert found[1] == "target"
    assert "target" in found[0].names()
    assert resolve("nano:target").location == str(found[0].path("target"))
    assert model_identity("nano:target") == found[0].digest("target")
    assert shipped("org/name") is None
    with pytest.raises(UnknownName, match="nano model"):
        resolve("nano:targt")

    class Acme:
        names = staticmethod(lambda: ["tiny"])
        path = staticmethod(lambda name: llama_folder)
        digest = staticmethod(lambda name: f"{name}-1")

    package: Any = ModuleType("acme_models")
    package.TABLE = Acme
    monkeypatch.setitem(sys.modules, "acme_models", package)
    monkeypatch.setitem(registry.table("CHECKPOINTS"), "acme", "acme_models:TABLE")
    assert model_identity("acme:tiny") == "tiny-1"
    artifact = imported(tmp_path / "a", ref="acme:tiny", digest="tiny-1")
    assert resolve(artifact).location == str(llama_folder)
    with pytest.raises(UserError, match="expected nano:<name>, acme:<name>, a folder"):
        resolve("nowhere")


THINKING = (
    "{{ bos_token }}{% for m in messages %}{{ m['content'] }}{% endfor %}"
    "{% if enable_thinking is defined and not enable_thinking %} no thinking{% endif %}"
    "{% if effort is defined %} {{ effort }}{% endif %}"
)
QUIET = '?template={"enable_thinking": false, "effort": "low"}'
ASKED = [{"role": "user", "content": "Hi"}]


@pytest.fixture
def thinking_folder(llama_folder: Path, tmp_path: Path) -> Path:
    """A checkpoint whose chat template has arguments."""
    folder = tmp_path / "thinking"
    shutil.copytree(llama_folder, folder)
    (folder / "chat_template.jinja").write_text(THINKING)
    return folder


def test_arguments_of_a_chat_template_reach_every_prompt(
    thinking_folder: Path, tmp_path: Path
) -> None:
    plain = imported(tmp_path / "plain", ref=str(thinking_folder))
    quiet = imported(tmp_path / "quiet", ref=str(thinking_folder) + QUIET)
    texts = [chat.render(load_tokenizer(model), ASKED) for model in (plain, quiet)]
    assert texts[0].endswith("Hi")
    assert texts[1].endswith("Hi no thinking low")
    # The cache of loaded models tells the two apart.
    for model, text in zip((quiet, plain), reversed(texts), strict=True):
        assert chat.render(load_causal_lm(model)[1], ASKED) == text
    assert "template" not in json.loads((plain / "model.json").read_text())


def test_arguments_of_a_chat_template_are_part_of_the_identity(thinking_folder: Path) -> None:
    ref = str(thinking_folder)
    assert model_identity(ref + QUIET) != model_identity(ref)
    spelt = ref + '?template={"effort":"low","enable_thinking":false}'
    assert model_identity(ref + QUIET) == model_identity(spelt)
    assert model_identity("nano:target" + QUIET) != model_identity("nano:target")
    assert resolve("vllm:" + ref + QUIET).template == resolve(spelt).template


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("enable_thinking=false", "expected a JSON object"),
        ("{}", "expected a JSON object"),
        ("[1]", "expected a JSON object"),
        ('{"tokenize": true}', "tokenize cannot be given"),
    ],
)
def test_arguments_of_another_form_are_refused(given: str, said: str) -> None:
    with pytest.raises(BadRecord, match=said):
        split_template(f"org/model?template={given}")


def test_a_judge_with_a_name_of_its_own_is_a_model_without_weights(tmp_path: Path) -> None:
    for ref in ("nano:oracle", "nano:oracle?noise=0"):
        artifact = imported(tmp_path / ref[-1], ref=ref, digest=model_identity(ref))
        data = json.loads((artifact / "model.json").read_text())
        assert f"{data['engine']}:{data['ref']}" == ref
        with pytest.raises(UserError, match="has no weights"):
            resolve(artifact)
    assert model_identity("nano:oracle") != model_identity("nano:oracle?noise=0")
    assert split_engine("nano:target") == ("hf", "nano:target")
