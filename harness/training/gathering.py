"""The weights of a model that processes share, tensor by tensor in the main one.

whole model in each process (DDP)       the weights as they are
torch's fully_shard (FSDP2)             tensor by tensor: no process has more than one whole
FSDP1, DeepSpeed                        all at once, by accelerate, then as they are taken
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import get_model_state_dict
from torch.distributed.tensor import DTensor
from transformers import Trainer

WHOLE = ("NO", "MULTI_CPU", "MULTI_GPU")  # distributed types in which each process has the model


def is_sharded(model: nn.Module) -> bool:
    """Whether `fully_shard` has divided the weights of a model."""
    return any(isinstance(parameter, DTensor) for parameter in model.parameters())


def whole_tensors(
    trainer: Trainer, model: nn.Module, dtype: torch.dtype, without: Collection[str] = ()
) -> Iterator[tuple[str, Tensor]]:
    """Names and tensors of a trained model in a type, on the CPU, in the main process.

    All processes must go through it to its end together; the others get nothing.

    Args:
        model: of the trainer, without wrappers.
        without: names to leave out.
    """
    accelerator, main = trainer.accelerator, trainer.is_world_process_zero()
    if is_sharded(model):
        found: dict[str, Any] = get_model_state_dict(model)
    elif accelerator.distributed_type.value in WHOLE:
        found = model.state_dict()
    else:
        found = accelerator.get_state_dict(trainer.model_wrapped)
    for name in [name for name in found if name not in without]:
        made = _whole(found.pop(name), dtype)
        if main:
            yield name, made
        del made  # before the next one is put together


def _whole(value: Tensor, dtype: torch.dtype) -> Tensor:
    whole = value.full_tensor() if isinstance(value, DTensor) else value
    return whole.to("cpu", dtype) if whole.is_floating_point() else whole.cpu()
