"""Runs that train adapters: resumed exactly, saved safely, refused in a sentence."""

from __future__ import annotations

import json
import resource
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM

from harness.core.errors import (
    BadData,
    BadRecord,
    EnvironmentProblem,
    MissingExtra,
    StoreProblem,
    UserError,
)
from harness.core.records import parse
from harness.engine.operations import Artifact
from harness.engine.plan import Plan
from harness.engine.registry import load_operation
from harness.models.checkpoints import load_causal_lm
from harness.reproduce import reproduce
from harness.training.adapters import (
    ADAPTERS,
    Adapters,
    adapt,
    check_kernel,
    check_processes,
)
from harness.training.parts import Parts
from harness.training.runs import open_model
from harness.training.saving import Saver
from harness.training.settings import LoraSettings, RunSettings, libraries_of
from harness.training.trainer import train
from tests.harness.training.adapter_runs import (
    LORA,
    OBJECTIVES,
    RUN,
    Make,
    by_adapters,
    logits,
    settings,
)
from tests.harness.training.advantage_objective import Advantage, make_examples
from tests.harness.training.test_parts import Both, tokenizers
from tests.tiny_models import make_model, make_tokenizer


class Killed(BaseException):
    """What a killed process leaves: no code runs after it."""


@pytest.mark.parametrize(
    ("operation", "dtype"), [("train_sft", "bfloat16"), ("train_preference", "float32")]
)
def test_a_killed_training_resumes_to_the_same_bytes(
    operation: str, dtype: str, train_on: Make, checkpoint: Make, context: Make
) -> None:
    given = {**OBJECTIVES[operation], "max_steps": 4, "save_steps": 1, "dtype": dtype}
    whole = train_on(operation, "whole", **given)

    killed = context("killed")
    plain = killed.progress

    def progress(done: int, total: int, unit: str = "rows") -> None:
        plain(done, total, unit)
        if done == 3:
            raise Killed

    killed.progress = progress
    found = load_operation(operation)
    rows = Artifact("rows", context("whole").directory.parents[1] / "rows")
    inputs = {"rows": rows, "model": checkpoint("llama")}
    params = parse(found.params, {**RUN, "lora": LORA, **given}, "test")
    with pytest.raises(Killed):
        found.function(killed, params, **inputs)
    killed.progress, killed.reports = plain, []
    found.function(killed, params, **inputs)
    assert killed.reports[0][0] == 3
    kept = whole.scratch / "checkpoint-4"
    assert (kept / "adapter_model.safetensors").is_file()
    assert not (kept / "model.safetensors").exists()  # the base is not copied
    for file in ("model.safetensors", f"{ADAPTERS}/adapter_model.safetensors"):
        assert (killed.directory / file).read_bytes() == (whole.directory / file).read_bytes()


def test_a_training_that_failed_to_save_is_not_trained_again(context: Make) -> None:
    plain, failed = context("plain"), context("failed")
    run = settings(), make_examples(8), Advantage(0.4)
    train(make_model("llama"), make_tokenizer(), run[1], run[2], run[0], plain)
    (failed.directory / "training_log.json").mkdir()  # so that the last file cannot be written
    with pytest.raises(UserError):
        train(make_model("llama"), make_tokenizer(), run[1], run[2], run[0], failed)
    shutil.rmtree(failed.directory / "training_log.json")
    failed.reports.clear()
    train(make_model("llama"), make_tokenizer(), run[1], run[2], run[0], failed)
    assert failed.reports == []
    for file in ("model.safetensors", f"{ADAPTERS}/adapter_config.json", "training_log.json"):
        assert (failed.directory / file).read_bytes() == (plain.directory / file).read_bytes()


def test_of_parts_the_language_models_get_adapters(context: Make) -> None:
    stage = context("parts")
    parts = Parts({"first": make_model("llama"), "second": make_model("llama")}, ("first",))
    rows = [[6, 7, 8, 9], [9, 8, 7, 6]] * 4
    train(parts, tokenizers(), rows, Both({}), settings(save_steps=1), stage)
    base = make_model("llama")
    merged = AutoModelForCausalLM.from_pretrained(stage.directory / "first")
    found = by_adapters(make_model("llama"), stage.directory / ADAPTERS / "first")
    torch.testing.assert_close(logits(merged), logits(found), rtol=1e-5, atol=1e-5)
    name = "model.embed_tokens.weight"
    assert torch.equal(merged.state_dict()[name], base.state_dict()[name])
    second = AutoModelForCausalLM.from_pretrained(stage.directory / "second").state_dict()
    assert not torch.equal(second[name], base.state_dict()[name])  # trained whole
    assert not (stage.directory / ADAPTERS / "second").exists()


