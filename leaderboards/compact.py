"""Compact cells: the form of committed boards, from which every cell is read back unchanged.

A line of `cells.jsonl` is one cell, or a sheet of the cells of one system, suite and seed:

    {"shared": {field: value}, "cells": [{field: value that differs from the shared one}]}

Fields of `interval` and `resampled` are named with a dot. A shared field that every cell has may be
missing: it is that of the line before. Replicates are the bulk of a cell, and a
sheet holds what they follow from instead:

    {"rounds": 1000}                  the rows of the cell itself (`Cell.resampled`)
    {"rounds": 1000, "rows": {...}}   other rows, for cells of versions without `resampled`; with
                                      "last", units of the last decimal to add, where those
                                      versions rounded ties as their order of addition had it
    {"as": "score"}                   equal to those of an earlier metric of the sheet
    "4:131000:381250:1000:..."        a packed list, for metrics that are not a ratio of sums

The seed of the draws is the cell's prompt set (`harness.stats.bootstrap.resample_counts`). A form
is chosen only if it gives the replicates back byte for byte.
"""

from __future__ import annotations

import base64
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from harness.core.errors import BadRecord
from harness.core.hashing import canonical_json
from harness.core.records import Cell, Json, Record, Resampled, parse
from harness.stats.rows import replicates_of_rows
from harness.suites.statistics import replicates_of_columns

REPLICATE_DECIMALS = 4
CellKey = tuple[str, str, str, int]  # suite, metric, system, seed
_SPLIT = ("interval", "resampled")
_LISTS = ("resampled.values", "resampled.weights", "resampled.clusters")
_MOST_DECIMALS = 9
_SCALE = 10**REPLICATE_DECIMALS


class Rows(Record):
    """Rows of a ratio of sums whose replicates are those of a cell, see `Resampled`."""

    values: tuple[float | None, ...]
    weights: tuple[float, ...] = ()
    clusters: tuple[int, ...] = ()


def recomputed(
    prompt_set: str, rows: Resampled | Rows | None, rounds: int
) -> tuple[float, ...] | None:
    """Replicates that follow from rows, at the stored precision; None if none do."""
    if rows is None or not rounds:
        return None
    found = None
    if isinstance(rows, Resampled) and rows.statistic:
        found = replicates_of_columns(prompt_set, rows, rounds)
    elif rows.values:
        found = replicates_of_rows(
            prompt_set, rows.values, rounds, weights=rows.weights, clusters=rows.clusters
        )
    if found is None:
        return None
    return tuple((np.rint(found * _SCALE) / _SCALE + 0.0).tolist())


def key_of(cell: Cell) -> CellKey:
    """What distinguishes a cell from the others of its board."""
    return cell.suite, cell.metric, cell.system, cell.seed


def sheets(cells: Iterable[Cell], rows: Mapping[CellKey, Rows]) -> list[bytes]:
    """Lines of `cells.jsonl` with cells by system, suite and seed.

    Args:
        rows: rows of cells without rows of their own; used where replicates follow from them.
    """
    groups: dict[tuple[str, str, int], list[tuple[Cell, Rows | None]]] = defaultdict(list)
    for cell in cells:
        groups[cell.suite, cell.system, cell.seed].append((cell, rows.get(key_of(cell))))
    lines: list[bytes] = []
    before: dict[str, Any] = {}
    for key in sorted(groups):
        shared, parts = _sheet(groups[key])
        new = {name: v for name, v in shared.items() if name not in before or before[name] != v}
        lines.append(canonical_json({"shared": new, "cells": parts}) + b"\n")
        before = _inherited(shared)
    return lines


def read_lines(
    lines: Iterable[tuple[str, Mapping[str, Any]]],
) -> Iterator[tuple[Cell, Rows | None]]:
    """The cells of lines of either form, with the rows stored for those without their own.

    Args:
        lines: where a line is, for errors, and its object.

    Raises:
        BadRecord: a line is neither a cell nor a sheet.
    """
    before: dict[str, Any] = {}
    for where, line in lines:
        if "cells" not in line:
            yield parse(Cell, line, where), None
            continue
        if not isinstance(line.get("shared"), dict) or not isinstance(line["cells"], list):
            raise BadRecord(f'{where}: {_keys(line)}; expected a cell, or "shared" and "cells"')
        shared = before | line["shared"]
        before = _inherited(shared)
        yield from _cells_of(shared, line["cells"], where)


