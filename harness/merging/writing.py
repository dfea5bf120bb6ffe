"""Write checkpoint folders tensor by tensor; a folder appears complete or not at all.

Files are written in `.<name>.partial` beside the folder; config.json, which every loader needs, is
written last. Then everything is flushed to disk and the folder is renamed. A killed process leaves
the hidden folder behind; the next merge into the same place clears it.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from harness.core.errors import BadData, StoreProblem, UserError
from harness.merging.checkpoint import DTYPES, INDEX, Stored


@contextmanager
def fresh_folder(out: Path) -> Iterator[Path]:
    """Context manager: a folder to fill, renamed to `out` at the end or removed on an error.

    Raises:
        UserError: `out` is a file or a folder with content, or another process is writing it.
        StoreProblem: the disk is full.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} exists already; remove it or choose another folder")
    partial = out.with_name(f".{out.name}.partial")
    partial.mkdir(parents=True, exist_ok=True)
    lock = os.open(partial, os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            found = partial.stat()  # differs from `lock` if its writer has just renamed it
        except OSError:
            found = os.stat(os.devnull)
        if not os.path.samestat(os.fstat(lock), found):
            raise UserError(f"another process is writing {out}; wait for it")
        for path in partial.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        try:
            yield partial
            for path in (*partial.iterdir(), partial):
                _flush(path)
            partial.rename(out)
        except BaseException as error:
            shutil.rmtree(partial, ignore_errors=True)
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StoreProblem(
                    f"no space left for {out}; partial files were removed: free space and run again"
                ) from None
            raise
        _flush(out.parent)
    finally:
        os.close(lock)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
            text = json.dumps(index, indent=2, sort_keys=True) + "\n"
            (self.folder / INDEX).write_text(text, encoding="utf-8")
        while self.files:
            os.close(self.files.pop())


def _write(file: int, data: bytes | memoryview, place: int) -> None:
    done = 0
    while done < len(data):
        done += os.pwrite(file, data[done:], place + done)
