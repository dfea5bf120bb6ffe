"""Damaged artifacts of a plan: found, set aside, and computed again with what was made from them.

    finished, damaged = examine(plan, targets, store)     reads only
    mend(plan, targets, store, report)                    sets aside what `examine` finds

Everything that a run opens is read and compared with its digest: its targets, and the inputs of the
stages that it executes. Of other artifacts, files above `integrity.SMALL` are checked by size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

from harness.engine.integrity import ROWS, SMALL
from harness.engine.io import iterate_objects
from harness.engine.plan import Handle, Plan, Stage
from harness.engine.store import Store


def examine(
    plan: Plan, targets: Sequence[Handle], store: Store
) -> tuple[list[str], dict[str, str]]:
    """Ids of the artifacts that a run may use, and what is wrong with the damaged ones, by id.

    An artifact made from a damaged one is not used either.
    """
    damaged: dict[str, str] = {}
    for id, stage in plan.stages.items():
        if problem := store.problem(id, SMALL) or _ids_problem(stage, store):
            damaged[id] = problem
    while True:
        finished = _usable(plan, store, damaged)
        found = {
            id: problem
            for id in _opened(plan, targets, finished)
            if (problem := store.problem(id)) and id not in damaged
        }
        if not found:
            return finished, damaged
        damaged |= found


def _ids_problem(stage: Stage, store: Store) -> str:
    """Of a row stage of an earlier version: whether its rows are those of its input."""
    source = stage.inputs.get(stage.operation.rows or "")
    if not isinstance(source, Handle) or not store.has(stage.id) or not store.has(source.id):
        return ""
    if "files" in store.manifest(stage.id) or store.problem(source.id, SMALL):
        return ""
    made, given = (_ids(store.folder(id) / ROWS) for id in (stage.id, source.id))
    for number, (id, other) in enumerate(zip_longest(made, given), 1):
        if id != other:
            return f"row {number} of {ROWS} is that of {id!r}; {other!r} was given"
    return ""


def _ids(path: Path) -> Iterator[object]:
    return (row.get("id") for row in iterate_objects(path))


def _usable(plan: Plan, store: Store, damaged: Iterable[str]) -> list[str]:
    """Finished stages that neither are damaged nor depend on what is."""
    gone = set(damaged)
    for stage in plan.stages.values():
        if gone.intersection(stage.input_ids()):
            gone.add(stage.id)
    return [id for id in plan.stages if id not in gone and store.has(id)]


def _opened(plan: Plan, targets: Sequence[Handle], finished: Iterable[str]) -> set[str]:
    """Finished artifacts that a run reads."""
    done = set(finished)
    read = {id for stage in plan.needed(targets, done) for id in stage.input_ids()}
    return done & (read | {handle.id for handle in targets})


def mend(
    plan: Plan, targets: Sequence[Handle], store: Store, report: Callable[[Stage, str], None]
) -> list[str]:
    """Set aside the damaged artifacts of a plan, and what was made from them.

    Args:
        report: receives one sentence for each damaged artifact.

    Returns:
        Ids of the artifacts that the plan may use.
    """
    finished, damaged = examine(plan, targets, store)
    if not damaged:
        return finished
    lost = {id for id in plan.stages if id not in finished and store.has(id)}
    lost.update(store.made_from(damaged))
    for id, problem in damaged.items():
        place = store.set_aside(id, problem)
        if place is not None:
            others = len(set(store.made_from([id])) - set(damaged))
            more = f" with the {others} artifacts made from it" if others > 1 else ""
            more = " with the artifact made from it" if others == 1 else more
            report(
                plan.stages[id],
                f"artifact {id[:10]} is damaged: {problem}; it is in {place} and is computed "
                f"again{more}",
            )
    for id in sorted(lost - set(damaged)):
        store.set_aside(id, "made from a damaged artifact")
    return finished
