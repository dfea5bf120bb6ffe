"""Merges computed by mergekit: linear, task arithmetic, TIES, DARE, SLERP, SCE.

mergekit runs in this process, in float32 on the CPU. Its weights are checked against the base
(names, shapes, finite values) before the checkpoint is completed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from harness.core.errors import BadData, MissingExtra, UserError
from harness.engine.io import atomic_folder, write_json
from harness.merging.checkpoint import (
    DTYPES,
    Checkpoint,
    check_finite,
    fit_together,
    open_checkpoint,
    stacked,
)
from harness.merging.merge import finish
from harness.merging.settings import MergekitParams, MergeParams, SceSettings
from harness.merging.writing import Writer
from harness.models.references import model_identity


def configuration(base: Path, targets: Sequence[Path], params: MergekitParams) -> dict[str, Any]:
    """Configuration of a merge in mergekit's format.

    Raises:
        UserError: not one weight per target, or SLERP without exactly two targets.
    """
    weights = params.weights
    if weights is not None and len(weights) != len(targets):
        raise UserError(f"{len(weights)} weights for {len(targets)} targets; expected one each")
    if params.method == "slerp" and (len(targets) != 2 or weights):
        given = f"{len(targets)} targets" + (" and weights" if weights else "")
        raise UserError(f"slerp with {given}; expected two targets, and t in `parameters`")
    models: list[dict[str, Any]] = [{"model": str(path.absolute())} for path in targets]
    for model, weight in zip(models, weights or ()):
        model["parameters"] = {"weight": weight}
    made = {
        "merge_method": params.method,
        "models": models,
        "parameters": dict(params.parameters),
        "dtype": "float32",
    }
    if params.method != "linear":
        made["base_model"] = str((targets[0] if params.method == "slerp" else base).absolute())
    return made


def run_mergekit(
    base: Path,
    targets: Sequence[Path],
    out: Path,
    params: MergekitParams,
    note: Callable[[str], None] = lambda text: None,
) -> None:
    """Merge target checkpoints with mergekit into the folder `out` (absent or empty).

    Args:
        note: called at the end with each difference that was tolerated.

    Raises:
        MissingExtra: mergekit is not installed.
        BadData: models that cannot be merged, or a result whose tensors differ from the base's in
            name or shape or are not finite; the message names the tensor.
        UserError: settings or an architecture that mergekit refuses.
    """
    try:
        from mergekit.config import MergeConfiguration
        from mergekit.merge import run_merge
        from mergekit.options import MergeOptions
    except ImportError:
        raise MissingExtra("mergekit", "merge") from None
    with ExitStack() as stack:
        opened = [stack.enter_context(open_checkpoint(path)) for path in (base, *targets)]
        fit = MergeParams(
            rule=SceSettings(),
            mixed_dtypes=params.mixed_dtypes,
            align_vocabularies=params.align_vocabularies,
            allow_config=params.allow_config,
        )
        notes = fit_together(opened[0], opened[1:], fit)
        dtypes = {stored.dtype for stored in opened[0].tensors.values()}
        if params.dtype == "base" and len(dtypes) > 1:
            raise UserError(f"{base} mixes {', '.join(sorted(dtypes))}: set dtype of the result")
        kind = DTYPES.get(dtypes.pop()) if params.dtype == "base" else params.dtype
        folder = stack.enter_context(atomic_folder(out))
        # Links with distinct names: mergekit refuses the same path as two targets.
        links = Path(stack.enter_context(TemporaryDirectory(dir=folder)))
        named = [links / str(number) for number in range(len(opened))]
        for link, checkpoint in zip(named, opened):
            _link(link, checkpoint, opened[0])
        settings = configuration(named[0], named[1:], params)
        settings["out_dtype"] = str(kind).removeprefix("torch.")
        work = folder / "mergekit"
        size = int(params.shard_gb * 1e9)
        options = {"out_shard_size": size, "copy_tokenizer": False, "write_model_card": False}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(params.seed)
            try:
                config = MergeConfiguration.model_validate(settings)
                run_merge(config, str(work), MergeOptions(quiet=True, **options))
            except (RuntimeError, ValueError, TypeError) as error:
                text = str(error)
                for link, path in zip(named, (base, *targets)):
                    text = text.replace(str(link), str(path))
                raise UserError(f"mergekit {params.method}: {text}") from error
        _check(work, opened[0])
        for path in work.glob("*.safetensors*"):
            path.rename(folder / path.name)
        for path in work.iterdir():
            path.unlink()
        work.rmdir()
        identities = [model_identity(path) for path in (base, *targets)]
        used = None if params.weights is None else list(params.weights)
        finish(folder, opened, identities, params, dict.fromkeys(opened[0].tensors, used), notes)
    for text in notes:
        note(text)


def _link(link: Path, checkpoint: Checkpoint, base: Checkpoint) -> None:
    """A link to a checkpoint's folder, or a copy where its tensors or rows are read otherwise."""
    stored = open_checkpoint(checkpoint.folder).tensors
    if not checkpoint.rows and stored == checkpoint.tensors:
        link.symlink_to(checkpoint.folder.absolute())
        return
    link.mkdir()
    layout = {name: base.tensors[name] for name in checkpoint.tensors if name in base.tensors}
    with closing(Writer(link, layout, math.inf)) as writer:
        for name, kept in layout.items():
            if kept.dtype not in DTYPES:
                writer.write(name, base.pieces(name))  # `fit_together` has checked: all are equal
                continue
            rows = stacked(name, base, [checkpoint]).pieces()
            writer.write(name, (piece[1] for piece in rows))
    write_json(link / "config.json", base.config)


def _check(folder: Path, base: Checkpoint) -> None:
    """Check that the folder contains every tensor of the base, in its shape and finite."""
    with open_checkpoint(folder) as made:
        for name, stored in base.tensors.items():
            found = made.tensors[name].shape if name in made.tensors else None
            if found != stored.shape:
                what = "is missing" if found is None else f"has shape {list(found)}"
                raise BadData(f'mergekit\'s tensor "{name}" {what}; expected {list(stored.shape)}')
            for piece in made.pieces(name):
                check_finite(name, piece, made)
