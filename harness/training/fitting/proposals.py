"""How each stage of a plan fits GPUs: processes, batches, checkpointing, tensor parallelism.

A training keeps its effective batch, per_device_batch_size * accumulation_steps of the recipe,
which is divided over processes:

    effective batch = processes * rows per process and forward pass * accumulation steps

Of what fits, the first of these is proposed: more processes, whole models before sharded ones, no
checkpointing of activations unless the recipe asks for it, and more rows per forward pass up to
`ROW_TOKENS`. A model that answers gets the fewest GPUs that hold it, and as many copies as fit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from math import ceil
from typing import Any

from harness.engine import costs
from harness.engine.operations import Estimate
from harness.engine.plan import Handle, Plan, Stage
from harness.training.fitting.hardware import GIB, LARGEST, MOST_GPUS, Hardware
from harness.training.fitting.memory import (
    BYTES,
    Launch,
    Memory,
    Training,
    serving_memory,
    settings_of,
    training_memory,
)
from harness.training.settings import RunSettings

ROW_TOKENS = 16_384  # of a forward pass; more are hardly faster
COPIES = 2  # of a trained checkpoint on disk until it is complete
RESUMABLE = 3  # checkpoints to resume from at a time, of 12 bytes per trained number


@dataclass(frozen=True)
class Proposal:
    """One stage on GPUs.

    Attributes:
        label, operation, id: of the stage.
        parameters_b: billions of parameters; None is unknown, and so is everything else.
        launch, accumulation, memory: of a training; adapters: only these are trained.
        settings: lines of TOML for the training in the recipe, so that it runs as proposed.
        tensor_parallel, replicas: of a model that answers.
        gib: memory of each GPU that is used.
        seconds: wall time on all of them; None is unknown.
        disk_gib: checkpoints at most.
        problem: why it does not fit, and what the smallest hardware is; "" for what fits.
    """

    label: str
    operation: str
    id: str
    parameters_b: float | None
    launch: Launch | None = None
    adapters: bool = False
    accumulation: int = 1
    memory: Memory | None = None
    settings: tuple[str, ...] = ()
    tensor_parallel: int = 1
    replicas: int = 1
    gib: float | None = None
    seconds: float | None = None
    disk_gib: float | None = None
    problem: str = ""

    @property
    def effective_batch(self) -> int | None:
        """Rows per update of a training."""
        if self.launch is None:
            return None
        return self.launch.processes * self.launch.rows * self.accumulation

    @property
    def gpus(self) -> int:
        """How many are used."""
        return self.launch.processes if self.launch else self.tensor_parallel * self.replicas

    def record(self) -> dict[str, Any]:
        """For other programs."""
        return {**asdict(self), "effective_batch": self.effective_batch, "gpus": self.gpus}


def fit_training(training: Training, hardware: Hardware) -> tuple[Launch, int] | None:
    """Launch and accumulation steps of a training that fits; None where nothing does."""
    for launch in _launches(training, hardware.count):
        if training_memory(training, launch).total <= hardware.usable:
            return launch, training.batch // (launch.processes * launch.rows)
    return None


def _launches(training: Training, count: int) -> Iterator[Launch]:
    """Every launch that keeps the effective batch, the preferred first."""
    most = 1 if training.coupled else min(count, training.batch)
    for processes in range(most, 0, -1):
        if training.batch % processes:
            continue
        each = training.batch // processes
        cap = max(1, ROW_TOKENS // max(1, training.tokens))
        sizes = [n for n in range(each, 0, -1) if each % n == 0 and n <= cap]
        if training.coupled:
            sizes = [training.coupled]
        for saves in (True,) if training.checkpointing else (False, True):
            # Adapters are merged in one process, which needs the whole model.
            sharded = processes > 1 and training.lora is None
            for sharding in ("none", "fsdp") if sharded else ("none",):
                for rows in sizes:
                    yield Launch(processes, sharding, rows, saves)


def smallest(training: Training, hardware: Hardware) -> str:
    """What a training that does not fit needs at least, in words."""
    launches = _launches(training, hardware.count)
    least = min(training_memory(training, launch).total for launch in launches)
    counts = range(hardware.count + 1, min(training.batch, MOST_GPUS) + 1)
    more = (Hardware(count, hardware.gib) for count in counts if training.batch % count == 0)
    return _smallest(hardware, least, next((m for m in more if fit_training(training, m)), None))


def fit_serving(parameters_b: float, hardware: Hardware) -> tuple[int, int] | None:
    """Tensor parallelism (a power of two) and copies of a model that answers; None if none fits."""
    size = 1
    while size <= hardware.count:
        if serving_memory(parameters_b, size) <= hardware.usable:
            return size, hardware.count // size
        size *= 2
    return None


def smallest_serving(parameters_b: float, hardware: Hardware) -> str:
    """What a model that does not fit needs at least, in words."""
    size = 2 ** (hardware.count.bit_length() - 1)
    least = serving_memory(parameters_b, size)
    while size <= MOST_GPUS and serving_memory(parameters_b, size) > hardware.usable:
        size *= 2
    return _smallest(hardware, least, Hardware(size, hardware.gib) if size <= MOST_GPUS else None)


def _smallest(hardware: Hardware, least: float, more: Hardware | None) -> str:
    """What would fit: the same number of larger GPUs, or more of the same.

    Args:
        least: bytes of each GPU that are needed on the given number of them.
    """
    larger = Hardware(hardware.count, ceil(least / 0.95 / GIB))
    made = [larger] if larger.gib <= LARGEST else []
    if named := [*made, *([] if more is None else [more])]:
        return f"smallest is {', or '.join(map(str, named))}"
    return (
        f"it needs {larger.gib:,.0f} GiB on each of {hardware.count}, more than any GPU has, and "
        "no number of such GPUs is enough for this batch; train adapters (lora), or shorter rows"
    )


def fit_plan(plan: Plan, hardware: Hardware) -> list[Proposal]:
    """A proposal for each stage of a plan that uses a GPU, in order.

    Stages of models below `harness.engine.costs.TINY_B` are left out, and stages that are not known
    to need a GPU.
    """
    estimates = plan.estimates()
    found = (_of_stage(stage, estimates, hardware) for stage in plan.stages.values())
    return [proposal for proposal in found if proposal is not None]


def weights_gib(plan: Plan) -> float:
    """Disk space of the models that a plan reads and whose size is known, in 16 bits."""
    models = (stage.hint for stage in plan.stages.values() if not stage.inputs)
    return sum(2e9 * (model.parameters_b or 0.0) for model in models if model is not None) / GIB


def _of_stage(stage: Stage, estimates: dict[str, Estimate], hardware: Hardware) -> Proposal | None:
    expected = estimates[stage.id]
    plain = Proposal(stage.label, stage.operation.name, stage.id, expected.parameters_b)
    if isinstance(stage.params, RunSettings):
        if expected.parameters_b is None:
            return replace(plain, problem="the size of its model is unknown (parameters_b)")
        if expected.parameters_b < costs.TINY_B:
            return None
        return _trained(plain, stage.params, expected, hardware)
    if expected.gpu_gib is None:
        return None
    asked = sum(
        estimates[value.id].parameters_b or 0.0
        for value in stage.inputs.values()
        if isinstance(value, Handle)
    )
    return _served(replace(plain, parameters_b=asked), expected, hardware) if asked else None


def _trained(
    plain: Proposal, params: RunSettings, expected: Estimate, hardware: Hardware
) -> Proposal:
    assert expected.parameters_b is not None
    training = settings_of(params, expected.parameters_b, expected.frozen_b or 0.0)
    chosen = fit_training(training, hardware)
    disk = BYTES[training.dtype] * COPIES * training.parameters_b * 1e9
    disk += 12 * RESUMABLE * training.trained if training.saves else 0
    plain = replace(plain, disk_gib=disk / GIB, adapters=params.lora is not None)
    if chosen is None:
        return replace(plain, problem=smallest(training, hardware))
    launch, accumulation = chosen
    memory = training_memory(training, launch)
    seconds = expected.gpu_seconds
    if seconds is not None:
        again = 2 / (6 if training.lora is None else 4) if launch.checkpointing else 0.0
        seconds *= (1 + again) / launch.processes
    gib = memory.total / GIB
    return replace(
        plain,
        launch=launch,
        accumulation=accumulation,
        memory=memory,
        settings=_settings(params, launch),
        gib=gib,
        seconds=seconds,
    )


def _settings(params: RunSettings, launch: Launch) -> tuple[str, ...]:
    lines = []
    as_it_is = params.model_copy(update={"launch": None}).per_process[0]
    if launch.processes > 1 or launch.rows != as_it_is:
        config = "ddp" if launch.sharding == "none" else "fsdp"
        lines.append(
            f'launch = {{ processes = {launch.processes}, config = "{config}", '
            f"batch_size = {launch.rows} }}"
        )
    if launch.checkpointing and not params.gradient_checkpointing:
        lines.append("gradient_checkpointing = true")
    return tuple(lines)


def _served(plain: Proposal, expected: Estimate, hardware: Hardware) -> Proposal:
    assert plain.parameters_b is not None
    chosen = fit_serving(plain.parameters_b, hardware)
    if chosen is None:
        return replace(plain, problem=smallest_serving(plain.parameters_b, hardware))
    size, replicas = chosen
    seconds = expected.gpu_seconds
    return replace(
        plain,
        tensor_parallel=size,
        replicas=replicas,
        gib=serving_memory(plain.parameters_b, size) / GIB,
        seconds=None if seconds is None else seconds / (size * replicas),
    )
