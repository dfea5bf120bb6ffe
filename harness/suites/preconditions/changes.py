"""How far models that were made from one base are from it, and how often they contradict.

A merge can only differ from the mean, or from its base, where its targets moved. Intervals are over
tensors: they say how evenly a change is spread, not how it would vary between trainings.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from harness.core.records import Cell
from harness.engine.io import write_rows
from harness.engine.operations import Artifact, Context, operation
from harness.merging.changes import TensorChange, tensor_changes
from harness.stats.bootstrap import cluster_counts
from harness.suites.preconditions.answers import of_system
from harness.suites.scoring import CellMaker, CellParams, Tally, cell_maker, sample_of, write_cells

OVER_TENSORS = "bootstrap over tensors"
DISTANCE, CONFLICT = "distance", "sign_conflict"


class MeasureChangesParams(CellParams):
    """Parameters of `measure_changes`.

    Attributes:
        names: of the models, in order.
        together: the models are merged with each other, so that their changes can conflict;
            `system` names them together.
        rounds: fewer than usual, since tensors are few and the replicates of a root are stored.
    """

    names: tuple[str, ...]
    rounds: int = Field(default=200, ge=1)
    together: bool = False


@operation("measure_changes", version=1, params=MeasureChangesParams, libraries=("torch",))
def measure_changes(
    context: Context,
    params: MeasureChangesParams,
    *,
    base: Artifact,
    models: tuple[Artifact, ...],
) -> None:
    """Write how far models are from their base.

    distance        of each model: || model - base || / || base || over all tensors, in %
    sign_conflict   of models that are merged together: % of the entries that at least two of them
                    changed whose changes do not have one sign

    rows.jsonl has both of each tensor. Tensors that not all have are left out and counted.
    """
    from harness.merging.checkpoint import checkpoint_folder

    folders = [checkpoint_folder(model.path) for model in models]
    found, left = tensor_changes(checkpoint_folder(base.path), folders)
    maker = cell_maker(params, {each.name: [each.name] for each in found}, base=base)
    cells = [
        _distance(of_system(maker, name), found, number, len(left))
        for number, name in enumerate(params.names)
    ]
    if params.together and len(models) > 1:
        cells.append(_conflict(maker, found))
    write_cells(context, cells)
    write_rows(
        context.directory / "rows.jsonl",
        [
            {
                "id": each.name,
                "distance": {
                    name: 100 * (moved / each.square) ** 0.5 if each.square else None
                    for name, moved in zip(params.names, each.moved, strict=True)
                },
                "changed": each.changed,
                "conflicts": each.conflicts,
            }
            for each in found
        ],
    )


def _distance(maker: CellMaker, found: Sequence[TensorChange], number: int, left: int) -> Cell:
    moved = np.array([each.moved[number] for each in found])
    square = np.array([each.square for each in found])
    names = [each.name for each in found]
    counts = cluster_counts(maker.prompt_set, names, maker.params.rounds).astype(float)
    whole = float(square.sum())
    drawn = counts @ square
    draws = 100 * np.sqrt(np.where(drawn > 0, counts @ moved / np.where(drawn > 0, drawn, 1), 0))
    return maker.cell(
        DISTANCE,
        100 * float(np.sqrt(moved.sum() / whole)) if whole else None,
        Tally(len(names), len(names)),
        replicates=draws if whole else (),
        kind=OVER_TENSORS,
        unit="% of the base",
        primary=False,
        details={"tensors left out": left} if left else None,
    )


def _conflict(maker: CellMaker, found: Sequence[TensorChange]) -> Cell:
    changed = np.array([each.changed for each in found], float)
    conflicts = np.array([each.conflicts for each in found], float)
    names = [each.name for each in found]
    counts = cluster_counts(maker.prompt_set, names, maker.params.rounds).astype(float)
    whole = float(changed.sum())
    value = 100 * float(conflicts.sum()) / whole if whole else None
    drawn = counts @ changed
    draws = 100 * (counts @ conflicts) / np.where(drawn > 0, drawn, 1)
    top = np.where(changed > 0, 100 * conflicts, np.nan)
    return maker.cell(
        CONFLICT,
        value,
        Tally(len(names), int((changed > 0).sum())),
        replicates=np.where(drawn > 0, draws, value or 0.0) if whole else (),
        kind=OVER_TENSORS,
        resampled=sample_of(top, names, changed, (0.0, 100.0)),
        primary=False,
        higher_is_better=False,
    )
