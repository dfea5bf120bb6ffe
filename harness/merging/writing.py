"""Weights of a checkpoint, written tensor by tensor."""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from harness.core.errors import BadData, StoreProblem
from harness.engine.io import write_json
from harness.merging.checkpoint import DTYPES, INDEX, Stored


class Writer:
    """Write tensors of known dtypes and shapes, in any order, into files of limited size.

    Args:
        layout: dtype, shape and size by tensor name, in the order of the files.
        shard_bytes: maximum size of a file with more than one tensor.

    Raises:
        StoreProblem: the disk has less free space than the layout needs.
    """

    def __init__(self, folder: Path, layout: Mapping[str, Stored], shard_bytes: float) -> None:
        self.folder, self.layout = folder, layout
        self.size = sum(stored.nbytes for stored in layout.values())
        if (free := shutil.disk_usage(folder).free) < self.size:
            raise StoreProblem(
                f"{folder.parent} has {free / 1e9:.2f} GB free; the merged weights need "
                f"{self.size / 1e9:.2f} GB: free space or choose another disk"
            )
        shards: list[list[str]] = [[]]
        held = 0
        for name, stored in layout.items():
            if shards[-1] and held + stored.nbytes > shard_bytes:
                shards.append([])
                held = 0
            shards[-1].append(name)
            held += stored.nbytes
        self.places: dict[str, tuple[int, int]] = {}
        self.weight_map: dict[str, str] = {}
        self.files: list[int] = []
        for number, names in enumerate(shards, 1):
            many = f"model-{number:05}-of-{len(shards):05}.safetensors"
            self._begin(many if len(shards) > 1 else "model.safetensors", names)

    def _begin(self, file_name: str, names: list[str]) -> None:
        """Create a file and write its header."""
        file = os.open(self.folder / file_name, os.O_WRONLY | os.O_CREAT, 0o644)
        self.files.append(file)
        header: dict[str, object] = {"__metadata__": {"format": "pt"}}
        begin, offsets = 0, {}
        # Wide dtypes first, so that each tensor begins at a multiple of its entries' width.
        for name in sorted(names, key=lambda name: self.layout[name].width, reverse=True):
            stored = self.layout[name]
            end = begin + stored.nbytes
            entry = {"dtype": stored.dtype, "shape": stored.shape, "data_offsets": (begin, end)}
            header[name], offsets[name], begin = entry, begin, end
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        _write(file, struct.pack("<Q", len(text)) + text, 0)
        for name, offset in offsets.items():
            self.places[name] = file, 8 + len(text) + offset
            self.weight_map[name] = file_name

    def write(self, name: str, pieces: Iterator[Tensor]) -> None:
        """Write a whole tensor, converted to its dtype in the layout; raw bytes unchanged.

        Raises:
            BadData: an entry is not finite in that dtype.
        """
        file, place = self.places[name]
        dtype = DTYPES.get(self.layout[name].dtype)
        for piece in pieces:
            made = piece if dtype is None else piece.to(dtype)
            finite = dtype is None or made.sum(dtype=torch.float32).isfinite()
            if not finite and not made.isfinite().all():
                raise BadData(f'tensor "{name}": merged entries are not finite in {dtype}')
            data = made.contiguous().view(torch.uint8).numpy().data
            _write(file, data, place)
            place += len(data)

    def close(self) -> None:
        """Close the files; write an index if there are several."""
        if len(self.files) > 1:
            index = {"metadata": {"total_size": self.size}, "weight_map": self.weight_map}
            write_json(self.folder / INDEX, index, indent=2)
        while self.files:
            os.close(self.files.pop())


def _write(file: int, data: bytes | memoryview, place: int) -> None:
    done = 0
    while done < len(data):
        done += os.pwrite(file, data[done:], place + done)
