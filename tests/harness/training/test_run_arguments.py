"""What a run hands to transformers, what it reports, and what it leaves as it was."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate.utils import DistributedType
from huggingface_hub import constants
from transformers import TrainingArguments
from transformers.utils import logging

from harness.core.errors import BadData, CrucibleError, EnvironmentProblem
from harness.models.checkpoints import load_causal_lm
from harness.training import runs
from harness.training.settings import RunSettings
from harness.training.trainer import train
from tests.harness.training.advantage_objective import Advantage, make_examples
from tests.tiny_models import make_model, make_tokenizer

Make = Callable[..., Any]
PLAIN = RunSettings(learning_rate=0.5)
ALWAYS = {
    "gradient_checkpointing_kwargs": {"use_reentrant": False}, "save_total_limit": 2,
    "logging_steps": 1, "logging_nan_inf_filter": False, "report_to": "none", "disable_tqdm": True,
}  # fmt: skip


def test_every_setting_of_a_run_reaches_its_argument(context: Make) -> None:
    run = context("run")
    how = RunSettings(
        learning_rate=0.25, epochs=3.5, max_steps=11, per_device_batch_size=5,
        accumulation_steps=6, warmup_ratio=0.2, scheduler="linear", weight_decay=0.3,
        max_grad_norm=0.7, seed=13, dtype="bfloat16", gradient_checkpointing=True, save_steps=4,
    )  # fmt: skip
    found: dict[str, Any] = runs.training_arguments(dict, how, run, adam_beta2=0.9)  # type: ignore[type-var]
    assert found == {
        **ALWAYS, "output_dir": str(run.scratch), "per_device_train_batch_size": 5,
        "gradient_accumulation_steps": 6, "learning_rate": 0.25, "num_train_epochs": 3.5,
        "max_steps": 11, "lr_scheduler_type": "linear", "warmup_steps": 0.2, "weight_decay": 0.3,
        "max_grad_norm": 0.7, "seed": 13, "data_seed": 13, "bf16": True,
        "gradient_checkpointing": True, "save_strategy": "steps", "save_steps": 4,
        "use_cpu": True, "dataloader_pin_memory": False, "adam_beta2": 0.9,
    }  # fmt: skip


def test_a_plain_run_has_no_limit_of_steps_and_no_checkpoints(context: Make) -> None:
    run = context("run")
    run.device = "cuda"
    found: dict[str, Any] = runs.training_arguments(dict, PLAIN, run)  # type: ignore[type-var]
    assert (found["max_steps"], found["save_strategy"], found["save_steps"]) == (-1, "no", 1)
    assert (found["bf16"], found["gradient_checkpointing"]) == (False, False)
    assert (found["use_cpu"], found["dataloader_pin_memory"]) == (False, True)
    assert runs.training_arguments(TrainingArguments, PLAIN, context("cpu")).report_to == []


@pytest.mark.parametrize(
    ("device", "count", "launched", "refused"),
    [("cuda", 2, False, True), ("cuda", 3, False, True), ("cuda", 1, False, False),
     ("cuda", 2, True, False), ("cpu", 2, False, False), ("cpu", 0, False, False)],
)  # fmt: skip
def test_several_gpus_in_one_process_are_refused(
    device: str, count: int, launched: bool, refused: bool,
    context: Make, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    run = context("run")
    run.device = device
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    if launched:
        monkeypatch.setenv("LOCAL_RANK", "0")
    if refused:
        with pytest.raises(EnvironmentProblem, match=f"{count} GPUs are visible"):
            runs.training_arguments(dict, PLAIN, run)  # type: ignore[type-var]
    else:
        assert runs.training_arguments(dict, PLAIN, run)  # type: ignore[type-var]


def test_progress_reports_updates_and_stops_at_a_loss_that_is_no_number(context: Make) -> None:
    run = context("run")
    progress, state = runs.Progress(run, {}), SimpleNamespace(global_step=3, max_steps=9)
    progress.on_step_end(None, state, None)
    assert run.reports == [(3, 9, "updates")]
    for logs in (None, {}, {"train_runtime": float("nan")}, {"loss": 0.0}, {"loss": 2.5}):
        progress.on_log(None, state, None, logs=logs)
    progress.on_log(None, state, None)
    for loss in (float("nan"), float("inf")):
        with pytest.raises(CrucibleError, match=f"at update 3 of 9 is {loss}"):
            progress.on_log(None, state, None, logs={"loss": loss})


def test_a_run_prints_nothing(context: Make, capsys: pytest.CaptureFixture[str]) -> None:
    how = RunSettings(learning_rate=1e-3, max_steps=1)
    model, tokenizer = make_model("llama"), make_tokenizer()
    train(model, tokenizer, make_examples(2), Advantage(0.4), how, context("run"))
    said = capsys.readouterr()
    assert said.out == ""
    assert "loss" not in said.err


def test_a_model_to_train_is_a_copy_in_float32(checkpoint: Make, tmp_path: Path) -> None:
    made = make_model("llama").bfloat16()
    made.save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    shared, _ = load_causal_lm(tmp_path, "cpu", "float32")
    model, tokenizer = runs.open_model(tmp_path)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert {p.device.type for p in model.parameters()} == {"cpu"}
    assert tokenizer.chat_template
    with torch.no_grad():
        model.lm_head.weight += 1
    assert not torch.equal(model.lm_head.weight, shared.lm_head.weight)
    assert torch.equal(runs.open_model(tmp_path)[0].lm_head.weight, shared.lm_head.weight)
    made.lm_head.weight.data[0, 0] = float("nan")
    made.save_pretrained(tmp_path / "broken")
    make_tokenizer().save_pretrained(tmp_path / "broken")
    with pytest.raises(BadData, match=f"{tmp_path / 'broken'}: lm_head.weight contains NaN"):
        runs.open_model(tmp_path / "broken")


def _fails_quietly() -> None:
    with runs.quiet():
        assert constants.HF_HUB_DISABLE_TELEMETRY is True
        assert not logging.is_progress_bar_enabled()
        assert os.environ.pop("HF_HUB_DISABLE_TELEMETRY") == "1"
        raise KeyError


@pytest.mark.parametrize("before", [True, False])
def test_telemetry_and_bars_are_off_inside_and_as_before_outside(
    before: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_HUB_DISABLE_TELEMETRY", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", before)
    shown = logging.is_progress_bar_enabled()
    (logging.enable_progress_bar if before else logging.disable_progress_bar)()
    try:
        with pytest.raises(KeyError):
            _fails_quietly()
        assert constants.HF_HUB_DISABLE_TELEMETRY is before
        assert logging.is_progress_bar_enabled() is before
    finally:
        (logging.enable_progress_bar if shown else logging.disable_progress_bar)()


class Trained:
    """The parts of a transformers.Trainer that a run asks, without training."""

    def __init__(self, main: bool, processes: int = 1) -> None:
        self.model = self.model_wrapped = make_model("llama")
        self.accelerator = SimpleNamespace(
            unwrap_model=lambda model: model,
            num_processes=processes,
            distributed_type=DistributedType.FSDP if processes > 1 else DistributedType.NO,
            get_state_dict=lambda model: {"gathered": torch.zeros(1), "number": torch.tensor(3)},
        )
        self.args = SimpleNamespace(
            train_batch_size=2, gradient_accumulation_steps=1, world_size=processes,
            max_steps=-1, num_train_epochs=1.0,
        )  # fmt: skip
        self.train_dataset = [0] * 4
        self.state = SimpleNamespace(global_step=2, log_history=[{"loss": 1.5, "step": 2}])
        self.main, self.resumed, self.callbacks = main, "no training", []

    def is_world_process_zero(self) -> bool:
        return self.main

    def remove_callback(self, kind: type) -> None: ...

    def add_callback(self, callback: Any) -> None:
        self.callbacks.append(callback)

    def train(self, resume_from_checkpoint: str | None) -> None:
        self.resumed = resume_from_checkpoint


def test_only_the_main_process_tries_and_writes(context: Make) -> None:
    other, run = Trained(main=False), context("other")
    runs.run_and_save(other, make_tokenizer(), PLAIN, run, 0)  # type: ignore[arg-type]
    assert other.resumed is None
    assert [type(callback) for callback in other.callbacks] == [runs.Progress]
    assert list(run.scratch.iterdir()) == list(run.directory.iterdir()) == []
    main, run = Trained(main=True), context("main")
    runs.run_and_save(main, make_tokenizer(), PLAIN, run, 0)  # type: ignore[arg-type]
    assert (run.directory / "model.safetensors").is_file()
    assert (run.scratch / "trained").is_dir()


def test_weights_of_several_processes_are_gathered_in_the_type_of_the_checkpoint(
    context: Make,
) -> None:
    both = Trained(main=True, processes=2)
    how = RunSettings(learning_rate=0.5, dtype="bfloat16")
    saver = runs.Saver(both.model, make_tokenizer(), how, context("run"))
    state = saver._state(both)  # type: ignore[arg-type]
    assert state is not None
    kinds = {name: value.dtype for name, value in state.items()}
    assert kinds == {"gathered": torch.bfloat16, "number": torch.int64}
