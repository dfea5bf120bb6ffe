"""Compact cells by metric: the form of committed boards with many seeds and prompts.

A line of `cells.jsonl` is a block, the cells of one metric (with equally many replicates):

    {"suite": ..., "metric": ..., "pairs": [[system, seed], ...],
     "all": {field: value}, "each": {field: column}, "replicates": {...}}

`pairs` may be missing, and fields of `all`: they are those of the line before, less the fields in
`drop`. Fields of `interval`, `resampled`, `details` and `artifacts` are named with a dot. Columns
list the values of the cells, less those whose places are in "without". Bytes
are [start, end] in `rows.bin` or, on small boards, base 85:

    {"list": [...]}           as they are
    {"ids": bytes}            hexadecimal digits
    {"numbers": {...}}        a row of a table (`leaderboards.tables`); "real": true for floats
    {"rows": {...}}           lists of numbers, rows of a table; a single row is that of every cell
    {"as": [suite, metric, field]}                 equal to an earlier column
    {"part": [suite, metric, field], "of": "..."}  its numbers where `of` is 1, else null

Replicates that follow from the rows of their cells (`leaderboards.compact.recomputed`) are not
stored: {"rounds": 1000}. The others are, in "kept": as the difference to `slope` / 2^16 times
those of an earlier metric, which is small where both depend on the same prompts.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import BadRecord
from harness.core.records import Cell, parse
from leaderboards.compact import REPLICATE_DECIMALS, recomputed
from leaderboards.tables import rows_of, split, width_of

Pair = tuple[str, int]  # system, seed
Address = tuple[str, str, str]  # suite, metric, field
Column = dict[Pair, Any]
Units = NDArray[np.int64]
SCALE = 10**REPLICATE_DECIMALS
SLOPE_BITS = 16
NESTED = ("interval", "resampled", "details", "artifacts")
COLUMNS = "resampled.columns"


@dataclass
class Known:
    """What the lines before contain.

    Attributes:
        long: of each column, the cells whose value is a long list; only the writer needs them.
    """

    columns: dict[Address, Column] = field(default_factory=dict)
    long: dict[Address, set[Pair]] = field(default_factory=dict)
    draws: dict[tuple[str, str], dict[Pair, Units]] = field(default_factory=dict)
    everywhere: dict[str, Any] = field(default_factory=dict)
    pairs: list[Pair] = field(default_factory=list)


def is_block(line: Mapping[str, Any]) -> bool:
    """Whether a line of `cells.jsonl` has this form."""
    return "each" in line and "metric" in line


def units_of(cell: Cell) -> Units:
    """Replicates in units of their last decimal."""
    return np.rint(np.array(cell.replicates) * SCALE).astype(np.int64)


def predicted(slope: int, other: Units) -> Units:
    """Replicates that follow from those of another metric, in units."""
    found: Units = (slope * other) >> SLOPE_BITS
    return found


def read_blocks(lines: Iterable[tuple[str, Mapping[str, Any]]], data: bytes) -> Iterator[Cell]:
    """The cells of lines of this form.

    Args:
        lines: where a line is, for errors, and its object.
        data: content of `rows.bin`.

    Raises:
        BadRecord: a line is no block, or names a column that no line before contains.
    """
    known = Known()
    for where, line in lines:
        try:
            parts = {name: _found(line.get(name, {}), data) for name in ("each", "replicates")}
            yield from _cells({**line, **parts}, known, where)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise BadRecord(
                f"{where}: {type(error).__name__} {error}; expected a block of cells with suite, "
                "metric, each and columns that it or a line before contains"
            ) from None


def _found(value: Any, data: bytes) -> Any:
    """A part of a line with its bytes."""
    if not isinstance(value, dict):
        return value
    found = {name: _found(inner, data) for name, inner in value.items()}
    for name in ("data", "ids"):
        if isinstance(value.get(name), str):
            found[name] = base64.b85decode(value[name])
        elif name in value:
            start, end = value[name]
            found[name] = data[start:end]
            if len(found[name]) != end - start:
                raise ValueError(f"bytes {start} to {end} of rows.bin, which has {len(data)}")
    return found


def _cells(line: Mapping[str, Any], known: Known, where: str) -> Iterator[Cell]:
    suite, metric = line["suite"], line["metric"]
    pairs = [(system, seed) for system, seed in line["pairs"]] if "pairs" in line else known.pairs
    drop = set(line.get("drop", ()))
    everywhere = {k: v for k, v in known.everywhere.items() if k not in drop} | line.get("all", {})
    known.everywhere, known.pairs = everywhere, pairs
    columns: dict[str, Column] = {}
    for name, stored in line["each"].items():
        absent = set(stored.get("without", ()))
        present = [pair for place, pair in enumerate(pairs) if place not in absent]
        columns[name] = dict(zip(present, _values(stored, present, known), strict=True))
        known.columns[suite, metric, name] = columns[name]
    found = {}
    for pair in pairs:
        own = {name: column[pair] for name, column in columns.items() if pair in column}
        whole = _joined(everywhere | own)
        head = {"suite": suite, "metric": metric, "system": pair[0], "seed": pair[1]}
        found[pair] = parse(Cell, whole | head, f"{where}, {pair[0]}, seed {pair[1]}")
    draws = _draws(line["replicates"], found, known, where)
    for pair, cell in found.items():
        yield cell.model_copy(update={"replicates": draws[pair]}) if draws else cell


def _values(stored: Mapping[str, Any], present: Sequence[Pair], known: Known) -> list[Any]:
    if "list" in stored:
        return list(stored["list"])
    if "ids" in stored:
        text = stored["ids"].hex()
        return [text[at : at + 32] for at in range(0, len(text), 32)]
    if "numbers" in stored:
        (values,) = rows_of(stored["numbers"])
        return [None if v is None else float(v) for v in values] if "real" in stored else values
    if "rows" in stored:
        rows = rows_of(stored["rows"])
        return rows * len(present) if len(rows) == 1 else list(rows)
    suite, metric, name = stored["as"] if "as" in stored else stored["part"]
    whole = [known.columns[suite, metric, name][pair] for pair in present]
    if "as" in stored:
        return whole
    (kept,) = rows_of(stored["of"])
    return [[v if keep else None for v, keep in zip(row, kept, strict=True)] for row in whole]


def _joined(fields: Mapping[str, Any]) -> dict[str, Any]:
    whole: dict[str, Any] = {}
    columns: dict[int, Any] = {}
    for name, value in fields.items():
        outer, _, inner = name.partition(".")
        if name.startswith(f"{COLUMNS}."):
            columns[int(name.rpartition(".")[2])] = value
        elif outer in NESTED and inner:
            whole.setdefault(outer, {})[inner] = value
        else:
            whole[name] = value
    if columns:
        whole["resampled"]["columns"] = [columns[number] for number in sorted(columns)]
    return whole


def _draws(
    stored: Mapping[str, Any], cells: Mapping[Pair, Cell], known: Known, where: str
) -> dict[Pair, tuple[float, ...]]:
    if not stored:
        return {}
    first = next(iter(cells.values()))
    rounds, kept = stored["rounds"], stored.get("kept", {})
    units = dict(_read_kept(kept, list(cells), known, first.suite, rounds)) if kept else {}
    draws = {pair: tuple((own / SCALE).tolist()) for pair, own in units.items()}
    for pair, cell in cells.items():
        if pair in draws:
            continue
        found = recomputed(cell.prompt_set, cell.resampled, rounds)
        if found is None:
            raise BadRecord(
                f"{where}: replicates of {pair[0]}, seed {pair[1]} do not follow from its rows; "
                'expected rows, or replicates in "kept"'
            )
        draws[pair] = found
        units[pair] = np.rint(np.array(found) * SCALE).astype(np.int64)
    known.draws.setdefault((first.suite, first.metric), {}).update(units)
    return draws


def _read_kept(
    kept: Mapping[str, Any], pairs: Sequence[Pair], known: Known, suite: str, rounds: int
) -> Iterator[tuple[Pair, Units]]:
    data, at = kept["data"], 0
    places = kept.get("at", range(len(pairs)))
    slopes = kept.get("slopes", [0] * len(places))
    for place, slope, least, codes in zip(
        places, slopes, kept["least"], kept["codes"], strict=True
    ):
        width = width_of(rounds, codes)
        own = np.array(split(data[at : at + width], rounds, codes), dtype=np.int64) + least
        at += width
        if "like" in kept:
            own = own + predicted(slope, known.draws[suite, kept["like"]][pairs[place]])
        yield pairs[place], own