def _cells_of(
    shared: Mapping[str, Any], parts: Sequence[Any], where: str
) -> Iterator[tuple[Cell, Rows | None]]:
    draws: dict[str, tuple[float, ...]] = {}
    for number, part in enumerate(parts, start=1):
        here = f"{where}, cell {number}"
        if not isinstance(part, dict):
            raise BadRecord(f"{here}: {part!r:.60}; expected an object")
        fields: dict[str, Any] = {**shared, **part}
        stored = fields.pop("replicates", None)
        cell = parse(Cell, _joined(fields, here), here)
        rows = _rows(stored, here)
        draws[cell.metric] = _replicates(cell, stored, rows, draws, here)
        yield cell.model_copy(update={"replicates": draws[cell.metric]}), rows


def _inherited(shared: Mapping[str, Any]) -> dict[str, Any]:
    """Shared fields that the next sheet has unless it says otherwise: those of every cell."""
    return {name: value for name, value in shared.items() if "." not in name and name not in _SPLIT}


def _keys(line: Mapping[str, Any]) -> str:
    return f"found {', '.join(sorted(line)) or 'an empty object'}"


def _sheet(
    group: Sequence[tuple[Cell, Rows | None]],
) -> tuple[dict[str, Json], list[dict[str, Json]]]:
    parts: list[dict[str, Any]] = []
    known: dict[tuple[float, ...], str] = {}
    for cell, rows in sorted(group, key=lambda pair: pair[0].metric):
        parts.append(_divided(cell) | _stored(cell, rows, known))
        known.setdefault(cell.replicates, cell.metric)
    everywhere = set.intersection(*(set(part) for part in parts)) - {"metric", "replicates"}
    shared = {}
    for name in sorted(everywhere):
        texts = [canonical_json(part[name]) for part in parts]
        often = max(sorted(set(texts)), key=texts.count)
        shared[name] = parts[texts.index(often)][name]
        for part, text in zip(parts, texts, strict=True):
            if text == often:
                del part[name]
    return shared, parts


def _divided(cell: Cell) -> dict[str, Any]:
    """Fields of a cell with those of its interval and sample beside them, without replicates."""
    fields: dict[str, Any] = cell.model_dump(mode="json", exclude={"replicates"})
    for name in _SPLIT:
        if isinstance(fields.get(name), dict):
            inner = fields.pop(name)
            fields |= {f"{name}.{key}": value for key, value in inner.items()}
    return fields | {name: packed(fields[name]) for name in _LISTS if name in fields}


def _joined(fields: Mapping[str, Any], where: str) -> dict[str, Any]:
    whole: dict[str, Any] = {}
    for name, value in fields.items():
        outer, _, inner = name.partition(".")
        if not inner:
            # A cell's own null replaces the shared parts of the field.
            if value is not None or name not in _SPLIT:
                whole[name] = value
            continue
        listed = _unpacked(value, where) if name in _LISTS else value
        if fields.get(outer, ()) is not None:
            whole.setdefault(outer, {})[inner] = listed
    return whole


def _stored(
    cell: Cell, rows: Rows | None, known: Mapping[tuple[float, ...], str]
) -> dict[str, Any]:
    """What stands for the replicates of a cell."""
    draws, rounds = cell.replicates, len(cell.replicates)
    if not draws:
        return {}
    if draws == recomputed(cell.prompt_set, cell.resampled, rounds):
        return {"replicates": {"rounds": rounds}}
    if draws in known:
        return {"replicates": {"as": known[draws]}}
    found = recomputed(cell.prompt_set, rows, rounds)
    if rows is not None and found is not None:
        kept = {name: packed(value) for name, value in rows.model_dump().items() if value}
        last = [round(draw * _SCALE) - round(own * _SCALE) for draw, own in zip(draws, found)]
        if not any(last):
            return {"replicates": {"rounds": rounds, "rows": kept}}
        if max(map(abs, last)) == 1 and draws == _moved(found, last):
            return {"replicates": {"rounds": rounds, "rows": kept, "last": packed(last)}}
    return {"replicates": packed(draws)}