REFUSED: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"targets": ["q_prj"]}, BadData, r'"q_prj", but no linear layer .* down_proj, gate_proj'),
    ({"targets": ["q_proj", "nope"]}, BadData, r'"nope", but no linear layer'),
    ({"targets": ["proj"]}, BadData, r'"proj", but no linear layer'),
    ({"targets": ["input_layernorm"]}, BadData, r'"input_layernorm", but no linear layer'),
    ({"targets": ["embed_tokens"]}, BadData, r'"embed_tokens", but no linear layer'),
    ({"targets": ["lm_head"]}, BadData, r'"lm_head", the output head, which cannot'),
    ({"quantise": "nf4"}, EnvironmentProblem, r'quantise = "nf4" needs a CUDA GPU.* on "cpu"'),
    ({"rank": 0}, BadRecord, r"lora.rank"),
    ({"rank": -3}, BadRecord, r"lora.rank"),
    ({"rank": 2.5}, BadRecord, r"lora.rank"),
    ({"alpha": 0}, BadRecord, r"lora.alpha"),
    ({"dropout": 1.0}, BadRecord, r"lora.dropout"),
    ({"targets": []}, BadRecord, r"lora.targets"),
    ({"targets": [""]}, BadRecord, r"lora.targets"),
    ({"quantise": "int3"}, BadRecord, r"lora.quantise"),
    ({"r": 8}, BadRecord, r"lora"),
]


@pytest.mark.parametrize(("lora", "error", "words"), REFUSED)
@pytest.mark.parametrize("operation", ["train_sft", "train_preference"])
def test_what_cannot_be_trained_is_refused_before_the_first_update(
    operation: str,
    lora: dict[str, Any],
    error: type[Exception],
    words: str,
    train_on: Make,
    context: Make,
) -> None:
    with pytest.raises(error, match=words) as found:
        train_on(operation, "run", **OBJECTIVES[operation], lora={**LORA, **lora})
    assert error is BadRecord or "\n" not in str(found.value)
    assert context("run").reports == []
    assert not (context("run").directory / "model.safetensors").exists()


def test_four_bits_are_for_models_that_a_run_loads_itself() -> None:
    with pytest.raises(BadData, match="for causal language models alone"):
        adapt(make_model("llama"), settings({"quantise": "nf4"}))


def test_a_model_without_linear_layers_is_refused() -> None:
    model = make_model("llama")
    model.model.layers = nn.ModuleList()
    with pytest.raises(BadData, match="no linear layer that could be adapted"):
        adapt(model, settings())


@pytest.mark.parametrize("device", ["cpu", "cuda", "mps", "cuda:1"])
def test_a_base_in_four_bits_needs_a_gpu(device: str) -> None:
    if torch.cuda.is_available():
        pytest.skip("a GPU is here")
    with pytest.raises(EnvironmentProblem, match="needs a CUDA GPU"):
        check_kernel(device)


def test_processes_that_share_a_model_are_refused() -> None:
    from types import SimpleNamespace

    from accelerate.utils import DistributedType

    for kind in (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU):
        check_processes(SimpleNamespace(distributed_type=kind), "adapters (lora)")
    for kind in (DistributedType.FSDP, DistributedType.DEEPSPEED):
        with pytest.raises(EnvironmentProblem, match=f"launch of type {kind.value}"):
            check_processes(SimpleNamespace(distributed_type=kind), "adapters (lora)")


def test_adapters_are_part_of_the_id_only_where_there_are_any() -> None:
    plain = RunSettings(learning_rate=1e-3)
    assert "lora" not in plain.model_dump(mode="json")
    assert "lora" in settings().model_dump(mode="json")
    used = libraries_of("torch")
    assert used(plain) == ("torch",)
    assert used(settings()) == ("torch", "peft")
    assert used(settings({"quantise": "nf4"})) == ("torch", "peft", "bitsandbytes")
    ids = set()
    for lora in (None, LORA, {**LORA, "rank": 8}):
        plan = Plan()
        rows = plan.stage("import_prompts", ref="nano:train", limit=2)
        model = plan.stage("import_model", ref="nano:target")
        given = {**RUN, **({} if lora is None else {"lora": lora})}
        ids.add(plan.stage("train_sft", rows=rows, model=model, **given).id)
    assert len(ids) == 3


