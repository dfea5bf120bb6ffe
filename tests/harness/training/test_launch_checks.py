"""What is wrong with a launch is said before it starts."""

from __future__ import annotations

import importlib.util
import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from harness.core.errors import BadData, BadRecord, EnvironmentProblem
from harness.core.records import parse
from harness.engine.io import write_json
from harness.engine.plan import Plan
from harness.models import threads
from harness.training import runs
from harness.training.launch_checks import PRESETS, checked_launch
from harness.training.preference_operations import TrainPreferenceParams
from harness.training.settings import LaunchSettings, RunSettings
from tests.tiny_models import FakeContext

Make = Callable[..., Any]


def check(device: str = "cuda", dtype: str = "float32", **launch: Any) -> dict[str, str]:
    options = checked_launch(LaunchSettings(**{"processes": 2, **launch}), device, dtype)
    return dict(zip(options[::2], options[1::2], strict=True))


@pytest.fixture(autouse=True)
def two_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(threads, "cores", lambda: 2)


@pytest.fixture
def config(tmp_path: Path) -> Make:
    def write(text: str) -> str:
        (tmp_path / "own.yaml").write_text(text)
        return str(tmp_path / "own.yaml")

    return write


def test_accelerate_reads_the_presets() -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    kinds = {p.stem: load_config_from_file(str(p)).distributed_type for p in PRESETS.glob("*.yaml")}
    assert kinds == {"ddp": "MULTI_GPU", "fsdp": "FSDP", "zero3": "DEEPSPEED"}


def test_the_types_and_processes_of_the_recipe_are_those_of_the_launch(config: Make) -> None:
    own = config("distributed_type: FSDP\nnum_processes: 8\nmixed_precision: fp16\n")
    found = check(dtype="bfloat16", config=own)
    assert found["--num_processes"] == "2"
    assert found["--mixed_precision"] == "bf16"
    assert found["--config_file"] == own
    assert check()["--mixed_precision"] == "no"
    assert 0 < int(check()["--main_process_port"]) < 65536


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("distributed_type: XLA", "is for XLA, but this machine has CUDA GPUs"),
        ("distributed_type: MULTI_CPU", "is for MULTI_CPU, but"),
        ("distributed_type: FSDP\nuse_cpu: true", "is for the CPU"),
        (
            "distributed_type: FSDP\nnum_machines: 2",
            "num_machines is 2; set it to 1, and launch.machines",
        ),
        ("distributed_type: [", "cannot be read as YAML"),
        ("processes: 2", "has no distributed_type; expected a configuration of accelerate"),
        ("- 1", "has no distributed_type"),
        ("distributed_type: DEEPSPEED", "needs DeepSpeed: pip install deepspeed"),
    ],
)
def test_a_configuration_for_something_else_is_refused(
    text: str, message: str, config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "deepspeed" else find(name)
    )
    with pytest.raises((BadRecord, EnvironmentProblem), match=message):
        check(config=config(text))


