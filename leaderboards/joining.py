"""Boards made from the cells of other boards and of a store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from harness.core.errors import BadData, UserError
from harness.core.records import Cell, parse
from harness.engine.store import Store
from harness.suites.marks import LIMIT, limit_of, marked, nodes_of_store
from leaderboards.by_judge import base, by_judge
from leaderboards.samples.addresses import CELLS
from leaderboards.spec import BoardSpec, ColumnSpec, Provenance, SystemSpec


@dataclass(frozen=True)
class Source:
    """Cells and where they are from; `spec` is None for a store."""

    name: str
    cells: Sequence[Cell]
    spec: BoardSpec | None = None


@dataclass(frozen=True)
class Wanted:
    """Which cells to take; () takes all.

    Attributes:
        systems, suites, judges: patterns such as "team-*"; of a judge, also a part of its
            reference.
    """

    systems: Sequence[str] = ()
    suites: Sequence[str] = ()
    judges: Sequence[str] = ()

    def __call__(self, cell: Cell) -> bool:
        return (
            _matches(cell.system, self.systems)
            and (_matches(cell.suite, self.suites) or _matches(base(cell.suite), self.suites))
            and (not cell.judge or _matches(cell.judge, self.judges, part=True))
        )


def _matches(text: str, patterns: Sequence[str], part: bool = False) -> bool:
    return not patterns or any(
        fnmatchcase(text, pattern) or (part and pattern in text) for pattern in patterns
    )


def cells_of(store: Store) -> Source:
    """All scores of a store, the newest first."""
    found: list[tuple[str, list[Cell]]] = []
    graph = nodes_of_store(store)
    for id in store.ids():
        if not (store.folder(id) / CELLS).is_file() or store.problem(id):
            continue
        listed = store.artifact(id).read_json(CELLS)
        limit = limit_of(graph, id)
        cells = [marked(parse(Cell, data, f"artifact {id}"), limit) for data in listed]
        linked = [c.model_copy(update={"artifacts": {**c.artifacts, "cells": id}}) for c in cells]
        found.append((str(store.manifest(id).get("finished", "")), linked))
    found.sort(key=lambda pair: pair[0], reverse=True)
    return Source(f"store {store.root}", [cell for _, cells in found for cell in cells])


def join_boards(
    name: str,
    sources: Sequence[Source],
    wanted: Wanted,
    *,
    judges: bool = False,
    title: str = "",
    command: str = "",
) -> tuple[BoardSpec, tuple[Cell, ...]]:
    """Specification and cells of a board of the wanted cells.

    Args:
        judges: give each judge columns of its own.

    Raises:
        UserError: no cell is wanted.
        BadData: two sources have different scores of one system.
    """
    judges = judges or any(source.spec is not None and source.spec.by_judge for source in sources)
    kept = _chosen(sources, wanted, judges)
    if not kept:
        known = sorted({cell.system for source in sources for cell in source.cells})
        shown = ", ".join(known[:8]) + (", ..." if len(known) > 8 else "")
        raise UserError(
            f"no score of {', '.join(source.name for source in sources)} fits --systems, --suite "
            f"and --judge; systems there: {shown or 'none'}"
        )
    spec = BoardSpec(
        name=name,
        title=title or name,
        systems=_systems(sources, kept),
        columns=_columns(sources, kept),
        provenance=Provenance(command=command, also=_commands(sources, kept)),
    )
    return by_judge(spec, kept) if judges else (spec, kept)


def _chosen(sources: Sequence[Source], wanted: Wanted, judges: bool) -> tuple[Cell, ...]:
    found: dict[tuple[object, ...], tuple[str, Cell]] = {}
    for source in sources:
        for cell in source.cells:
            if not wanted(cell):
                continue
            suite = base(cell.suite) if judges else cell.suite
            key: tuple[object, ...] = (cell.system, suite, cell.metric, cell.seed)
            key = (*key, cell.judge_fingerprint) if judges else key
            place, known = found.setdefault(key, (source.name, cell))
            if source.spec is None and _part_of(known, cell):
                found[key] = source.name, max((known, cell), key=lambda c: c.n_expected)
                continue
            if _conditions(known) != _conditions(cell):
                raise BadData(_two_scores(place, known, source.name, cell))
            if place != source.name and known.value != cell.value:
                raise BadData(_two_scores(place, known, source.name, cell))
    return tuple(cell for _, cell in found.values())


def _part_of(one: Cell, other: Cell) -> bool:
    """Whether one of two scores is on the first prompts of the other's set."""
    same = one.judge_fingerprint == other.judge_fingerprint
    return same and one.details.get(LIMIT) != other.details.get(LIMIT)


def _conditions(cell: Cell) -> tuple[str | None, ...]:
    return cell.prompt_set, cell.judge_fingerprint, cell.decode_fingerprint


def _two_scores(place: str, one: Cell, other_place: str, other: Cell) -> str:
    shown = [
        f"{cell.value if cell.value is None else round(cell.value, 2)} in {where} (judge "
        f"{cell.judge}, {cell.n_expected} prompts)"
        for where, cell in ((place, one), (other_place, other))
    ]
    return (
        f"two scores of {one.system} on {one.suite} {one.metric}: {' and '.join(shown)}; choose "
        "with --judge, --systems or --suite, give each judge its columns with --by-judge, or leave "
        "out one of --from"
    )


def _systems(sources: Iterable[Source], cells: Sequence[Cell]) -> tuple[SystemSpec, ...]:
    known: dict[str, SystemSpec] = {}
    for source in sources:
        for system in source.spec.systems if source.spec else ():
            known.setdefault(system.name, system)
    names = dict.fromkeys(cell.system for cell in cells)
    return tuple(known.get(name, SystemSpec(name=name)) for name in names)


def _columns(sources: Iterable[Source], cells: Sequence[Cell]) -> tuple[ColumnSpec, ...]:
    suites = {base(cell.suite) for cell in cells}
    found: dict[str, ColumnSpec] = {}
    for source in sources:
        for column in source.spec.columns if source.spec else ():
            if base(column.suite) in suites:
                update = {"rank": column.rank and not any(c.rank for c in found.values())}
                found.setdefault(column.key, column.model_copy(update=update))
    listed = {base(column.suite) for column in found.values()}
    for cell in cells:
        if cell.primary and base(cell.suite) not in listed:
            column = ColumnSpec(suite=cell.suite, metric=cell.metric)
            found.setdefault(column.key, column)
    return tuple(found.values())


def _commands(sources: Iterable[Source], cells: Sequence[Cell]) -> tuple[str, ...]:
    """The commands that made the boards of which a system is on this one."""
    names = {cell.system for cell in cells}
    found: dict[str, None] = {}
    for source in sources:
        if source.spec and names & {cell.system for cell in source.cells}:
            facts = source.spec.provenance
            found |= dict.fromkeys(text for text in (facts.command, *facts.also) if text)
    return tuple(found)
