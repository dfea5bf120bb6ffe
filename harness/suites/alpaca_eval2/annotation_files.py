"""Read published AlpacaEval annotations: the original JSON, or a parquet table.

annotations.json is a list of objects with instruction, output_1 and generator_1 (the baseline),
output_2 and generator_2 (the model), annotator (the judge) and preference. The parquet table has
one row per judgment, with lengths instead of answers and a digest instead of the instruction.
`leaderboards.annotations` checks whether the annotations can be scored.
"""

from __future__ import annotations

import json
import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import BadData, MissingExtra
from harness.data.forms import instruction_id
from harness.engine.io import read_objects

Floats = NDArray[np.float64]

JUDGE = "weighted_alpaca_eval_gpt4_turbo"  # default of files without an annotator
BASELINE = "gpt4_1106_preview"
PARQUET_COLUMNS = (
    "model",
    "row",
    "instruction_sha256_16",
    "preference",
    "len_model",
    "len_baseline",
)

_NAMES = ("generator_2", "annotator", "generator_1")  # model, judge, baseline

SUITE = "alpaca_eval2"  # suite of the cells made from published annotations


@dataclass(frozen=True)
class Annotations:
    """Judgments of one model in the order of its file.

    Attributes:
        ids: instruction digests, see `instruction_id`.
        trimmed_ids: the same without blanks at both ends of the instructions; () if not known.
        preferences: probability in [0, 1] that the model wins (n,), the file's number minus 1; NaN
            for a failed judgment. A number outside the file's scale is outside [0, 1].
        model_lengths, baseline_lengths: answer lengths in code points, NaN if missing (n,).
        source: name of the file.
    """

    model: str
    judge: str
    baseline: str
    ids: tuple[str, ...]
    preferences: Floats
    model_lengths: Floats
    baseline_lengths: Floats
    source: str
    trimmed_ids: tuple[str, ...] = ()

    def joined(self, known: Container[str]) -> Annotations:
        """With the ids of known instructions where only blanks at the ends differ."""
        if not self.trimmed_ids:
            return self
        pairs = zip(self.ids, self.trimmed_ids, strict=True)
        ids = tuple(
            trimmed if id not in known and trimmed in known else id for id, trimmed in pairs
        )
        return replace(self, ids=ids)

    def written(self, place: int) -> float:
        """The preference as the file has it, in [1, 2]."""
        return float(self.preferences[place]) + 1.0


def read_annotations(path: Path) -> list[Annotations]:
    """Read all annotations of a .parquet or .json file, or of a folder, sorted by model.

    In a folder, every annotations.json and annotations*.parquet is read, at any depth.

    Raises:
        BadData: no file, an unreadable file, or one model and judge in two files.
        MissingExtra: parquet without pyarrow.
    """
    if path.is_dir():
        files = sorted([*path.rglob("annotations.json"), *path.rglob("annotations*.parquet")])
    else:
        files = [path]
    if not files or not path.exists():
        raise BadData(f"no annotations in {path}; expected annotations.json or a parquet table")
    found: list[Annotations] = []
    for file in files:
        found += _read_parquet(file) if file.suffix == ".parquet" else _read_json(file)
    found.sort(key=lambda item: (item.model, item.judge, item.source))
    for first, second in pairwise(found):
        if (first.model, first.judge) == (second.model, second.judge):
            raise BadData(f"{first.model} is annotated in both {first.source} and {second.source}")
    return found


def _read_parquet(path: Path) -> list[Annotations]:
    try:
        import pyarrow.parquet
    except ImportError:
        raise MissingExtra("pyarrow (to read parquet annotations)", "alpaca") from None
    try:
        table = pyarrow.parquet.read_table(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise BadData(f"{path} is not a readable parquet table: {error}") from None
    absent = [name for name in PARQUET_COLUMNS if name not in table.column_names]
    if absent:
        raise BadData(f"{path} lacks column {absent[0]}; expected {', '.join(PARQUET_COLUMNS)}")
    columns = {name: table[name].to_pylist() for name in table.column_names}
    size = table.num_rows
    judges = columns.get("annotator", [JUDGE] * size)
    baselines = columns.get("generator_1", [BASELINE] * size)
    groups: dict[tuple[str, ...], list[int]] = {}
    for place in range(size):
        named = {
            "model": columns["model"][place],
            "annotator": judges[place],
            "generator_1": baselines[place],
        }
        groups.setdefault(tuple(_name(named, key, path, place) for key in named), []).append(place)
    found = []
    for (model, judge, baseline), places in groups.items():
        places.sort(key=lambda place: columns["row"][place])
        found.append(
            Annotations(
                model=model,
                judge=judge,
                baseline=baseline,
                ids=tuple(columns["instruction_sha256_16"][place] for place in places),
                preferences=_preferences([columns["preference"][place] for place in places], path),
                model_lengths=_lengths([columns["len_model"][place] for place in places]),
                baseline_lengths=_lengths([columns["len_baseline"][place] for place in places]),
                source=path.name,
            )
        )
    return found


def _read_json(path: Path) -> list[Annotations]:
    rows = read_objects(path)
    if not rows:
        raise BadData(f"{path} has no annotations; expected a list of objects")
    needed = ("instruction", "output_1", "generator_1", "output_2", "generator_2", "preference")
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for place, row in enumerate(rows):
        lost = [name for name in needed if name not in row]
        if lost or not isinstance(row["instruction"], str):
            raise BadData(f"{path}, row {place}: no {lost[0] if lost else 'instruction text'}")
        named = {**row, "annotator": row.get("annotator") or JUDGE}
        group = tuple(_name(named, key, path, place) for key in _NAMES)
        groups.setdefault(group, []).append(row)
    return [
        Annotations(
            model=model,
            judge=judge,
            baseline=baseline,
            ids=tuple(instruction_id(row["instruction"]) for row in own),
            preferences=_preferences([row["preference"] for row in own], path),
            model_lengths=_lengths([_length(row["output_2"]) for row in own]),
            baseline_lengths=_lengths([_length(row["output_1"]) for row in own]),
            source=str(Path(*path.parts[-3:])),
            trimmed_ids=tuple(instruction_id(row["instruction"].strip()) for row in own),
        )
        for (model, judge, baseline), own in groups.items()
    ]


def _name(row: Mapping[str, Any], key: str, path: Path, place: int) -> str:
    """Name of the model, the judge or the baseline in a row."""
    value = row[key]
    if isinstance(value, str | int) and not isinstance(value, bool) and str(value).strip():
        return str(value)
    raise BadData(
        f"{path}, row {place}: {key} is {json.dumps(value, default=str)[:60]}; expected a name as "
        "text"
    )


def _length(output: object) -> int | None:
    return len(output) if isinstance(output, str) else None


def _lengths(values: Sequence[float | None]) -> Floats:
    return np.array([math.nan if value is None else float(value) for value in values])


def _preferences(values: Sequence[object], path: Path) -> Floats:
    """Probabilities from the file's scale, 1 (the baseline wins) to 2 (the model wins).

    null and -1 mark failed judgments, 0 is an old code of a draw.
    """
    result = np.full(len(values), np.nan)
    for place, value in enumerate(values):
        if value is None or value == -1:
            continue
        try:
            number = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            raise BadData(f"{path}: preference {value!r}; expected a number") from None
        result[place] = 0.5 if number == 0.0 else number - 1.0
    return result
