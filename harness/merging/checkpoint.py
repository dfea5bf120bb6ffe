"""Read checkpoint folders tensor by tensor, and check that several can be merged.

Files are read, not memory-mapped: mapped pages count as resident memory until the file is closed.
Only safetensors are read; pickled weights can run code and are refused.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from harness.core.errors import BadData, EnvironmentProblem
from harness.engine.io import read_json
from harness.merging import pieces
from harness.merging.pieces import Stack
from harness.merging.settings import MergeParams
from harness.models.references import resolve_one

DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
INDEX = "model.safetensors.index.json"
_FILES = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt", "*.py"]
# Config keys that affect neither the meaning of weights nor of token ids.
_FREE = {"_name_or_path", "transformers_version", "torch_dtype", "dtype", "use_cache", "vocab_size"}


@dataclass(frozen=True)
class Stored:
    """Location of a tensor: file, byte offset and size; `dtype` is the name in safetensors."""

    file: Path
    offset: int
    nbytes: int
    dtype: str
    shape: tuple[int, ...]

    @property
    def width(self) -> int:
        return self.nbytes // max(1, prod(self.shape))


@dataclass
class Checkpoint:
    """A checkpoint folder; as a context manager it opens and closes the weight files."""

    folder: Path
    config: dict[str, Any]
    tensors: dict[str, Stored]
    _files: dict[Path, int] = field(default_factory=dict, repr=False)

    def __enter__(self) -> Checkpoint:
        for file in {stored.file for stored in self.tensors.values()}:
            self._files[file] = os.open(file, os.O_RDONLY)
        return self

    def __exit__(self, *_: object) -> None:
        while self._files:
            os.close(self._files.popitem()[1])

    def read(self, name: str, start: int, stop: int) -> Tensor:
        """Entries start..stop of the flattened tensor; raw bytes if its dtype is not in `DTYPES`.

        Raises:
            BadData: the file ends inside the tensor.
        """
        stored = self.tensors[name]
        made = torch.empty(stop - start, dtype=DTYPES.get(stored.dtype, torch.uint8))
        target, done = memoryview(made.view(torch.uint8).numpy()), 0
        begin = stored.offset + start * made.element_size()
        while done < len(target):
            got = os.preadv(self._files[stored.file], [target[done:]], begin + done)
            if got == 0:
                raise BadData(f'{stored.file} ends inside tensor "{name}": was it overwritten?')
            done += got
        return made

    def pieces(self, name: str) -> Iterator[Tensor]:
        """The whole tensor in pieces, as returned by `read`."""
        stored = self.tensors[name]
        length = prod(stored.shape) if stored.dtype in DTYPES else stored.nbytes
        for start in range(0, length, pieces.PIECE):
            yield self.read(name, start, min(start + pieces.PIECE, length))

    def twin(self, name: str) -> str | None:
        """Name of another tensor with the same dtype, shape and content."""
        stored = self.tensors[name]
        for other, found in self.tensors.items():
            alike = (found.dtype, found.shape) == (stored.dtype, stored.shape)
            if alike and other != name and _same(self, name, self, other):
                return other
        return None


def _same(one: Checkpoint, name: str, two: Checkpoint, other: str) -> bool:
    pairs = zip(one.pieces(name), two.pieces(other))
    return all(torch.equal(a.view(torch.uint8), b.view(torch.uint8)) for a, b in pairs)


def checkpoint_folder(path: Path) -> Path:
    """Folder with the weights of a model artifact; for a hub model, its local snapshot.

    Raises:
        EnvironmentProblem: the hub model is not cached and cannot be downloaded.
    """
    source = resolve_one(path)
    if not source.hub:
        return Path(source.location)
    from huggingface_hub import snapshot_download

    try:
        found = snapshot_download(source.location, revision=source.revision, allow_patterns=_FILES)
    except (OSError, ValueError) as error:
        raise EnvironmentProblem(
            f"hub model {source.location} cannot be downloaded: give the path of a local copy "
            f"({error})"
        ) from None
    return Path(found)


def open_checkpoint(folder: Path) -> Checkpoint:
    """Read the headers of a folder with config.json and one or several safetensors files.

    Raises:
        BadData: a file is missing, damaged or truncated, or the weights are pickled.
    """
    config, index = read_json(folder / "config.json"), {}
    files = [folder / "model.safetensors"]
    if not files[0].is_file() and (folder / INDEX).is_file():
        index = read_json(folder / INDEX).get("weight_map", {})
        files = sorted({folder / name for name in index.values()})
    elif not files[0].is_file():
        pickled = [path.name for path in folder.iterdir() if path.suffix in (".bin", ".pt")]
        reason = f"found neither model.safetensors nor {INDEX}"
        if pickled:
            reason = f"weights are pickled ({pickled[0]}), and unpickling can run any code; save "
            reason += "them as safetensors (save_pretrained of current transformers)"
        raise BadData(f"{folder}: {reason}")
    tensors = {name: stored for file in files for name, stored in _header(file).items()}
    if lost := sorted(index.keys() - tensors.keys()):
        raise BadData(f'{folder}: tensor "{lost[0]}" is listed in {INDEX} but in no weight file')
    return Checkpoint(folder, config, tensors)


def _header(file: Path) -> dict[str, Stored]:
    try:
        with safe_open(file, framework="pt"):  # checks the header against the file's size
            pass
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            header = json.loads(stream.read(length))
    except (OSError, SafetensorError) as error:
        raise BadData(f"{file} is missing, damaged or truncated: {error}") from None
    header.pop("__metadata__", None)
    found = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        shape = tuple(entry["shape"])
        found[name] = Stored(file, 8 + length + begin, end - begin, entry["dtype"], shape)
    return found


def fit_together(base: Checkpoint, targets: Sequence[Checkpoint], params: MergeParams) -> list[str]:
    """Check that open checkpoints can be merged, and return notes on tolerated differences.

    Tied embeddings may be saved once or twice. A target's extra tensor that copies another is
    dropped; a target's missing tensor is read from the one that it copies in the base.

    Raises:
        BadData: any other difference; the message names target and tensor.
    """
    notes: list[str] = []
    for target in targets:
        where, short = f"{target.folder} does not fit the base {base.folder}", target.folder.name
        for key in ("model_type", "architectures"):
            if base.config.get(key) != target.config.get(key):
                raise BadData(
                    f"{where}: {key} is {target.config.get(key)}; expected {base.config.get(key)}"
                )
        keys = (base.config.keys() | target.config.keys()) - _FREE
        if differ := sorted(k for k in keys if base.config.get(k) != target.config.get(k)):
            notes.append(f"{short}: config differs in {', '.join(differ)}")
        for name in sorted(target.tensors.keys() - base.tensors.keys()):
            if (twin := target.twin(name)) is None:
                raise BadData(f'{where}: tensor "{name}" is not in the base')
            notes.append(f"{short}: {name} left out, a copy of {twin}")
        for name in sorted(base.tensors.keys() - target.tensors.keys()):
            twin = base.twin(name)
            if twin is None or twin not in target.tensors:
                raise BadData(f'{where}: tensor "{name}" is missing')
            target.tensors[name] = target.tensors[twin]
            notes.append(f"{short}: {name} taken from {twin}, to which it is tied")
        for name in base.tensors:
            if problem := _problem(name, base, target, params, notes):
                raise BadData(f'{where}: tensor "{name}" {problem}')
    return notes


def _problem(
    name: str, base: Checkpoint, target: Checkpoint, params: MergeParams, notes: list[str]
) -> str:
    """Why a tensor cannot be merged, or ""."""
    ours, theirs = base.tensors[name], target.tensors[name]
    floats = {ours.dtype, theirs.dtype} <= DTYPES.keys()
    if ours.dtype != theirs.dtype and not (params.mixed_dtypes and floats):
        return (
            f"has dtype {theirs.dtype}; expected {ours.dtype}, or mixed_dtypes = true if both are "
            "floats"
        )
    if ours.shape != theirs.shape:
        problem = f"has shape {list(theirs.shape)}; expected {list(ours.shape)}"
        wanted = [(_vocabulary(each), *ours.shape[1:]) for each in (base, target)]
        if wanted != [ours.shape, theirs.shape] or theirs.nbytes < ours.nbytes:
            return problem
        if params.embedding_rows == "refuse":
            return f'{problem} (embedding_rows = "cut" drops the extra vocabulary rows)'
        notes.append(f"{target.folder.name}: {name} cut from {theirs.shape[0]} rows")
    if not floats and not _same(base, name, target, name):
        return f"differs from the base, and dtype {ours.dtype} cannot be merged"
    return ""


def _vocabulary(checkpoint: Checkpoint) -> int | None:
    config = checkpoint.config
    return config.get("vocab_size", config.get("text_config", {}).get("vocab_size"))


def stacked(name: str, base: Checkpoint, targets: Sequence[Checkpoint]) -> Stack:
    """One tensor of all checkpoints; a target's extra embedding rows are not read.

    The returned stack raises BadData on reading NaN or Inf.
    """
    models = (base, *targets)

    def read(start: int, stop: int) -> Tensor:
        rows = torch.empty(len(models), stop - start)
        for row, checkpoint in zip(rows, models):
            row.copy_(checkpoint.read(name, start, stop))
        if not rows.sum().isfinite():  # one cheap test for all rows
            for row, checkpoint in zip(rows, models):
                check_finite(name, row, checkpoint)
        return rows

    return Stack(base.tensors[name].shape, len(targets), read)


def check_finite(name: str, piece: Tensor, checkpoint: Checkpoint) -> None:
    """Raise BadData if a piece of a tensor contains NaN or Inf."""
    if not piece.isfinite().all():
        kind = "NaN" if piece.isnan().any() else "Inf"
        raise BadData(f'{checkpoint.folder}: tensor "{name}" contains {kind}')
