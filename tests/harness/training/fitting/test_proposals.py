"""Proposals for GPUs: the effective batch is kept, and what does not fit says what would."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from typer.testing import CliRunner

from harness.cli.main import app
from harness.core.errors import CrucibleError
from harness.core.records import parse
from harness.engine.operations import Estimate
from harness.engine.plan import Plan
from harness.reproduce import reproduce
from harness.training.fitting.hardware import LARGEST, Hardware, parse_hardware
from harness.training.fitting.memory import Launch, Training, serving_memory, training_memory
from harness.training.fitting.proposals import (
    ROW_TOKENS,
    fit_plan,
    fit_serving,
    fit_training,
    smallest,
    smallest_serving,
    weights_gib,
)
from harness.training.settings import LoraSettings, RunSettings

EIGHT = Hardware(8, 80)
WRPO = Training(parameters_b=8.03, tokens=3 * 2048, batch=128, checkpointing=True)

# What the papers used: WRPO eight A800 of 80 GB, MK-TOD one RTX 3090 of 24 GB, ADPA four or eight
# GPUs, Explore-Instruct, FuseChat, FuseLLM and KCA eight, PsyCoT a hosted model. The memory of the
# others, and all of FuseChat-3.0 and SeFT, are not stated: 80 GB. KCA's suites need data.
PAPERS: dict[str, tuple[str, list[str]]] = {
    "adpa": ("4x80GB", []),
    "explore_instruct": ("8x80GB", []),
    "fusechat": ("8x80GB", []),
    "fusechat3": ("8x80GB", []),
    "fusellm": ("8x80GB", []),
    "kca": ("8x80GB", ["suites=[]"]),
    "mktod": ("1x24GB", []),
    "psycot": ("1x24GB", []),
    "seft": ("8x80GB", []),
    "wrpo": ("8x80GB", []),
}


def test_wrpo_runs_as_its_paper_ran() -> None:
    """Eight processes, sharded, 2 prompts of three responses each, eight times."""
    assert fit_training(WRPO, EIGHT) == (Launch(8, "fsdp", 2, True), 8)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 6, 8, 16, 64, 1000])
@pytest.mark.parametrize("batch", [1, 7, 16, 64, 96, 128])
@pytest.mark.parametrize("gib", [24, 80])
def test_the_effective_batch_is_kept(count: int, batch: int, gib: int) -> None:
    training = replace(WRPO, batch=batch, parameters_b=0.494)
    hardware = Hardware(count, gib)
    launch, steps = fit_training(training, hardware) or (None, 0)
    assert launch is not None
    assert launch.processes * launch.rows * steps == batch
    assert launch.processes <= count
    assert launch.rows == 1 or launch.rows * training.tokens <= ROW_TOKENS
    assert training_memory(training, launch).total <= hardware.usable
    assert launch.checkpointing  # the recipe's


def test_whole_models_before_sharded_ones_and_no_checkpointing_unasked() -> None:
    small = Training(parameters_b=0.5, tokens=512, batch=64)
    launch, _ = fit_training(small, EIGHT) or (None, 0)
    assert launch == Launch(8, "none", 8, False)
    tight = Hardware(8, 40)
    middle = Training(parameters_b=3.21, tokens=16_384, batch=8)
    found = fit_training(middle, tight)
    assert found is not None
    assert found[0] == Launch(8, "fsdp", 1, True)
    without = replace(found[0], checkpointing=False)
    assert training_memory(middle, without).total > tight.usable


def test_rows_that_interact_stay_in_one_process() -> None:
    whole = Training(parameters_b=0.11, tokens=128, batch=108, coupled=108)
    assert fit_training(whole, EIGHT) == (Launch(1, "none", 108, False), 1)
    assert fit_training(replace(whole, batch=216), EIGHT) == (Launch(1, "none", 108, False), 2)
    assert fit_training(replace(whole, batch=100_000, coupled=100_000), EIGHT) is None


def test_adapters_are_not_sharded() -> None:
    """Each process has the base: 70 B need 140 GB in 16 bits, and 4 bits fit one card of 80."""
    base = Training(parameters_b=70.6, tokens=1024, batch=64, checkpointing=True)
    lora = replace(base, lora=LoraSettings())
    assert fit_training(lora, EIGHT) is None
    found = fit_training(replace(base, lora=LoraSettings(quantise="nf4")), EIGHT)
    assert found is not None
    assert (found[0].processes, found[0].sharding) == (8, "none")
    eight = fit_training(replace(lora, parameters_b=8.03), Hardware(1, 24))
    assert eight is not None  # full training of it needs 128 GB


@pytest.mark.parametrize(
    ("size", "hardware"),
    [
        *((3.21, each) for each in ("1x24GB", "2x24GB", "3x16GB")),
        *((8.03, each) for each in ("1x24GB", "2x24GB", "4x24GB", "8x24GB", "1x80GB", "3x16GB")),
        *((70.6, each) for each in ("1x24GB", "2x24GB", "4x24GB", "8x24GB", "1x80GB", "3x16GB")),
    ],
)
def test_the_smallest_that_is_named_fits_and_a_smaller_one_does_not(
    size: float, hardware: str
) -> None:
    training, given = replace(WRPO, parameters_b=size), parse_hardware(hardware)
    assert fit_training(training, given) is None
    said = smallest(training, given)
    named = re.findall(r"\d+x[\d.]+GB", said)
    assert bool(named) is ("more than any GPU has" not in said)
    if not named:
        assert all(fit_training(training, Hardware(n, given.gib)) is None for n in (32, 64, 128))
    for text in named:
        assert fit_training(training, parse_hardware(text)) is not None, text
    for text in named:
        more = parse_hardware(text)
        if more.count == given.count:
            assert fit_training(training, replace(more, gib=more.gib - 1)) is None
            assert more.gib <= LARGEST
            continue
        assert more.gib == given.gib
        fewer = (Hardware(count, given.gib) for count in range(given.count, more.count))
        assert all(fit_training(training, one) is None for one in fewer)


@pytest.mark.parametrize(
    ("size", "hardware", "expected"),
    [(8.03, "8x80GB", (1, 8)), (123, "8x80GB", (4, 2)), (70.6, "6x80GB", (2, 3)),
     (236, "8x80GB", (8, 1)), (236, "4x80GB", None), (8.03, "1x1GB", None)],
)  # fmt: skip
def test_models_that_answer(size: float, hardware: str, expected: tuple[int, int] | None) -> None:
    given = parse_hardware(hardware)
    assert fit_serving(size, given) == expected
    if expected is None:
        for text in re.findall(r"\d+x[\d.]+GB", smallest_serving(size, given)):
            assert fit_serving(size, parse_hardware(text)) is not None
    else:
        assert serving_memory(size, expected[0]) <= given.usable


def planned(parameters_b: float | None, **changes: Any) -> Plan:
    plan = Plan()
    rows = plan.stage("import_prompts", ref="nano:train", limit=100)
    hint = Estimate(parameters_b=parameters_b)
    model = plan.stage("import_model", ref="org/model", hint=hint)
    given = {"learning_rate": 1e-5, "dtype": "bfloat16", **changes}
    made = plan.stage("train_sft", rows=rows, model=model, **given)
    plan.stage("sample", prompts=rows, model=made, n=1, max_tokens=512, temperature=0.0)
    return plan


def test_a_plan_of_training_and_sampling() -> None:
    training, sampling = fit_plan(planned(8.03, save_steps=5), EIGHT)
    assert (training.operation, sampling.operation) == ("train_sft", "sample")
    assert training.effective_batch == 8
    assert training.gpus == 8
    assert training.memory is not None
    assert training.gib == pytest.approx(training.memory.total / 2**30)
    assert training.gib is not None
    assert training.gib <= 0.95 * 80
    # Two copies of 2 bytes, three checkpoints of 12 bytes per parameter.
    assert training.disk_gib == pytest.approx((4 + 36) * 8.03e9 / 2**30)
    assert (sampling.tensor_parallel, sampling.replicas, sampling.gpus) == (1, 8, 8)
    assert sampling.effective_batch is None
    json.dumps([one.record() for one in (training, sampling)])


def test_time_is_divided_and_checkpointing_costs_a_forward_pass() -> None:
    alone = fit_plan(planned(1.24), Hardware(1, 80))[0]
    eight = fit_plan(planned(1.24), EIGHT)[0]
    again = fit_plan(planned(1.24, gradient_checkpointing=True), EIGHT)[0]
    assert alone.seconds is not None
    assert eight.seconds == pytest.approx(alone.seconds / 8)
    assert again.seconds == pytest.approx(alone.seconds / 8 * 8 / 6)


def test_checkpointing_is_a_setting_where_the_recipe_has_none() -> None:
    found, _ = fit_plan(planned(8.03), Hardware(8, 28))
    assert found.launch is not None
    assert found.launch.checkpointing
    assert found.settings[1:] == ("gradient_checkpointing = true",)
    small, _ = fit_plan(planned(0.1), Hardware(1, 80))
    assert small.settings == ()


def test_unknown_sizes_are_said_and_tiny_models_left_out() -> None:
    (unknown,) = fit_plan(planned(None), EIGHT)
    assert unknown.problem == "the size of its model is unknown (parameters_b)"
    assert unknown.launch is None
    assert fit_plan(planned(0.001), EIGHT) == []
    assert weights_gib(planned(None)) == 0
    assert weights_gib(planned(8.03)) == pytest.approx(2 * 8.03e9 / 2**30)


@pytest.mark.parametrize("method", PAPERS)
def test_every_paper_profile_fits_what_its_paper_used(method: str) -> None:
    text, overrides = PAPERS[method]
    hardware = parse_hardware(text)
    plan = reproduce(method, "paper", overrides=overrides).plan
    found = fit_plan(plan, hardware)
    trained = [one for one in found if one.launch is not None]
    trainings = [one for one in plan.stages.values() if isinstance(one.params, RunSettings)]
    assert len(trained) == len(trainings)
    assert trained or method == "psycot"  # asks a hosted model
    for one in found:
        assert not one.problem, (one.label, one.problem)
        assert one.gib is not None
        assert one.gib <= 0.95 * hardware.gib
        assert one.gpus <= hardware.count
    for one in trained:
        params = plan.stages[one.id].params
        assert isinstance(params, RunSettings)
        batch = params.per_device_batch_size * params.accumulation_steps
        assert one.effective_batch == batch
        assert one.launch is not None
        given = {**params.model_dump(mode="json"), **tomllib.loads("\n".join(one.settings))}
        set_so = parse(type(params), given, "test")
        assert set_so.per_process == (one.launch.rows, one.accumulation)
        assert set_so.gradient_checkpointing == one.launch.checkpointing


@pytest.fixture
def crucible() -> Callable[..., tuple[int, str]]:
    def run(*arguments: str) -> tuple[int, str]:
        found = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"})
        if isinstance(found.exception, CrucibleError):  # printed by the command
            return found.exception.exit_code, f"{found.output}{found.exception}"
        return found.exit_code, found.output

    return run


def test_the_command_prints_proposals_after_the_plan(
    crucible: Callable[..., tuple[int, str]], tmp_path: Any
) -> None:
    store = ("--store", str(tmp_path / "none"))
    code, plain = crucible("plan", "fusellm", "--scale", "paper", *store)
    code_fit, text = crucible("plan", "fusellm", "--scale", "paper", "--fit", "8x80GB", *store)
    assert (code, code_fit) == (0, 0)
    assert text.startswith(plain.rstrip("\n"))
    assert re.search(r"train CLM and 3 more +6.74 B +8 +fsdp, checkpointing +8 x 2 x 8", text)
    assert "4 of 4 stages fit 8x80GB" in text
    settings = 'launch = { processes = 8, config = "fsdp", batch_size = 8 }'
    assert f"train CLM and 3 more: {settings}\n" in text
    assert "assumed: 312e12 operations per second and GPU" in text
    code, text = crucible("plan", "fusellm", "--scale", "paper", "--fit", "1x24GB", *store)
    assert code == 2
    assert re.search(r"train CLM and 3 more: does not fit: smallest is 1x\d+GB, or \d+x24GB", text)
    said = r'stage "train CLM" does not fit 1x24GB \(nor do 3 others\): smallest is 1x\d+GB, or'
    assert re.search(said, text)
    code, text = crucible("plan", "fusechat", "--fit", "1x8GB", *store)
    assert code == 0
    assert "0 of 5 stages fit 1x8GB, 5 are of unknown size" in text
    code, text = crucible("plan", "seft", "--scale", "paper", "--fit", "1x1GB", *store)
    (said,) = (line for line in text.splitlines() if "stages fit" in line)
    assert code == 2
    assert re.match(r"0 of \d+ stages fit 1x1GB; disk", said)
    code, text = crucible("plan", "psycot", "--scale", "paper", "--fit", "1x8GB", *store)
    assert "no stage needs a GPU, as far as sizes are known" in text
