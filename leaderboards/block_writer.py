"""Writing of compact cells by metric, see `leaderboards.blocks`; each part in its shortest form."""

from __future__ import annotations

import base64
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from harness.core.hashing import canonical_json
from harness.core.records import Cell
from leaderboards.blocks import (
    COLUMNS,
    NESTED,
    SLOPE_BITS,
    Column,
    Known,
    Pair,
    Units,
    predicted,
    units_of,
)
from leaderboards.board import Board
from leaderboards.compact import recomputed
from leaderboards.tables import joined, table

_KEY = {"suite", "metric", "system", "seed", "replicates"}
INLINE = 100_000  # bytes
_SHORT = 4  # so few numbers are listed
_HEX = frozenset("0123456789abcdef")


def blocks(cells: Iterable[Cell]) -> tuple[list[bytes], bytes]:
    """Lines of `cells.jsonl` with cells by suite and metric, and the content of `rows.bin`.

    Up to `INLINE` bytes stand in the lines, and the content is empty.
    """
    groups: dict[tuple[str, str, int], dict[Pair, Cell]] = defaultdict(dict)
    for cell in cells:
        groups[cell.suite, cell.metric, len(cell.replicates)][cell.system, cell.seed] = cell
    parts = {key: (group, _unfounded(group)) for key, group in groups.items()}
    known, found = Known(), []
    for key in sorted(parts, key=lambda key: _order(key, *parts[key])):
        group, kept = parts[key]
        found.append(_block(dict(sorted(group.items())), kept, known))
    data = bytearray()
    placed = [_placed(line, data) for line in found]
    if len(data) <= INLINE:
        placed, data = [_placed(line, None) for line in found], bytearray()
    return [canonical_json(line) + b"\n" for line in placed], bytes(data)


def without_unread_rows(board: Board) -> list[Cell]:
    """Cells of a board, without rows and replicates that nothing on it reads.

    Columns, claims and preconditions read them. Cells of other metrics keep value, interval and
    counts; the board in the store has their rows.
    """
    read = {(column.suite, column.metric) for column in board.columns}
    read |= {(result.claim.suite, result.claim.metric) for result in board.claims}
    read |= {(row.score.suite, row.score.metric) for row in board.preconditions}
    bare = {"replicates": (), "resampled": None}
    return [
        cell if (cell.suite, cell.metric) in read else cell.model_copy(update=bare)
        for cell in board.cells
    ]


def _placed(value: Any, data: bytearray | None) -> Any:
    """A line with [start, end] for bytes, which are added to `data`; without it, in base 85."""
    if isinstance(value, bytes):
        if data is None:
            return base64.b85encode(value).decode()
        data += value
        return [len(data) - len(value), len(data)]
    if isinstance(value, dict):
        return {name: _placed(inner, data) for name, inner in value.items()}
    return value


def _order(
    key: tuple[str, str, int], group: Mapping[Pair, Cell], kept: Sequence[Pair]
) -> tuple[Any, ...]:
    """Suites by name; recomputed metrics first, those with most rows before parts of them."""
    rows = sum(
        value is not None
        for cell in group.values()
        if cell.resampled is not None
        for value in cell.resampled.values
    )
    return key[0], bool(kept), -rows, key[1], key[2]


def _unfounded(group: Mapping[Pair, Cell]) -> list[Pair]:
    """Cells whose replicates do not follow from their rows."""
    return [
        pair
        for pair, cell in sorted(group.items())
        if cell.replicates
        and cell.replicates != recomputed(cell.prompt_set, cell.resampled, len(cell.replicates))
    ]


def _block(group: Mapping[Pair, Cell], kept: Sequence[Pair], known: Known) -> dict[str, Any]:
    pairs = list(group)
    first = group[pairs[0]]
    suite, metric, rounds = first.suite, first.metric, len(first.replicates)
    columns: dict[str, Column] = defaultdict(dict)
    for pair, cell in group.items():
        for name, value in _divided(cell).items():
            columns[name][pair] = value
    everywhere, each = {}, {}
    for name, column in sorted(columns.items()):
        texts = {canonical_json(value) for value in column.values()}
        if len(texts) == 1 and len(column) == len(pairs) and not _is_long(column[pairs[0]]):
            everywhere[name] = column[pairs[0]]
        else:
            each[name] = _stored(name, column, pairs, known)
            known.columns[suite, metric, name] = column
            long = {pair for pair, value in column.items() if _is_long(value)}
            known.long[suite, metric, name] = long
    line: dict[str, Any] = {"suite": suite, "metric": metric, "each": each}
    line["all"] = {
        name: value
        for name, value in everywhere.items()
        if name not in known.everywhere
        or canonical_json(known.everywhere[name]) != canonical_json(value)
    }
    line["drop"] = sorted(set(known.everywhere) - set(everywhere))
    if pairs != known.pairs:
        line["pairs"] = [list(pair) for pair in pairs]
    if rounds:
        line["replicates"] = {"rounds": rounds}
        if kept:
            line["replicates"]["kept"] = _kept(group, kept, known)
        known.draws.setdefault((suite, metric), {}).update(
            {pair: units_of(cell) for pair, cell in group.items()}
        )
    known.everywhere, known.pairs = everywhere, pairs
    return {name: value for name, value in line.items() if value or name == "each"}


