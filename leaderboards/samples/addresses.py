"""Addresses of cells: SYSTEM/SUITE/METRIC[@SEED], matched against cells, never parsed.

Names of systems contain slashes, colons and at-signs (`org/name`, `openai:model@http://...`), so an
address is compared with the addresses of all known cells. SYSTEM/SUITE alone refers to the suite's
first primary metric. `PLACE:ADDRESS` searches one place only: a board, or an artifact with cells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.core.errors import BadData, DamagedArtifact, unknown
from harness.core.records import Cell, parse
from harness.engine.io import read_objects
from harness.engine.store import Store
from harness.suites.marks import limit_of, marked, nodes_of_store

CELLS = "cells.json"
SHOWN = 6  # choices listed by an error message


@dataclass(frozen=True)
class Place:
    """A cell and where it was found: the id of an artifact, or the name of a board."""

    where: str
    cell: Cell

    @property
    def address(self) -> str:
        return address(self.cell)

    @property
    def full(self) -> str:
        return f"{self.where}:{self.address}"


def address(cell: Cell, seed: bool = True) -> str:
    """SYSTEM/SUITE/METRIC@SEED."""
    name = f"{cell.system}/{cell.suite}/{cell.metric}"
    return f"{name}@{cell.seed}" if seed else name


def is_address(text: str) -> bool:
    """Whether `text` can be the address of a cell rather than the prefix of an id."""
    return "/" in text


def cells_of_store(store: Store, beginning: str = "") -> list[Place]:
    """All cells of the store, without replicates, or those of artifacts with an id prefix."""
    found = []
    for id in store.ids():
        if not id.startswith(beginning) or not (store.folder(id) / CELLS).is_file():
            continue
        try:
            path = store.artifact(id).path / CELLS
        except DamagedArtifact:
            if beginning:
                raise
            continue  # a run computes it again
        for data in read_objects(path):
            # Replicates are most of a cell's bytes and not needed for addresses.
            cell = parse(Cell, {**data, "replicates": ()}, f"artifact {id}")
            found.append(Place(id[:10], cell))
    return found


def find_cell(store: Store, text: str, board: Callable[[str], Path | None] | None = None) -> Cell:
    """The cell with this address.

    Args:
        text: the address, optionally after `PLACE:`.
        board: function from the name or path of a board to its folder, None if there is none.

    Raises:
        UnknownName: no cell has this address.
        BadData: several cells have it; the message lists addresses that distinguish them.
    """
    for place, rest in _splits(text):
        folder = board(place) if board is not None else None
        if folder is not None:
            return _one(_cells_of_board(folder, place), rest, place).cell
        if len(place) >= 4 and all(character in "0123456789abcdef" for character in place):
            known = cells_of_store(store, place)
            if known:
                return _shown(store, _one(known, rest, place))
    return _shown(store, _one(cells_of_store(store), text))


def _shown(store: Store, place: Place) -> Cell:
    """The cell of an artifact with its marks."""
    (id,) = [id for id in store.ids() if id.startswith(place.where)]
    return marked(place.cell, limit_of(nodes_of_store(store), id))


def _splits(text: str) -> list[tuple[str, str]]:
    """(PLACE, address) at each colon; the first valid place is used."""
    return [(text[:at], text[at + 1 :]) for at, mark in enumerate(text) if mark == ":"]


def _cells_of_board(folder: Path, name: str) -> list[Place]:
    from leaderboards.files import read_board

    return [Place(name, cell) for cell in read_board(folder)[1]]


def _one(places: Sequence[Place], wanted: str, inside: str = "") -> Place:
    found = _matching(places, wanted)
    if not found:
        known = dict.fromkeys(address(place.cell, seed=False) for place in places)
        raise unknown("cell", wanted, known, "crucible show lists cells")
    if len(found) == 1:
        return found[0]
    raise BadData(
        f'"{wanted}" names {len(found)} cells: {_listed(found, inside)}; type one of these'
    )


def _matching(places: Sequence[Place], wanted: str) -> list[Place]:
    """Cells with exactly this address, else of a suite: its first metric if from one run."""
    exact = [p for p in places if wanted in (p.address, address(p.cell, seed=False))]
    if exact:
        return _distinct(exact)
    suite = wanted.rstrip("/") + "/"
    among = [p for p in places if p.address.startswith(suite) and _depth(p, suite)]
    primary = [p for p in among if p.cell.primary] or among
    made = {(p.where, p.cell.seed, *sorted(p.cell.artifacts.items())) for p in primary}
    return _distinct(primary[:1] if len(made) == 1 else primary)


def _depth(place: Place, beginning: str) -> bool:
    """Whether `beginning` is SYSTEM/ or SYSTEM/SUITE/ of a cell, not part of a name."""
    cell = place.cell
    return beginning in (f"{cell.system}/", f"{cell.system}/{cell.suite}/")


def _distinct(places: Iterable[Place]) -> list[Place]:
    return list({place.full: place for place in places}.values())


def _listed(places: Sequence[Place], inside: str) -> str:
    """Addresses that distinguish the cells, as they must be typed."""
    places = sorted(places, key=lambda place: (place.address, place.where))
    addresses = [place.address for place in places]
    parts = []
    for place in places[:SHOWN]:
        twice = addresses.count(place.address) > 1
        name = place.full if twice or inside else place.address
        parts.append(f"{name} ({place.cell.judge}, n {place.cell.n_expected})" if twice else name)
    more = f" and {len(places) - SHOWN} more" if len(places) > SHOWN else ""
    return ", ".join(parts) + more