def test_a_rehearsal_adapts_nano_models_in_full_precision() -> None:
    given = ['train.lora.targets=["wqkv"]', 'train.lora.quantise="nf4"', "train.lora.rank=2"]
    recipe: Any = reproduce("wrpo", "paper", overrides=given, rehearse=True).recipe
    assert recipe.train.lora == LoraSettings(rank=2)


def test_a_folder_of_adapters_is_no_model_to_merge(
    train_on: Make, checkpoint: Make, context: Make
) -> None:
    from harness.merging.operations import merge_models
    from harness.merging.settings import MergeParams

    run = train_on("train_sft", "run")
    whole = Artifact("whole", run.directory)
    alone = Artifact("alone", run.directory / ADAPTERS)
    made, rule = context("merged"), parse(MergeParams, {"rule": {"method": "linear"}}, "test")
    merge_models(made, rule, base=checkpoint("llama"), targets=(whole, whole))
    assert (made.directory / "model.safetensors").is_file()
    elsewhere = made.scratch / "elsewhere"
    shutil.copytree(alone.path, elsewhere)
    for path, advice in ((alone.path, f"give {run.directory},"), (elsewhere, "merge it with peft")):
        given = Artifact("alone", path)
        with pytest.raises(UserError, match=f"expected a whole checkpoint: {advice}") as found:
            merge_models(context("not"), rule, base=checkpoint("llama"), targets=(given,))
        assert str(found.value).startswith(f"{path} is an adapter (LoRA)")


def test_adapters_are_saved_though_they_could_not_be_kept_apart(context: Make) -> None:
    plain, made = context("plain"), context("run")
    (made.scratch / "trained").write_text("in the way")
    run = make_examples(8), Advantage(0.4), settings()
    train(make_model("llama"), make_tokenizer(), *run, plain)
    train(make_model("llama"), make_tokenizer(), *run, made)
    assert any("could not be kept apart" in note for note in made.notes)
    for file in ("model.safetensors", f"{ADAPTERS}/adapter_model.safetensors"):
        assert (made.directory / file).read_bytes() == (plain.directory / file).read_bytes()


def test_a_folder_that_cannot_be_written_is_met_before_the_first_update(context: Make) -> None:
    """Of the disk, a limit on files stands for it: root may write into every folder."""
    made, before = context("run"), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(StoreProblem, match="cannot take the trained model") as found:
            train(
                make_model("llama"),
                make_tokenizer(),
                make_examples(8),
                Advantage(0.4),
                settings(),
                made,
            )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "\n" not in str(found.value)
    assert made.reports == []


def test_space_for_the_adapters_is_held_with_that_of_the_weights(context: Make) -> None:
    held = []
    for rank in (1, 32):
        made, model = context(f"rank{rank}"), adapt(make_model("llama"), settings({"rank": rank}))
        numbers = Adapters(model).numbers()
        Saver(model, make_tokenizer(), settings({"rank": rank}), made).check(updates=2)
        held.append((numbers, (made.scratch / "reserved-0").stat().st_size))
    (few, small), (many, large) = held
    assert large - small >= 4 * (many - few)


def test_checkpoints_to_resume_from_have_what_is_trained() -> None:
    """Weights and two moments of adapters; of parts, also the frozen base."""
    adapted = adapt(make_model("llama"), settings())
    trained = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    base = sum(p.numel() for p in make_model("llama").parameters())
    assert Adapters(adapted).resumable() == 3 * trained
    parts = Parts({"first": make_model("llama"), "second": make_model("llama")}, ("first",))
    parts = adapt(parts, settings())
    assert Adapters(parts).resumable() == 3 * (trained + base) + base


@pytest.mark.parametrize("method", ["gptq", "awq", "bitsandbytes"])
def test_a_base_that_is_quantised_already_is_refused(
    method: str, checkpoint: Make, tmp_path: Path
) -> None:
    path = shutil.copytree(checkpoint("llama").path, tmp_path / "quantised")
    config = json.loads((path / "config.json").read_text())
    config["quantization_config"] = {"quant_method": method, "bits": 4, "load_in_4bit": True}
    (path / "config.json").write_text(json.dumps(config))
    with pytest.raises(BadData, match=f"quantised with {method} cannot be trained here"):
        load_causal_lm(path, "cpu", fresh=True, quantise="nf4")
    with pytest.raises(BadData, match=r"cannot be (loaded as a model|trained here)") as found:
        open_model(path, settings())
    assert "\n" not in str(found.value)


def test_peft_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtra, match=r"peft.*crucible-bench\[train\]"):
        adapt(make_model("llama"), settings())