def _divided(cell: Cell) -> dict[str, Any]:
    """Fields of a cell; those of nested records and lists of columns by name."""
    found: dict[str, Any] = {}
    for name, value in cell.model_dump(mode="json", exclude=_KEY).items():
        if name not in NESTED:
            found[name] = value
        elif value is not None:
            found |= {f"{name}.{inner}": one for inner, one in value.items()}
    for number, column in enumerate(found.pop(COLUMNS, ())):
        found[f"{COLUMNS}.{number}"] = column
    return found


def _is_long(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 2


def _stored(name: str, column: Column, pairs: Sequence[Pair], known: Known) -> dict[str, Any]:
    """A column in its shortest form."""
    values = [column[pair] for pair in pairs if pair in column]
    without = [place for place, pair in enumerate(pairs) if pair not in column]
    more: dict[str, Any] = {"without": without} if without else {}
    if any(_is_long(value) for value in values):
        return _rows(name, column, values, known) | more
    for address, other in known.columns.items():
        if address[2] == name and len(values) > 1 and other == column and _same(other, column):
            return {"as": list(address), **more}
    if all(isinstance(value, str) and len(value) == 32 and set(value) <= _HEX for value in values):
        return {"ids": bytes.fromhex("".join(values)), **more}
    kinds = {type(value) for value in values if value is not None}
    if kinds in ({int}, {float}) and (found := table([values])) is not None:
        real = {"real": True} if kinds == {float} else {}
        packed = {"numbers": found, **real, **more}
        return packed if len(values) > _SHORT else {"list": values, **more}
    return {"list": values, **more}


def _same(first: Column, second: Column) -> bool:
    """Whether equal columns are also written alike: 1, 1.0 and true are equal."""
    return all(type(first[pair]) is type(second[pair]) for pair in second)


def _rows(name: str, column: Column, values: Sequence[Any], known: Known) -> dict[str, Any]:
    lists = [
        (address, other)
        for address, other in known.columns.items()
        if column.keys() <= known.long[address]
    ]
    for address, other in lists:
        if all(other[pair] == value for pair, value in column.items()):
            return {"as": list(address)}
    for address, other in lists:
        if address[2] == name and (mask := _mask(other, column)) is not None:
            return {"part": list(address), "of": table([mask])}
    alike = all(value == values[0] for value in values)
    found = table(values[:1] if alike else values)
    return {"list": list(values)} if found is None else {"rows": found}


def _mask(other: Column, column: Column) -> list[int] | None:
    """Rows of `other` that `column` has, if it has nothing else; 1 for a row that is kept."""
    if any(len(other[pair]) != len(values) for pair, values in column.items()):
        return None
    kept: set[int] = set()
    for values in column.values():
        kept |= {place for place, value in enumerate(values) if value is not None}
    for pair, values in column.items():
        whole = other[pair]
        if any(
            value != (whole[place] if place in kept else None) for place, value in enumerate(values)
        ):
            return None
    return [int(place in kept) for place in range(len(next(iter(column.values()))))]


def _kept(group: Mapping[Pair, Cell], kept: Sequence[Pair], known: Known) -> dict[str, Any]:
    """Replicates that do not follow from rows, beside the earlier metric that is most like them."""
    own = {pair: units_of(group[pair]) for pair in kept}
    suite, rounds = group[kept[0]].suite, len(own[kept[0]])
    forms: dict[str, list[tuple[int, Units]]] = {"": [(0, own[pair]) for pair in kept]}
    for (other, metric), draws in known.draws.items():
        if other == suite and all(pair in draws and len(draws[pair]) == rounds for pair in kept):
            forms[metric] = [_against(own[pair], draws[pair]) for pair in kept]
    like = min(sorted(forms), key=lambda name: _bits(forms[name]))
    slopes, rests = zip(*forms[like], strict=True)
    least = [int(rest.min()) for rest in rests]
    codes = [int(np.ptp(rest)) + 1 for rest in rests]
    data = b"".join(
        joined((rest - low).tolist(), base)
        for rest, low, base in zip(rests, least, codes, strict=True)
    )
    places = {pair: place for place, pair in enumerate(group)}
    found: dict[str, Any] = {
        "least": least,
        "codes": codes,
        "data": data,
    }
    if len(kept) < len(group):
        found["at"] = [places[pair] for pair in kept]
    return found | ({"like": like, "slopes": list(slopes)} if like else {})


def _bits(form: Sequence[tuple[int, Units]]) -> float:
    return sum(math.log2(int(np.ptp(rest)) + 1) for _, rest in form)


def _against(own: Units, other: Units) -> tuple[int, Units]:
    """Least-squares slope in whole numbers, and what it leaves."""
    n, x, y = len(own), other - int(other[0]), own - int(own[0])
    spread = n * int(x @ x) - int(x.sum()) ** 2
    shared = n * int(x @ y) - int(x.sum()) * int(y.sum())
    slope = (shared * 2**SLOPE_BITS) // spread if spread else 0
    return slope, own - predicted(slope, other)
