"""Operations that merge checkpoints."""

from __future__ import annotations

from harness.core.records import Record
from harness.engine.operations import Artifact, Context, Estimate, operation
from harness.merging.settings import MergekitParams, MergeParams


def _size(params: Record, base: Estimate, targets: tuple[Estimate, ...]) -> Estimate:
    """Estimate of a merge: the base's parameter count; no GPU time and no tokens."""
    return Estimate(parameters_b=base.parameters_b)


@operation("merge_models", version=2, params=MergeParams, libraries=("torch",), estimate=_size)
def merge_models(
    context: Context, params: MergeParams, *, base: Artifact, targets: tuple[Artifact, ...]
) -> None:
    """Merge targets over their base by VaRM, SCE or the mean; see `merge_checkpoints`."""
    from harness.merging.checkpoint import checkpoint_folder
    from harness.merging.merge import merge_checkpoints

    folders = [checkpoint_folder(target.path) for target in targets]
    start = checkpoint_folder(base.path)
    merge_checkpoints(start, folders, context.directory, params, context.progress, context.note)


@operation(
    "merge_by_mergekit",
    version=2,
    params=MergekitParams,
    libraries=("torch", "mergekit"),
    estimate=_size,
)
def merge_by_mergekit(
    context: Context, params: MergekitParams, *, base: Artifact, targets: tuple[Artifact, ...]
) -> None:
    """Merge with mergekit; see `harness.merging.with_mergekit.run_mergekit`."""
    from harness.merging.checkpoint import checkpoint_folder
    from harness.merging.with_mergekit import run_mergekit

    folders = [checkpoint_folder(target.path) for target in targets]
    run_mergekit(checkpoint_folder(base.path), folders, context.directory, params, context.note)
