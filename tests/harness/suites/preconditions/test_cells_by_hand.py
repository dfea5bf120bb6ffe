"""Cells of preconditions by hand: distances, conflicts and bits with their resamples."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from harness.core.records import Cell
from harness.engine.operations import Artifact, Row
from harness.engine.plan import Handle
from harness.stats.bootstrap import resample_counts
from harness.suites.preconditions.answers import GradePairsParams, truth_arguments
from harness.suites.preconditions.changes import MeasureChangesParams
from harness.suites.preconditions.planning import answers_compared, pairs_graded

ABOUT = {"suite": "preconditions", "scale": "nano", "rounds": 60, "system": "all"}


def model(folder: Path, name: str, **tensors: list[float]) -> Artifact:
    (folder / name).mkdir()
    made = {key: torch.tensor(values) for key, values in tensors.items()}
    save_file(made, folder / name / "model.safetensors")
    (folder / name / "config.json").write_text(json.dumps({"model_type": "llama"}))
    return Artifact(name, folder / name)


def cells_of(made: Artifact) -> dict[tuple[str, str], Cell]:
    found = [Cell.model_validate(cell) for cell in made.read_json("cells.json")]
    return {(cell.system, cell.metric): cell for cell in found}


@pytest.fixture
def measured(run_operation: Callable[..., Artifact], tmp_path: Path) -> Artifact:
    base = model(tmp_path, "base", a=[3.0, 4.0], b=[0.0, 0.0], c=[12.0, 0.0], left=[1.0])
    one = model(tmp_path, "one", a=[6.0, 8.0], b=[0.0, 1.0], c=[12.0, 5.0])
    two = model(tmp_path, "two", a=[0.0, 5.0], b=[0.0, 2.0], c=[12.0, 0.0])
    params = {**ABOUT, "names": ("one", "two"), "together": True}
    return run_operation("measure_changes", params, base=base, models=(one, two))


def test_distances_are_roots_of_drawn_squares(measured: Artifact) -> None:
    cells = cells_of(measured)
    one, two = cells["one", "distance"], cells["two", "distance"]
    # Squares of the base 25, 0, 144; of the moves 25, 1, 25 and 10, 4, 0.
    assert one.value == pytest.approx(100 * (51 / 169) ** 0.5)
    assert two.value == pytest.approx(100 * (14 / 169) ** 0.5)
    drawn = resample_counts(one.prompt_set, 3, 60).astype(float)
    below = drawn @ [25, 0, 144]
    draws = 100 * np.sqrt(np.where(below > 0, drawn @ [25, 1, 25] / np.maximum(below, 1), 0))
    assert one.replicates == pytest.approx(draws)
    assert (one.unit, one.primary, one.n_expected, one.n_failed) == ("% of the base", False, 3, 0)
    assert one.interval.kind == "bootstrap over tensors"
    assert one.details == {"tensors left out": 1}


def test_conflicts_are_among_entries_that_both_changed(measured: Artifact) -> None:
    cell = cells_of(measured)["all", "sign_conflict"]
    # Both changed two entries of a (both in conflict: up and down, up and up) and one of b.
    assert cell.value == pytest.approx(100 / 3)
    assert (cell.n_expected, cell.n_scored) == (3, 2)
    drawn = resample_counts(cell.prompt_set, 3, 60).astype(float)
    below = drawn @ [2, 1, 0]
    expected = np.where(below > 0, 100 * (drawn @ [1, 0, 0]) / np.maximum(below, 1), 100 / 3)
    assert (below == 0).any()
    assert cell.replicates == pytest.approx(expected)
    assert cell.resampled.values == (100, 0, None)
    assert (cell.resampled.weights, cell.resampled.span) == ((2, 1, 0), (0, 100))
    assert (cell.higher_is_better, cell.primary) == (False, False)


def test_rows_have_the_distance_of_each_tensor(measured: Artifact) -> None:
    a, b, c = measured.rows()
    assert a["distance"] == {"one": pytest.approx(100), "two": pytest.approx(100 * 0.4**0.5)}
    assert b["distance"] == {"one": None, "two": None}  # of a base of zeros
    assert (a["changed"], a["conflicts"], b["changed"], c["changed"]) == (2, 1, 1, 0)


def test_models_without_a_common_change_have_no_conflict(
    run_operation: Callable[..., Artifact], tmp_path: Path
) -> None:
    base, same = (model(tmp_path, name, a=[0.0]) for name in ("base", "same"))
    params = {**ABOUT, "names": ("x", "y"), "together": True}
    cells = cells_of(run_operation("measure_changes", params, base=base, models=(same, same)))
    for cell in cells.values():
        assert (cell.value, cell.replicates, cell.details) == (None, (), {})
    assert len(cells) == 3
    assert MeasureChangesParams(**ABOUT | {"rounds": 3}, names=()).together is False  # type: ignore[arg-type]
    about: Any = {key: value for key, value in ABOUT.items() if key != "rounds"}
    assert MeasureChangesParams(**about, names=()).rounds == 200


def test_bits_are_drawn_by_document(
    run_operation: Callable[..., Artifact], rows_artifact: Callable[..., Artifact]
) -> None:
    def readings(*bits: float | None) -> list[Row]:
        sizes = (10, 0, 30)
        return [
            {"id": f"{n}", "domain": "d", "content": "c", "bits": found, "bytes": size}
            for n, (found, size) in enumerate(zip(bits, sizes, strict=True))
        ]

    made = run_operation(
        "compare_readings",
        {**ABOUT, "names": ("s",)},
        target=rows_artifact(readings(4, 7, None)),
        sources=(rows_artifact(readings(5, 9, 6)),),
    )
    cells = cells_of(made)
    own, best = cells["all", "bits_per_byte"], cells["best of each document", "bits_per_byte"]
    assert (own.value, own.n_expected, own.n_scored) == (0.4, 3, 1)  # no bytes, and no bits
    assert best.value == pytest.approx(10 / 40)
    drawn = resample_counts(best.prompt_set, 3, 60).astype(float)
    below = drawn @ [10, 0, 30]
    expected = np.where(below > 0, drawn @ [4, 0, 6] / np.maximum(below, 1), 0.25)
    assert best.replicates == pytest.approx(expected)
    assert best.resampled.values == (4, None, 6)
    assert (best.unit, best.interval.kind) == ("bits per byte", "bootstrap over documents")
    assert ("s", "bits_per_byte:d") not in cells
    ahead = cells["s", "documents_ahead"]
    assert (ahead.value, ahead.n_failed, ahead.primary) == (0, 1, False)
    assert made.rows()[2] == {"id": "2", "domain": "d", "bytes": 30, "bits": {"all": None, "s": 6}}


def test_stages_name_the_truth_where_there_is_one() -> None:
    calls: list[tuple[str, dict[str, Any]]] = []

    def stage(name: str, /, **arguments: Any) -> Handle:
        calls.append((name, arguments))
        return Handle(name)

    own, other = [Handle("own")], [Handle("other")]
    truth = truth_arguments("nano:train")
    assert answers_compared(stage, "a.jsonl", lambda: own, lambda: other, "m", {}) == ()
    (made,) = answers_compared(stage, "nano:train", lambda: own, lambda: other, "m", {"seed": 1})
    pairs_graded(stage, "nano:train", Handle("p"), [("x", "y")], "rm", {"seed": 1})
    pairs_graded(stage, "a.jsonl", Handle("p"), [("x", "y")], "rm", {})
    assert made.id == "compare_answers"
    graded = {"pairs": Handle("p"), "comparisons": (("x", "y"),), "system": "rm"}
    assert calls == [
        ("compare_answers", {"own": own, "answered": other, "system": "m", **truth, "seed": 1}),
        ("grade_pairs", {**graded, **truth, "seed": 1}),
        ("grade_pairs", graded),
    ]
    about: Any = ABOUT
    assert GradePairsParams(**about, comparisons=()).most == 2000
