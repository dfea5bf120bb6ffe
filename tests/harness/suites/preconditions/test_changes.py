"""Cells of distances from a base."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from harness.core.records import Cell, parse
from harness.engine.operations import Artifact

ABOUT = {"suite": "preconditions", "scale": "nano", "rounds": 50, "system": "fused models"}


@pytest.fixture
def model(tmp_path: Path) -> Callable[..., Artifact]:
    def write(name: str, w: list[float], b: list[float]) -> Artifact:
        folder = tmp_path / name
        folder.mkdir()
        tensors = {"w": torch.tensor(w), "b": torch.tensor(b)}
        save_file(tensors, folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
        return Artifact(name, folder)

    return write


def test_distances_are_relative_to_the_whole_base(
    run_operation: Callable[..., Artifact], model: Callable[..., Artifact]
) -> None:
    base = model("base", [3.0, 0.0], [4.0, 0.0])
    one, two = model("one", [3.0, 3.0], [4.0, 4.0]), model("two", [3.0, -1.0], [4.0, 0.0])
    made = run_operation(
        "measure_changes",
        {**ABOUT, "names": ("one", "two"), "together": True},
        base=base,
        models=(one, two),
    )
    found = [parse(Cell, cell, "cells") for cell in made.read_json("cells.json")]
    cells = {(cell.system, cell.metric): cell for cell in found}
    assert cells["one", "distance"].value == pytest.approx(100)
    assert cells["two", "distance"].value == pytest.approx(100 / 5)
    # One entry was changed by both, in different directions.
    assert cells["fused models", "sign_conflict"].value == 100
    assert cells["one", "distance"].interval is not None
    assert cells["one", "distance"].interval.kind == "bootstrap over tensors"
    assert made.rows()[1]["distance"]["two"] == pytest.approx(100 / 3)


def test_an_unchanged_model_is_at_0_and_models_not_merged_have_no_conflict(
    run_operation: Callable[..., Artifact], model: Callable[..., Artifact]
) -> None:
    base = model("base", [3.0, 0.0], [4.0, 0.0])
    made = run_operation(
        "measure_changes", {**ABOUT, "names": ("same",)}, base=base, models=(base,)
    )
    (cell,) = made.read_json("cells.json")
    assert (cell["metric"], cell["value"]) == ("distance", 0)
