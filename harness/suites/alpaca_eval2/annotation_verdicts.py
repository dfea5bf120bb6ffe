"""Published AlpacaEval annotations as verdicts that can be compared with another judge's.

Who was shown first is not in an annotation but follows from its instruction (the published draw,
seed 0), read from the file or from `instruction_table.csv` beside it; where neither is at hand,
nothing is said of positions.
"""

from __future__ import annotations

import csv
import math
from pathlib import Path

from harness.core.errors import BadData
from harness.data.forms import instruction_id
from harness.engine.io import iterate_objects
from harness.judging.records import BASELINE, MODEL, Game
from harness.judging.verdict_sets import JudgedItem, VerdictSet, merge, unrepeated
from harness.judging.verdicts import is_switched
from harness.suites.alpaca_eval2.annotation_files import SUITE, Annotations, read_annotations
from harness.suites.alpaca_eval2.metrics import INSTRUCTION_TABLE


def holds_annotations(path: Path) -> bool:
    """Whether `path` is a file or folder of AlpacaEval annotations, judged by names and keys."""
    if path.is_dir():
        found = (*path.rglob("annotations.json"), *path.rglob("annotations*.parquet"))
        return any(True for _ in found)
    if path.suffix == ".parquet":
        return True
    if path.suffix != ".json":
        return False
    try:
        first = next(iterate_objects(path), {})
    except BadData:
        return False
    return {"instruction", "output_2", "preference"} <= set(first)


def read_annotation_verdicts(path: Path, only_judge: str | None = None) -> VerdictSet:
    """The verdicts of one judge on all systems annotated below `path`.

    Raises:
        BadData: no annotations, or those of several judges.
    """
    found = read_annotations(path)
    judges = sorted({item.judge for item in found})
    if only_judge is not None:
        found = [item for item in found if item.judge == only_judge]
    if not found or (only_judge is None and len(judges) > 1):
        raise BadData(
            f"{path}: annotations of {', '.join(judges)}; expected one judge: name it with --judge "
            "or --reference-judge"
        )
    switched = _switched(path)
    return merge([_verdicts(item, switched) for item in found])


def _verdicts(item: Annotations, switched: dict[str, bool]) -> VerdictSet:
    found: list[tuple[int, JudgedItem]] = []
    for number, (id, preference, ours, theirs) in enumerate(
        zip(item.ids, item.preferences, item.model_lengths, item.baseline_lengths, strict=True)
    ):
        value = None if math.isnan(preference) else float(preference)
        games: tuple[Game, ...] = ()
        if id in switched and value is not None:
            games = (Game(MODEL, value) if switched[id] else Game(BASELINE, 1.0 - value),)
        known = not (math.isnan(ours) or math.isnan(theirs))
        judged = JudgedItem(
            prompt=id,
            system=item.model,
            value=value,
            text=id,
            games=games,
            lengths=(float(ours), float(theirs)) if known else None,
        )
        found.append((number, judged))
    kept = unrepeated(found, item.source)
    return VerdictSet(
        judge=item.judge,
        kind="alpaca",
        items=kept,
        source=item.source,
        suite=SUITE,
        repeated=len(item.ids) - len(kept),
    )


def _switched(path: Path) -> dict[str, bool]:
    """Whether the model's answer was shown first, by instruction."""
    start = path if path.is_dir() else path.parent
    for folder in (start, *start.resolve().parents[:2]):
        table = folder / INSTRUCTION_TABLE
        if table.is_file():
            return _from_table(table)
    files = path.rglob("annotations.json") if path.is_dir() else [path]
    found: dict[str, bool] = {}
    for file in files:
        if file.suffix == ".json":
            for row in iterate_objects(file):
                text = row["instruction"]
                found[instruction_id(text)] = is_switched(text)
    return found


def _from_table(path: Path) -> dict[str, bool]:
    with path.open(encoding="utf-8", newline="") as stream:
        return {
            row["instruction_sha256_16"]: row["is_switched_seed0"].strip().lower() in ("true", "1")
            for row in csv.DictReader(stream)
            if row.get("is_switched_seed0")
        }