def test_weights_that_could_not_be_saved_are_not_trained(
    config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    text = "distributed_type: DEEPSPEED\ndeepspeed_config: {zero_stage: 3, zero3_save_16bit_model: "
    assert check(config=config(text + "true}"))
    with pytest.raises(BadRecord, match="zero3_save_16bit_model = false"):
        check(config=config(text + "false}"))


def test_a_name_that_is_no_preset_is_refused() -> None:
    with pytest.raises(BadRecord, match=r'"fsdp2", which is no file; .* did you mean "fsdp"\?'):
        check(config="fsdp2")


@pytest.mark.parametrize("name", ["fsdp", "zero3"])
def test_nothing_is_divided_on_a_cpu(name: str) -> None:
    with pytest.raises(EnvironmentProblem, match="is for GPUs, and this run is on the CPU"):
        check("cpu", config=name)
    assert check("cpu", config="ddp")


@pytest.mark.parametrize(("device", "kind"), [("cuda", "GPU"), ("cpu", "core")])
def test_more_processes_than_devices_are_refused(device: str, kind: str) -> None:
    assert check(device, processes=2)
    with pytest.raises(EnvironmentProblem, match=f"is 3, but this process sees 2 {kind}s: set"):
        check(device, processes=3)


def test_a_port_in_use_is_refused(config: Make) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        own = config(f"distributed_type: FSDP\nmain_process_port: {port}\n")
        with pytest.raises(EnvironmentProblem, match=f"main_process_port {port} is in use"):
            check(config=own)
    assert check(config=own)["--main_process_port"] == str(port)


@pytest.mark.parametrize(
    ("batch", "accumulation", "launch", "expected"),
    [
        (8, 4, {"processes": 4}, (8, 1)),
        (8, 4, {"processes": 2, "batch_size": 3}, (2, 8)),
        (6, 2, {"processes": 3}, (4, 1)),
        (2, 8, {"processes": 1}, (2, 8)),
    ],
)
def test_the_rows_of_an_update_are_divided(
    batch: int, accumulation: int, launch: dict[str, int], expected: tuple[int, int]
) -> None:
    how = RunSettings(
        learning_rate=1.0, per_device_batch_size=batch, accumulation_steps=accumulation,
        launch=LaunchSettings(**launch),
    )  # fmt: skip
    assert how.per_process == expected
    assert expected[0] * expected[1] * launch["processes"] == batch * accumulation


def test_processes_that_do_not_divide_an_update_are_refused() -> None:
    given = {"learning_rate": 1.0, "per_device_batch_size": 6, "launch": {"processes": 4}}
    with pytest.raises(BadRecord, match="one of 1, 2, 3, 6; found 4"):
        parse(RunSettings, given, "recipe")


def test_a_loss_that_couples_rows_takes_one_process() -> None:
    given = {"learning_rate": 1.0, "loss": "kto_pair", "launch": {"processes": 2}}
    with pytest.raises(
        BadRecord, match=r"launch\.processes = 1, because this loss couples the rows"
    ):
        parse(TrainPreferenceParams, given, "recipe")


def test_a_launch_is_no_part_of_a_stages_id() -> None:
    def ids(**how: Any) -> str:
        plan = Plan()
        model = plan.stage("import_model", ref="nano:base")
        rows = plan.stage("import_prompts", ref="nano:train")
        return plan.stage("train_sft", rows=rows, model=model, learning_rate=1e-3, **how).id

    assert ids() == ids(launch={"processes": 2}) == ids(launch=None)
    assert ids() != ids(accumulation_steps=2)


def test_a_training_that_cannot_be_launched_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    how = RunSettings(learning_rate=1.0, launch=LaunchSettings(processes=2))
    with pytest.raises(BadData, match="runs in 1 process, but its settings ask for 2"):
        runs.training_arguments(dict, how, FakeContext(tmp_path, tmp_path))  # type: ignore[type-var]


def test_divided_gradients_are_divided_after_each_forward_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, how = FakeContext(tmp_path, tmp_path), RunSettings(learning_rate=1.0)
    key = "accelerator_config"
    assert key not in runs.training_arguments(dict, how, context)  # type: ignore[type-var]
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    found: Any = runs.training_arguments(dict, how, context)  # type: ignore[type-var]
    assert found[key] == {"gradient_accumulation_kwargs": {"sync_each_batch": True}}


def test_a_checkpoint_that_other_processes_divided_is_refused(tmp_path: Path) -> None:
    whole, eight = ({"processes": n, "kind": k} for n, k in ((1, "whole"), (8, "FSDP")))
    runs._check_launch(tmp_path, whole)  # one of an earlier version
    write_json(tmp_path / "launch.json", eight)
    runs._check_launch(tmp_path, eight)
    with pytest.raises(BadData, match=r"found 8 \(FSDP\), expected 1 \(whole\); launch as before"):
        runs._check_launch(tmp_path, whole)
    trainer: Any = SimpleNamespace(
        accelerator=SimpleNamespace(distributed_type=SimpleNamespace(value="FSDP"), num_processes=8)
    )
    assert runs._launch_of(trainer) == eight
