"""What a stage needs of a node: processor cores, GPUs, memory."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.core.errors import EnvironmentProblem
from harness.engine.costs import GIB, TINY_B
from harness.engine.operations import Estimate
from harness.engine.plan import Handle, Stage

GPU_GIB = 80.0  # of a GPU whose size is unknown


@dataclass(frozen=True)
class Node:
    """A machine of a cluster.

    Attributes:
        gpu_gib: memory of each of its GPUs, in GiB.
        memory_gib: memory of the machine, in GiB.
    """

    id: str
    name: str
    cpus: float
    gpus: float
    memory_gib: float
    gpu_gib: float = GPU_GIB


@dataclass(frozen=True)
class Need:
    """Resources of a worker on each of `machines` nodes.

    Attributes:
        key: workers with the same key can take each other's stages: "" for work with no or with
            tiny models, a model, or a training.
    """

    key: str = ""
    cpus: float = 1
    gpus: int = 0
    memory_gib: float = 0.0
    machines: int = 1

    def __str__(self) -> str:
        parts = [f"{self.gpus} GPU{'s' if self.gpus > 1 else ''}"] if self.gpus else []
        parts += [f"{self.cpus:g} core{'s' if self.cpus > 1 else ''}"]
        parts += [f"{self.memory_gib:.0f} GiB of memory"] if self.memory_gib >= 0.5 else []
        each = f" on each of {self.machines} nodes" if self.machines > 1 else ""
        return ", ".join(parts) + each

    def fits(self, node: Node) -> bool:
        """Whether an idle node has enough for one worker."""
        enough = self.gpus <= node.gpus and self.cpus <= node.cpus
        return enough and self.memory_gib <= node.memory_gib


def need_of(
    stage: Stage, estimates: Mapping[str, Estimate], ref: str | None, nodes: Sequence[Node]
) -> Need:
    """What a stage needs on a cluster.

    Models of unknown size get one GPU where there are any, and so do trainings without a launch,
    which use one. On nodes without GPUs a model needs its memory in the node's.

    Args:
        ref: reference of the model that the stage asks; None for a trained one, or for none.
    """
    expected = estimates[stage.id]
    launch = getattr(stage.params, "launch", None)
    with_gpus = [node for node in nodes if node.gpus]
    if launch is not None:
        each = launch.processes // launch.machines
        gpus = each if with_gpus else 0
        return Need(stage.id, 1 if with_gpus else each, gpus, machines=launch.machines)
    sizes = [expected.parameters_b, *_sizes(stage, estimates)]
    known = [size for size in sizes if size is not None]
    is_training = stage.operation.rows is None and "model" in stage.inputs
    asks = ref is not None or is_training or bool(stage.inputs.keys() & {"model", "models"})
    tiny = all(size < TINY_B for size in known) if known else not with_gpus
    if not asks or tiny or (ref or "").startswith("nano:"):
        return Need()
    key = stage.id if is_training else ref or _first_id(stage)
    gib = expected.gpu_gib or 0.0
    if not with_gpus:
        return Need(key, memory_gib=gib)
    size = max(node.gpu_gib for node in with_gpus)
    return Need(key, gpus=1 if is_training else max(1, math.ceil(gib / size)))


def _sizes(stage: Stage, estimates: Mapping[str, Estimate]) -> Iterable[float | None]:
    """Billions of parameters of the models that a stage reads."""
    for name, value in stage.inputs.items():
        if name in ("model", "models", "reference"):
            for handle in value if isinstance(value, tuple) else (value,):
                yield estimates[handle.id].parameters_b


def _first_id(stage: Stage) -> str:
    value: Any = stage.inputs.get("model") or stage.inputs.get("models")
    return value.id if isinstance(value, Handle) else value[0].id


def check_fits(needs: Mapping[str, Need], nodes: Sequence[Node]) -> None:
    """Refuse a cluster that is too small for a stage.

    Args:
        needs: label of a stage -> what it needs.

    Raises:
        EnvironmentProblem: naming the stages, what they need, and the largest node.
    """
    short = {
        label: need
        for label, need in needs.items()
        if sum(need.fits(node) for node in nodes) < need.machines
    }
    if not short:
        return
    said = "; ".join(f"{label} needs {need}" for label, need in list(short.items())[:3])
    more = f" (and {len(short) - 3} more)" if len(short) > 3 else ""
    have = "; ".join(sorted({_offer(node) for node in nodes}))
    raise EnvironmentProblem(
        f"the cluster is too small for {len(short)} stage{'s' if len(short) > 1 else ''}: "
        f"{said}{more}. Its nodes: {have}. Nothing was run: add nodes, or choose smaller models "
        "(crucible plan shows what each stage needs)"
    )


def _offer(node: Node) -> str:
    gpus = f"{node.gpus:g} GPUs of {node.gpu_gib:.0f} GiB, " if node.gpus else "no GPU, "
    return f"{gpus}{node.cpus:g} cores, {node.memory_gib:.0f} GiB of memory"


def memory_gib(size: float) -> float:
    """Bytes as GiB."""
    return size / GIB
