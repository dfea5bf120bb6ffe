"""Memory of one GPU in bytes, of trainings and of models that answer; see docs/estimates.md.

A training has weights (4 bytes per trained parameter), gradients (4) and moments of Adam (8), whole
or divided over the processes, and copies, activations and logits. With adapters the base is frozen
in the `dtype` of the run, and each number of the adapters has 16 bytes. A model that answers has 2
bytes per parameter, and keys and values of sequences, over tensor parallelism.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import fsum
from typing import Literal

from harness.engine import costs
from harness.engine.operations import Estimate
from harness.training.fitting.shapes import Shape, adapter_parameters, shape_of
from harness.training.settings import LoraSettings, RunSettings

CONTEXT = 2**30  # bytes of the CUDA context, of communication and of work space
TILE = 256 * 2**20  # bytes of a tile of logits, see `harness.models.logprobs`
BYTES = {"float32": 4, "bfloat16": 2}
NF4 = 0.516  # bytes per weight in 4 bits with its scales, doubly quantised (arXiv 2305.14314)
SEQUENCES = 8  # with keys and values that a model that answers must hold at once
LENGTH = 4096  # tokens of each of them

Sharding = Literal["none", "fsdp"]


@dataclass(frozen=True)
class Training:
    """What the memory of a training depends on.

    Attributes:
        parameters_b: billions of parameters that are trained, or of the base of adapters.
        tokens: of a row at most: its sequences, each at its limit.
        batch: rows per update.
        dtype: of arithmetic and checkpoint.
        checkpointing: activations are computed again in the backward pass.
        frozen_b: billions of parameters of further models that give targets, in bfloat16.
        coupled: rows that a forward pass must take, in one process, because they interact
            (`RunSettings.whole_batches`); 0 for rows that may be divided.
        saves: writes checkpoints to resume from.
    """

    parameters_b: float
    tokens: int
    batch: int
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    checkpointing: bool = False
    lora: LoraSettings | None = None
    frozen_b: float = 0.0
    coupled: int = 0
    saves: bool = False

    @property
    def trained(self) -> float:
        """Numbers with gradients and moments."""
        if self.lora is not None:
            return float(adapter_parameters(self.parameters_b, self.lora))
        return self.parameters_b * 1e9


# Division of the weights under the presets of `RunSettings.launch`.
SHARDED: dict[str, Sharding] = {"ddp": "none", "fsdp": "fsdp", "zero3": "fsdp"}


@dataclass(frozen=True)
class Launch:
    """How a training is run.

    Attributes:
        sharding: "none": every process has the whole model (one process, or DDP); "fsdp": weights,
            gradients and moments are divided over the processes (FSDP2 full shard, ZeRO-3).
        rows: per process and forward pass.
    """

    processes: int = 1
    sharding: Sharding = "none"
    rows: int = 1
    checkpointing: bool = False


@dataclass(frozen=True)
class Memory:
    """Bytes of one GPU by what they are for.

    Attributes:
        copies: weights in the type of arithmetic, and buckets and gathered layers of processes.
        logits: tiles of them and of their gradient.
        frozen: models that give targets.
    """

    weights: float
    gradients: float
    moments: float
    copies: float
    activations: float
    logits: float
    frozen: float = 0.0
    context: float = CONTEXT

    @property
    def states(self) -> float:
        """Weights, gradients and moments."""
        return fsum((self.weights, self.gradients, self.moments))

    @property
    def total(self) -> float:
        rest = (self.copies, self.activations, self.logits, self.frozen, self.context)
        return fsum((self.states, *rest))


def training_memory(training: Training, launch: Launch) -> Memory:
    """Memory of each process."""
    numbers, width = training.trained, BYTES[training.dtype]
    shares = launch.processes if launch.sharding == "fsdp" else 1
    shape = shape_of(training.parameters_b)
    tokens = launch.rows * training.tokens
    tile = min(tokens * shape.vocabulary * 4, TILE)
    frozen_base = 0.0 if training.lora is None else _frozen_base(training)
    return Memory(
        weights=(frozen_base + 4 * numbers) / shares,
        gradients=4 * numbers / shares,
        moments=8 * numbers / shares,
        copies=_copies(training, launch),
        activations=activations(training.parameters_b, tokens, width, launch.checkpointing),
        logits=3 * tile,
        frozen=2 * training.frozen_b * 1e9,
    )


def _frozen_base(training: Training) -> float:
    """Bytes of the base of adapters."""
    assert training.lora is not None
    numbers = training.parameters_b * 1e9
    if training.lora.quantise is None:
        return BYTES[training.dtype] * numbers
    wide = min(shape_of(training.parameters_b).embeddings, numbers)  # stay in 16 bits
    return 2 * wide + NF4 * (numbers - wide)


def _copies(training: Training, launch: Launch) -> float:
    numbers, width = training.trained, BYTES[training.dtype]
    if launch.sharding == "fsdp":
        # Two layers and the unit of embedding and head are whole at a time, and one gradient.
        shape = shape_of(training.parameters_b)
        layer, root = shape.layer, shape.embeddings
        return width * (2 * layer + root) + 4 * max(layer, root)
    cast = width * numbers if training.dtype == "bfloat16" else 0.0  # autocast keeps its casts
    buckets = 4 * numbers if launch.processes > 1 else 0.0
    return cast + buckets


def activations(parameters_b: float, tokens: int, width: int, checkpointing: bool) -> float:
    """Bytes that a forward pass keeps for the backward pass.

    With hidden width h, keys k and inner width f, a layer keeps of each token: inputs and results
    of two norms in float32 (16 h bytes); and in the type of arithmetic queries, the inputs of the
    linear layers, keys, values (2 k) and a gated feed-forward layer (4 f). Autocast casts an input
    once for each product (7 h instead of 4 h). An attention matrix is never kept.

        float32    16 h + 4 (4 h + 2 k + 4 f)        bfloat16    16 h + 2 (7 h + 2 k + 4 f)

    A test measures both on a Llama. Checkpointing keeps the float32 input of each layer, 4 h, and
    computes one layer again at a time, whose gradients take as much as its activations.
    """
    shape = shape_of(parameters_b)
    each = layer_activations(shape, width)
    h = shape.width
    if checkpointing:
        return float(tokens * (4 * h * shape.layers + 2 * each))
    return float(tokens * each * shape.layers)


def layer_activations(shape: Shape, width: int) -> int:
    """Bytes per token that one layer keeps, see `activations`."""
    h, k, f = shape.width, shape.keys, shape.inner
    return 16 * h + width * ((7 if width == 2 else 4) * h + 2 * k + 4 * f)


def serving_memory(parameters_b: float, tensor_parallel: int) -> float:
    """Bytes of each GPU of a model that answers or scores, in bfloat16.

    Weights and the keys and values of `SEQUENCES` sequences of `LENGTH` tokens are divided.
    """
    shape = shape_of(parameters_b)
    cache = 2 * 2 * shape.keys * shape.layers * SEQUENCES * LENGTH
    return (2 * parameters_b * 1e9 + cache) / tensor_parallel + CONTEXT


def estimate(
    params: RunSettings, rows: Estimate, model: Estimate, reference: Estimate | None = None
) -> Estimate:
    """`harness.engine.costs.training`, with the memory and time of adapters where there are any.

    A frozen base costs a forward pass and the gradient of its inputs: 4 of 6 operations. In a
    launch the memory is that of each process, at the longest sequences.
    """
    found = _in_one_process(params, rows, model)
    launch, size = params.launch, model.parameters_b
    if launch is None or launch.config not in SHARDED or size is None or found.gpu_gib is None:
        return found
    share = Launch(
        processes=launch.processes,
        sharding=SHARDED[launch.config] if launch.processes > 1 else "none",
        rows=params.per_process[0],
        checkpointing=params.gradient_checkpointing,
    )
    memory = training_memory(settings_of(params, size, 0.0), share)
    return replace(found, gpu_gib=memory.total / costs.GIB)


def _in_one_process(params: RunSettings, rows: Estimate, model: Estimate) -> Estimate:
    found = costs.training(params, rows, model)
    if params.lora is None or model.parameters_b is None or found.gpu_gib is None:
        return found
    training = Training(
        parameters_b=model.parameters_b, tokens=0, batch=1, dtype=params.dtype, lora=params.lora
    )
    states = training_memory(training, Launch(rows=0)).states
    seconds = found.gpu_seconds
    return replace(
        found,
        gpu_gib=1.2 * states / costs.GIB,
        gpu_seconds=None if seconds is None else seconds * 4 / 6,
    )


def settings_of(params: RunSettings, parameters_b: float, frozen_b: float) -> Training:
    """What the memory of a training run depends on, from its settings."""
    return Training(
        parameters_b=parameters_b,
        tokens=params.sequences_per_row * params.longest_sequence,
        batch=params.per_device_batch_size * params.accumulation_steps,
        dtype=params.dtype,
        checkpointing=params.gradient_checkpointing,
        lora=params.lora,
        frozen_b=frozen_b,
        coupled=params.per_device_batch_size if params.whole_batches else 0,
        saves=params.save_steps is not None,
    )
