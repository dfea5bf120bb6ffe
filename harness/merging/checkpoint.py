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
from harness.merging.buffers import buffer_note, is_buffer
from harness.merging.configs import check_configs
from harness.merging.pieces import Stack
from harness.merging.settings import MergeParams
from harness.merging.vocabulary import (
    check_agreement,
    compare,
    read_vocabularies,
    reading_notes,
    rows_of,
    vocabulary_size,
    vocabulary_tensors,
    with_vocabulary_size,
)
from harness.models.references import resolve_one

DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
INDEX = "model.safetensors.index.json"
_FILES = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt", "*.py"]


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
    """A checkpoint folder; as a context manager it opens and closes the weight files.

    Attributes:
        rows: of a target, for tensors whose rows are not those of the base: this checkpoint's row
            for each row of the base, `NO_ROW` for the base's own row.
    """

    folder: Path
    config: dict[str, Any]
    tensors: dict[str, Stored]
    rows: dict[str, Tensor] = field(default_factory=dict, repr=False)
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
    except (OSError, SafetensorError, ValueError, RecursionError) as error:
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

    Known buffers are dropped. Tied embeddings may be saved once or twice: a target's extra tensor
    that copies another is dropped; a missing one is read from the one that it copies in the base.

    Raises:
        BadData: any other difference, of config, vocabulary or tensors; the message names it.
    """
    notes: list[str] = []
    for each in (base, *targets):
        buffers = sorted(name for name, held in each.tensors.items() if is_buffer(name, held.shape))
        if buffers:
            notes.append(f"{each.folder.name}: {buffer_note(buffers)}")
        for name in buffers:
            del each.tensors[name]
    for target in targets:
        for key in ("model_type", "architectures"):
            if base.config.get(key) != target.config.get(key):
                raise BadData(
                    f"{target.folder} does not fit the base {base.folder}: {key} is "
                    f"{target.config.get(key)}; expected {base.config.get(key)}"
                )
        both = (base.config, target.config)
        notes += check_configs(base.folder, target.folder, both, params.allow_config)
        notes += _fit_names(base, target)
    notes += _fit_vocabularies(base, targets, params)
    for target in targets:
        for name in base.tensors:
            if problem := _problem(name, base, target, params):
                where = f"{target.folder} does not fit the base {base.folder}"
                raise BadData(f'{where}: tensor "{name}" {problem}')
    return notes


def _fit_names(base: Checkpoint, target: Checkpoint) -> list[str]:
    """Give a target the tensors of the base, where copies of tied ones allow it; notes on them."""
    where, short = f"{target.folder} does not fit the base {base.folder}", target.folder.name
    notes = []
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
    return notes


def _fit_vocabularies(
    base: Checkpoint, targets: Sequence[Checkpoint], params: MergeParams
) -> list[str]:
    """Compare vocabularies and set `rows` of the targets; notes on tolerated differences."""
    sizes = [vocabulary_size(each.config) for each in (base, *targets)]
    read = read_vocabularies([each.folder for each in (base, *targets)], sizes)
    notes = reading_notes(read[0], read[1:])
    if _same_rows(base, targets, [each.tokens for each in read]):
        return notes
    shapes = {name: stored.shape for name, stored in base.tensors.items()}
    tensors = vocabulary_tensors(base.folder, base.config, shapes)
    if not tensors:
        if all(each.tokens == read[0].tokens for each in read):
            return notes
        raise BadData(
            f"{base.folder}: vocabularies differ, and the tensors with one row per token cannot be "
            f"told: transformers cannot read config.json, and vocab_size ({sizes[0]}) is also "
            "another number in it; give all models the base's tokenizer and rows"
        )
    rows = max(tensors.values())
    padding = rows - sum(token is not None for token in read[0].tokens[:rows])
    if padding:
        notes.append(f"{padding:,} of {rows:,} vocabulary rows have no token: the base's are kept")
    for target, vocabulary in zip(targets, read[1:]):
        held = {name: _rows(target, name, shapes[name]) for name in tensors}
        most = max(held.values())
        found = compare(read[0], vocabulary, rows, most)
        cut = params.embedding_rows == "cut"
        align = params.align_vocabularies
        notes += check_agreement(read[0], vocabulary, found, align=align, cut=cut)
        if most != rows:
            notes.append(f"{target.folder.name}: {most:,} vocabulary rows; the result has {rows:,}")
        for name, count in tensors.items():
            if (map := rows_of(found, count, held[name])) is not None:
                target.rows[name] = map
    if set(tensors.values()) == {rows} and rows != sizes[0]:
        notes.append(f"config: vocab_size was {sizes[0]}; set to {rows}, the rows of the base")
        base.config = with_vocabulary_size(base.config, rows)
    return notes


def _rows(target: Checkpoint, name: str, shape: tuple[int, ...]) -> int:
    """Vocabulary rows of a target's tensor: the first dimension above 1 of the base's shape."""
    found = target.tensors[name].shape
    place = next((d for d, size in enumerate(shape) if size != 1), 0)
    return found[place] if len(found) == len(shape) else 0


def _same_rows(
    base: Checkpoint, targets: Sequence[Checkpoint], tokens: Sequence[tuple[str | None, ...]]
) -> bool:
    """Whether all have the same token in every row, by a quick test that may fail to see it."""
    size = vocabulary_size(base.config)
    return (
        all(each == tokens[0] for each in tokens)
        and len(tokens[0]) == size
        and None not in tokens[0]
        and any(size in stored.shape for stored in base.tensors.values())
        and all(
            target.tensors[name].shape == stored.shape
            for target in targets
            for name, stored in base.tensors.items()
        )
    )


def _problem(name: str, base: Checkpoint, target: Checkpoint, params: MergeParams) -> str:
    """Why a tensor cannot be merged, or ""."""
    ours, theirs = base.tensors[name], target.tensors[name]
    floats = {ours.dtype, theirs.dtype} <= DTYPES.keys()
    if ours.dtype != theirs.dtype and not (params.mixed_dtypes and floats):
        return (
            f"has dtype {theirs.dtype}; expected {ours.dtype}, or mixed_dtypes = true if both are "
            "floats"
        )
    if ours.shape != theirs.shape:
        differ = [d for d, (a, b) in enumerate(zip(ours.shape, theirs.shape)) if a != b]
        if len(ours.shape) != len(theirs.shape) or len(differ) > 1 or name not in target.rows:
            return f"has shape {list(theirs.shape)}; expected {list(ours.shape)}"
    if not floats and not _same(base, name, target, name):
        return f"differs from the base, and dtype {ours.dtype} cannot be merged"
    return ""


def stacked(name: str, base: Checkpoint, targets: Sequence[Checkpoint]) -> Stack:
    """One tensor of all checkpoints, with the base's rows; see `Checkpoint.rows`.

    The returned stack raises BadData on reading NaN or Inf.
    """
    models = (base, *targets)

    def read(start: int, stop: int) -> Tensor:
        rows = torch.empty(len(models), stop - start)
        for row, checkpoint in zip(rows, models):
            if name in checkpoint.rows:
                row.copy_(rows[0])
                _read_rows(row, name, checkpoint, base.tensors[name], start)
            else:
                row.copy_(checkpoint.read(name, start, stop))
        if not rows.sum().isfinite():  # one cheap test for all rows
            for row, checkpoint in zip(rows, models):
                check_finite(name, row, checkpoint)
        return rows

    return Stack(base.tensors[name].shape, len(targets), read)


def _read_rows(piece: Tensor, name: str, target: Checkpoint, base: Stored, start: int) -> None:
    """Read a target's rows, where it has them, into a piece that begins at entry `start`."""
    rows, stop = target.rows[name], start + len(piece)
    width = max(1, prod(base.shape) // max(1, len(rows)))
    first = start // width
    wanted = rows[first : -(-stop // width)].tolist()
    begin = 0
    for end in range(1, len(wanted) + 1):  # runs of rows that follow one another in the target
        if end < len(wanted) and wanted[begin] >= 0 and wanted[end] == wanted[end - 1] + 1:
            continue
        if wanted[begin] >= 0:
            low = max(start, (first + begin) * width)
            high = min(stop, (first + end) * width)
            shift = (wanted[begin] - first - begin) * width
            piece[low - start : high - start] = target.read(name, low + shift, high + shift)
        begin = end


def check_finite(name: str, piece: Tensor, checkpoint: Checkpoint) -> None:
    """Raise BadData if a piece of a tensor contains NaN or Inf."""
    if not piece.isfinite().all():
        kind = "NaN" if piece.isnan().any() else "Inf"
        raise BadData(f'{checkpoint.folder}: tensor "{name}" contains {kind}')