def _moved(draws: Sequence[float], last: Sequence[int]) -> tuple[float, ...]:
    """Replicates moved by units of their last decimal."""
    return tuple((round(d * _SCALE) + u) / _SCALE for d, u in zip(draws, last, strict=True))


def _rows(stored: Any, where: str) -> Rows | None:
    """The rows beside the replicates of a cell."""
    if not isinstance(stored, dict) or not isinstance(stored.get("rows"), dict):
        return None
    lists = {name: _unpacked(value, where) for name, value in stored["rows"].items()}
    return parse(Rows, lists, where)


def _replicates(
    cell: Cell,
    stored: Any,
    rows: Rows | None,
    draws: Mapping[str, tuple[float, ...]],
    where: str,
) -> tuple[float, ...]:
    if stored is None:
        return ()
    if isinstance(stored, str | list):
        return tuple(float(value) for value in _unpacked(stored, where))
    found = None
    if isinstance(stored, dict) and set(stored) == {"as"}:
        found = draws.get(stored["as"])
    elif isinstance(stored, dict) and isinstance(stored.get("rounds"), int):
        found = recomputed(cell.prompt_set, rows or cell.resampled, stored["rounds"])
        if found is not None and "last" in stored:
            found = _moved(found, _unpacked(stored["last"], where))
    if found is None:
        raise BadRecord(
            f"{where}: replicates {stored!r:.60} of {cell.metric} do not follow from any rows; "
            'expected {"rounds"} with rows, {"as"} with an earlier metric, or a packed list'
        )
    return found


def packed(numbers: Sequence[float | None]) -> str | list[float | None]:
    """Decimals as text "places:codes:least:count:base85"; the list itself if that is not exact.

    A number is coded as its units of the last decimal place above the least; the last code is None.
    The text holds one whole number with a digit of base `codes` for each number, the first lowest.

    >>> packed([1.5, None, 2.0]), unpacked("1:7:15:3:9{~")
    ('1:7:15:3:9{~', [1.5, None, 2.0])
    """
    known = [number for number in numbers if number is not None]
    for places in range(_MOST_DECIMALS + 1):
        if all(round(number, places) == number for number in known):
            break
    else:
        return list(numbers)
    if not known or max(abs(number) for number in known) * 10**places >= 2**53:
        return list(numbers)
    units = [None if n is None else round(n * 10**places) for n in numbers]
    whole = [unit for unit in units if unit is not None]
    least, codes = min(whole), max(whole) - min(whole) + 2
    data = 0
    for unit in reversed(units):
        data = data * codes + (codes - 1 if unit is None else unit - least)
    size = (data.bit_length() + 7) // 8
    text = base64.b85encode(data.to_bytes(size, "little")).decode()
    found = f"{places}:{codes}:{least}:{len(units)}:{text}"
    return found if unpacked(found) == list(numbers) else list(numbers)


def unpacked(text: str) -> list[float | None]:
    """The numbers of a packed text; whole numbers as int.

    Raises:
        ValueError: the text is not of that form.
    """
    places, codes, least, count = (int(part) for part in text.split(":", 4)[:4])
    data = int.from_bytes(base64.b85decode(text.split(":", 4)[4]), "little")
    scale, numbers = 10**places, []
    for _ in range(count):
        data, code = divmod(data, codes)
        unit = None if code == codes - 1 else code + least
        numbers.append(unit if unit is None or not places else unit / scale)
    return numbers


def _unpacked(stored: Any, where: str) -> list[Any]:
    if isinstance(stored, list):
        return stored
    try:
        return list(unpacked(stored))
    except (AttributeError, IndexError, ValueError, TypeError):
        raise BadRecord(
            f"{where}: numbers {stored!r:.60}; "
            'expected a list, or "places:codes:least:count:base85"'
        ) from None
