"""Merge checkpoint folders into one, tensor by tensor, in constant memory.

A group of tensors that share a weight (`harness.merging.varm.group_of`) is read twice: for its
statistics, then to be merged. For a single tensor the second pass reads from the page cache.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from importlib import metadata
from math import prod
from pathlib import Path
from threading import Lock

import torch
from torch import Tensor

from harness.core.errors import UserError
from harness.engine.io import atomic_folder, write_json
from harness.merging.card import CARD, card_text
from harness.merging.checkpoint import (
    DTYPES,
    INDEX,
    Checkpoint,
    Stored,
    fit_together,
    open_checkpoint,
    stacked,
)
from harness.merging.pieces import Stack
from harness.merging.sce import sce
from harness.merging.settings import (
    LinearSettings,
    MergekitParams,
    MergeParams,
    SceSettings,
    VarmSettings,
)
from harness.merging.varm import group_of, linear, varm
from harness.merging.varm_released import varm_released
from harness.merging.writing import Writer
from harness.models.references import model_files, model_identity

Group = tuple[str, list[str]]
Weights = dict[str, list[float] | None]
_DTYPE_NAMES = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}
_MOST_THREADS = 8  # more would only wait for the disk
_NOT_CARRIED = {"config.json", INDEX, "model.json"}


def merge_checkpoints(
    base: Path,
    targets: Sequence[Path],
    out: Path,
    params: MergeParams,
    progress: Callable[[int, int, str], None] = lambda done, total, unit: None,
    note: Callable[[str], None] = lambda text: None,
) -> None:
    """Merge target checkpoints over their base into the folder `out` (absent or empty).

    Config, generation config, tokenizer and chat template are the base's; merge.json and README.md
    record inputs, settings and the weights of every tensor.

    Args:
        progress: called with (tensors done, tensors in all, "tensors").
        note: called at the end with each difference that was tolerated.

    Raises:
        BadData: models that cannot be merged, damaged files, NaN; the message names the tensor.
        UserError: no targets, a wrong number of weights, or `out` is not empty.
        StoreProblem: the disk is full.
    """
    if not targets:
        raise UserError("no targets to merge; expected at least one")
    weights = params.rule.weights if isinstance(params.rule, LinearSettings) else ()
    if weights and len(weights) != len(targets):
        raise UserError(f"{len(weights)} weights for {len(targets)} targets; expected one each")
    with ExitStack() as stack:
        opened = [stack.enter_context(open_checkpoint(path)) for path in (base, *targets)]
        notes = fit_together(opened[0], opened[1:], params)
        folder = stack.enter_context(atomic_folder(out))
        hashing = ThreadPoolExecutor(1)
        stack.callback(hashing.shutdown, wait=False, cancel_futures=True)
        identities = [hashing.submit(model_identity, path) for path in (base, *targets)]
        stored = opened[0].tensors
        layout = {name: _as_written(stored[name], params.dtype) for name in stored}
        writer = Writer(folder, layout, params.shard_gb * 1e9)
        stack.callback(writer.close)
        used: Weights = {}
        lock = Lock()

        def merge(group: Group) -> None:
            for name, listed in _merge_group(writer, opened, params, group):
                with lock:
                    used[name] = listed
                    progress(len(used), len(stored), "tensors")

        _in_threads(merge, _groups(stored, params))
        writer.close()
        found = [future.result() for future in identities]
        ordered = {name: used[name] for name in stored}
        finish(folder, opened, found, params, ordered, notes)
    for text in notes:
        note(text)


def _as_written(stored: Stored, dtype: str) -> Stored:
    if dtype == "base" or stored.dtype not in DTYPES:
        return stored
    kind = _DTYPE_NAMES[dtype]
    return replace(stored, dtype=kind, nbytes=prod(stored.shape) * DTYPES[kind].itemsize)


def _groups(tensors: Mapping[str, Stored], params: MergeParams) -> list[Group]:
    """Tensors grouped by shared weight; a tensor that is only copied is a group by itself."""
    level = params.rule.level if isinstance(params.rule, VarmSettings) else "tensor"
    groups: dict[str, list[str]] = {}
    for name, stored in tensors.items():
        group = group_of(name, level if stored.dtype in DTYPES else "tensor")
        groups.setdefault(group, []).append(name)
    return list(groups.items())


def _in_threads(work: Callable[[Group], None], groups: Sequence[Group]) -> None:
    """Apply `work` to groups in as many threads as torch uses, with one torch thread each.

    Parallel groups are faster than parallel operators: threads that share every small operation
    wait for each other, most of all on a busy machine.
    """
    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(min(threads, _MOST_THREADS), "merge", torch.set_num_threads, (1,))
    try:
        list(pool.map(work, groups))
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)


def _merge_group(
    writer: Writer, opened: Sequence[Checkpoint], params: MergeParams, group: Group
) -> Iterator[tuple[str, list[float] | None]]:
    """Merge and write the tensors of one group; yields name and weights (None if copied)."""
    (base, *targets), (name, members), rule = opened, group, params.rule
    if base.tensors[members[0]].dtype not in DTYPES:
        writer.write(name, base.pieces(name))  # `fit_together` has checked that all are equal
        yield name, None
        return
    tensors = {member: stacked(member, base, targets) for member in members}
    for member, listed, pieces in _merged(tensors, rule, name):
        writer.write(member, pieces)
        yield member, listed


def _merged(
    tensors: Mapping[str, Stack], rule: LinearSettings | VarmSettings | SceSettings, group: str
) -> Iterator[tuple[str, list[float] | None, Iterator[Tensor]]]:
    if isinstance(rule, LinearSettings):
        return linear(tensors, rule)
    if isinstance(rule, SceSettings):
        return sce(tensors, rule)
    return (varm_released if rule.released else varm)(tensors, rule, group)


def finish(
    folder: Path,
    opened: Sequence[Checkpoint],
    identities: Sequence[str],
    params: MergeParams | MergekitParams,
    weights: Weights,
    notes: Sequence[str],
) -> None:
    """Write merge.json, README.md and the base's small files; config.json last.

    Args:
        opened: the base, then the targets; identities: model identities in the same order.
        weights: weights of the targets, by tensor name.
        notes: tolerated differences, from `fit_together`.
    """
    base = opened[0]
    models = [{"name": c.folder.name, "identity": i} for c, i in zip(opened, identities)]
    libraries = ["torch", "mergekit"] if isinstance(params, MergekitParams) else ["torch"]
    card = {
        "models": models,
        "settings": params.model_dump(mode="json"),
        "notes": list(notes),
        "weights": weights,
        "libraries": {name: metadata.version(name) for name in libraries},
    }
    write_json(folder / CARD, card)
    (folder / "README.md").write_text(card_text(card), encoding="utf-8")
    for path in model_files(base.folder):
        if path.suffix != ".safetensors" and path.name not in _NOT_CARRIED:
            shutil.copyfile(path, folder / path.name)
    config = dict(base.config)
    if params.dtype != "base":
        config["torch_dtype" if "torch_dtype" in config else "dtype"] = params.dtype
    write_json(folder / "config.json", config)
