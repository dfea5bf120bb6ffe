"""The weights of a model that processes share, together in the main one.

whole model in each process (DDP)       the weights as they are
torch's fully_shard (FSDP2)             tensor by tensor: no device has more than one whole
FSDP1, DeepSpeed                        by accelerate
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import get_model_state_dict
from torch.distributed.tensor import DTensor
from transformers import Trainer

WHOLE = ("NO", "MULTI_CPU", "MULTI_GPU")  # distributed types in which each process has the model
State = dict[str, Tensor]


def is_sharded(model: nn.Module) -> bool:
    """Whether `fully_shard` has divided the weights of a model."""
    return any(isinstance(parameter, DTensor) for parameter in model.parameters())


def gathered(trainer: Trainer, dtype: torch.dtype) -> State | None:
    """The weights in a type, in the main process, on the CPU if they were divided; else None.

    All processes must call it together.
    """
    accelerator = trainer.accelerator
    model = accelerator.unwrap_model(trainer.model)
    main = trainer.is_world_process_zero()
    if is_sharded(model):
        found = {
            name: value.to("cpu", dtype) if value.is_floating_point() else value.cpu()
            for name, value in _one_by_one(model)
            if main
        }
        tied = getattr(model, "all_tied_weights_keys", None) or {}
        found |= {alias: found[name] for alias, name in tied.items() if name in found}
    elif accelerator.distributed_type.value in WHOLE:
        found = model.state_dict()
    else:
        found = accelerator.get_state_dict(trainer.model_wrapped)
    if not main:
        return None
    return {
        name: value.to(dtype) if value.is_floating_point() else value
        for name, value in found.items()
    }


def _one_by_one(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Names and whole tensors; a tensor with several names under one of them."""
    tied: Any = getattr(model, "all_tied_weights_keys", None) or {}
    for name, value in get_model_state_dict(model).items():
        if name not in tied:
            yield name, value.full_tensor() if isinstance(value, DTensor) else value
