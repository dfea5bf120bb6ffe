"""Weights in safetensors files of limited size, written tensor by tensor and mapped when read.

write_files   each file is written when it is full, and its tensors are freed
mapped        tensors that the kernel reads from the files when they are used
apart         tensors as safetensors takes them
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

State = dict[str, Tensor]
FILE_BYTES = 5 * 10**9  # most of a file with several tensors, also in checkpoints


def write_files(folder: Path, weights: Iterable[tuple[str, Tensor]]) -> None:
    """Write tensors in order; memory for them is that of one file and one tensor."""
    held: State = {}
    number = size = 0
    for name, value in weights:
        if held and size + value.nbytes > FILE_BYTES:
            _write(folder, number, held)
            held, size, number = {}, 0, number + 1
        held[name] = value
        size += value.nbytes
    _write(folder, number, held)


def _write(folder: Path, number: int, held: State) -> None:
    save_file(apart(held, ()), folder / f"weights-{number:05}.safetensors")


def mapped(folder: Path) -> State:
    """All tensors of the files in a folder, in the order of the files."""
    found: State = {}
    for path in sorted(folder.glob("*.safetensors")):
        found |= load_file(path)
    return found


def apart(state: State, tied: Iterable[str]) -> State:
    """A state whose tensors share no memory, except those that the model declares as tied.

    safetensors does not write shared memory; a shared tensor is written once for each name.
    """
    seen: set[tuple[torch.device, int]] = set()
    declared, found = set(tied), {}
    for name, value in state.items():
        place = (value.device, value.untyped_storage().data_ptr())
        if name in declared:
            found[name] = value
            continue
        found[name] = (value.clone() if place in seen else value).contiguous()
        seen.add(place)
    return found
