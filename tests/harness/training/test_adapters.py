"""LoRA adapters: as peft by hand, merged exactly, resumed exactly, refused in a sentence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModelForCausalLM

from harness.core.errors import BadData, BadRecord, EnvironmentProblem, UserError
from harness.core.records import parse
from harness.engine.operations import Artifact, Row
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
    without_adapters,
)
from harness.training.parts import Parts
from harness.training.settings import LoraSettings, RunSettings, libraries_of
from harness.training.trainer import train
from tests.harness.training.advantage_objective import Advantage, make_examples
from tests.harness.training.test_parts import Both, tokenizers
from tests.tiny_models import make_model, make_tokenizer

Make = Callable[..., Any]
LORA = {"rank": 4, "alpha": 8.0}
RUN: dict[str, Any] = {
    "learning_rate": 1e-2,
    "scheduler": "constant",
    "warmup_ratio": 0.0,
    "max_grad_norm": 0.0,
    "per_device_batch_size": 4,
    "max_steps": 2,
}
LIMITS = {"max_length": 64, "max_prompt_length": 32}


def settings(lora: dict[str, Any] | None = None, **changes: Any) -> RunSettings:
    return parse(RunSettings, {**RUN, "lora": {**LORA, **(lora or {})}, **changes}, "test")


def by_hand(model: Any, seed: int = 42) -> Any:
    torch.manual_seed(seed)
    return get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules="all-linear"))


def log_of(context: Any) -> list[dict[str, Any]]:
    return json.loads((context.directory / "training_log.json").read_text())["log"]


def weights(context: Any, file: str = "model.safetensors") -> dict[str, torch.Tensor]:
    return load_file(context.directory / file)


def logits(model: Any, ids: list[int] = [6, 7, 8, 9, 7, 12]) -> torch.Tensor:  # noqa: B006
    with torch.no_grad():
        found: torch.Tensor = model.eval()(input_ids=torch.tensor([ids])).logits
    return found


def by_adapters(base: Any, folder: Path) -> Any:
    """The base with the stored adapters, by peft."""
    return PeftModel.from_pretrained(base, folder)


@pytest.fixture
def train_on(
    context: Make, rows_artifact: Make, preference_rows: list[Row], checkpoint: Make
) -> Make:
    """`train_on(operation, name, **params)`: the context of a run on 12 rows."""

    def run(operation: str, name: str, inputs: dict[str, Any] | None = None, **changes: Any) -> Any:
        made, found = context(name), load_operation(operation)
        given = {**RUN, "lora": LORA, **changes}
        key = "corpus" if operation == "train_fusion" else "rows"
        pair = {"source": "a", "target": "b", "label": "minor_revise"}  # of a reviser
        rows = [{**row, "response": row["responses"]["source"], **pair} for row in preference_rows]
        chosen = {key: rows_artifact(rows), "model": checkpoint("llama"), **(inputs or {})}
        found.function(made, parse(found.params, given, "test"), **chosen)
        return made

    return run


@pytest.mark.parametrize("kind", ["llama", "tied", "neox"])
def test_an_update_is_that_of_peft_by_hand(kind: str, context: Make) -> None:
    """Losses, adapters and merged weights of two updates by AdamW."""
    run, examples = context("run"), make_examples(8)
    train(make_model(kind), make_tokenizer(), examples, Advantage(0.4), settings(), run)
    hand, objective = by_hand(make_model(kind)), Advantage(0.4)
    trained = [p for p in hand.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-2, weight_decay=0.0)
    order = torch.utils.data.RandomSampler(range(8), generator=torch.Generator().manual_seed(42))
    places = [*order][:8]
    for step in range(2):
        batch = objective.collate([examples[n] for n in places[4 * step : 4 * step + 4]])
        terms, _ = objective.sums(hand.train(), batch, {})
        loss = sum(total / count for total, count in terms.values())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        assert log_of(run)[step]["loss"] == pytest.approx(loss.item(), rel=1e-4)
    found = by_adapters(make_model(kind), run.directory / ADAPTERS)
    torch.testing.assert_close(logits(found), logits(hand), rtol=1e-4, atol=1e-5)
    merged = AutoModelForCausalLM.from_pretrained(run.directory).state_dict()
    expected = hand.merge_and_unload().state_dict()
    assert merged.keys() == expected.keys()
    for name, value in merged.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-5)


OBJECTIVES: dict[str, dict[str, Any]] = {
    "train_sft": {},
    "train_preference": {"loss": "simpo", **LIMITS},
    "train_fusion": {"packing": "none"},
    "train_on_pairs": {"loss": {"distill": 0.0}, "anchor": "target", **LIMITS},
    "train_reviser": LIMITS,
}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("operation", OBJECTIVES)
def test_every_objective_trains_adapters_that_the_checkpoint_has_merged(
    operation: str, dtype: str, train_on: Make, checkpoint: Make
) -> None:
    run = train_on(operation, "run", dtype=dtype, **OBJECTIVES[operation])
    base = AutoModelForCausalLM.from_pretrained(checkpoint("llama").path, dtype=dtype).float()
    before = logits(base)
    held = weights(run, f"{ADAPTERS}/adapter_model.safetensors")
    assert {value.dtype for value in held.values()} == {torch.float32}
    assert any(value.abs().max() > 0 for name, value in held.items() if "lora_B" in name)
    assert {path.name for path in (run.directory / ADAPTERS).iterdir()} == {
        "adapter_config.json", "adapter_model.safetensors"
    }  # fmt: skip
    found = by_adapters(base, run.directory / ADAPTERS)
    merged, tokenizer = load_causal_lm(run.directory)
    if dtype == "float32":
        torch.testing.assert_close(logits(merged), logits(found), rtol=1e-5, atol=1e-5)
        assert (logits(merged) - before).abs().max() > 1e-4
    expected = found.merge_and_unload().state_dict()
    assert weights(run).keys() == expected.keys()
    for name, value in weights(run).items():  # the sum, rounded once
        close = {"rtol": 1e-5, "atol": 1e-6} if dtype == "float32" else {"rtol": 2**-7, "atol": 0}
        torch.testing.assert_close(value, expected[name].to(getattr(torch, dtype)), **close)
    assert tokenizer.chat_template


def test_a_merged_checkpoint_is_the_start_of_a_next_training(train_on: Make) -> None:
    first = train_on("train_sft", "first")
    second = train_on(
        "train_preference",
        "second",
        {"model": Artifact("first", first.directory)},
        **OBJECTIVES["train_preference"],
        lora=None,
    )
    assert not (second.directory / ADAPTERS).exists()
    assert weights(second).keys() == weights(first).keys()


def test_the_reference_is_the_base_without_a_second_copy(
    train_on: Make, rows_artifact: Make, checkpoint: Make, context: Make
) -> None:
    """Rows of `reference_logps` give the same updates as the base that the adapters leave."""
    operation = load_operation("reference_logps")
    params = parse(operation.params, LIMITS, "test")
    given = {**RUN, "loss": "dpo", "settings": {"beta": 0.5}, **LIMITS, "max_steps": 3}
    live = train_on("train_preference", "live", **given)
    rows = Artifact("rows", context("live").directory.parents[1] / "rows")
    made = operation.function(
        context("reference"), params, [rows.rows()], rows=rows, model=checkpoint("llama")
    )
    stored = rows_artifact([row for batch in made for row in batch], "reference")
    told = train_on("train_preference", "told", {"reference": stored}, **given)
    assert log_of(live)[0]["loss"] == pytest.approx(0.6931, abs=1e-4)
    for one, two in zip(log_of(live), log_of(told), strict=True):
        assert one["loss"] == pytest.approx(two["loss"], rel=1e-5)
        assert one["rewards/target"] == pytest.approx(two["rewards/target"], abs=1e-4)
    assert log_of(live)[-1]["loss"] < 0.69
    for name, value in weights(live).items():
        torch.testing.assert_close(value, weights(told)[name], rtol=1e-4, atol=1e-5)


def test_the_base_stays_what_it_was_while_adapters_are_trained() -> None:
    model = make_model("llama")
    before = logits(model).clone()
    adapted = adapt(model, settings())
    with torch.no_grad():
        for name, value in adapted.named_parameters():
            if "lora_B" in name:
                value += 1.0
    assert (logits(adapted) - before).abs().max() > 1e-2
    with without_adapters(adapted):
        assert torch.equal(logits(adapted), before)
    assert (logits(adapted) - before).abs().max() > 1e-2
    trained = [name for name, p in adapted.named_parameters() if p.requires_grad]
    assert trained
    assert all("lora_" in name for name in trained)
    found = Adapters(adapted)
    assert found.numbers() == sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    found.unload()
    assert torch.equal(logits(found.plain()), before)


def test_adapters_start_the_same_for_a_seed_whatever_was_drawn_before() -> None:
    first = adapt(make_model("llama"), settings()).state_dict()
    torch.rand(3)
    state = torch.get_rng_state()
    again = adapt(make_model("llama"), settings())
    model = make_model("llama")
    assert all(torch.equal(value, first[name]) for name, value in again.state_dict().items())
    other = adapt(model, settings(seed=7)).state_dict()
    assert any(not torch.equal(value, first[name]) for name, value in other.items())
    torch.set_rng_state(state)


def test_without_the_table_nothing_is_adapted() -> None:
    model = make_model("llama")
    assert adapt(model, RunSettings(learning_rate=1e-3)) is model


def test_accumulated_batches_are_one_batch(train_on: Make) -> None:
    whole = train_on("train_sft", "whole", per_device_batch_size=8, max_steps=3)
    halves = train_on("train_sft", "halves", accumulation_steps=2, max_steps=3)
    for one, two in zip(log_of(whole), log_of(halves), strict=True):
        assert one["loss"] == pytest.approx(two["loss"], rel=1e-5)
    for name, value in weights(whole).items():
        torch.testing.assert_close(value, weights(halves)[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("operation", ["train_sft", "train_preference"])
def test_checkpointing_of_activations_changes_nothing(operation: str, train_on: Make) -> None:
    given = OBJECTIVES[operation]
    plain = train_on(operation, "plain", **given)
    again = train_on(operation, "again", **given, gradient_checkpointing=True)
    for name, value in weights(plain).items():
        torch.testing.assert_close(value, weights(again)[name], rtol=1e-5, atol=1e-6)


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
        check_processes(SimpleNamespace(distributed_type=kind))
    for kind in (DistributedType.FSDP, DistributedType.DEEPSPEED):
        with pytest.raises(EnvironmentProblem, match=f"launch of type {kind.value}"):
            check_processes(SimpleNamespace(distributed_type=kind))


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
    with pytest.raises(UserError, match=r"is an adapter .* expected a whole checkpoint: merge it"):
        merge_models(context("not"), rule, base=checkpoint("llama"), targets=(alone,))
