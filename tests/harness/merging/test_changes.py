"""Distances of checkpoints from their base, and changes of different sign."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from harness.core.errors import BadData
from harness.merging.changes import tensor_changes


def write(folder: Path, tensors: dict[str, Sequence[float]], dtype: torch.dtype) -> Path:
    folder.mkdir()
    made = {name: torch.tensor(values, dtype=dtype) for name, values in tensors.items()}
    save_file({**made, "steps": torch.tensor([1])}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({}))
    return folder


BASE = {"w": [3.0, 4.0, 0.0, 0.0] * 3, "b": [1.0, 1.0], "rope.inv_freq": [1.0]}


def test_squares_and_conflicts_are_summed_over_pieces(tmp_path: Path) -> None:
    base = write(tmp_path / "base", BASE, torch.float32)
    up = {**BASE, "w": [4.0, 4.0, 1.0, 0.0] * 3}
    down = {**BASE, "w": [2.0, 4.0, 1.0, 5.0] * 3, "b": [1.0, 3.0]}
    models = [
        write(tmp_path / "up", up, torch.bfloat16),
        write(tmp_path / "d", down, torch.float32),
    ]
    found, left = tensor_changes(base, models)
    by_name = {each.name: each for each in found}
    assert set(by_name) == {"w", "b"}  # neither buffers nor integers
    assert left == []
    w, b = by_name["w"], by_name["b"]
    assert (w.square, w.moved) == (75.0, (6.0, 3 * (1 + 1 + 25)))
    assert (w.changed, w.conflicts) == (6, 3)
    assert (b.square, b.moved, b.changed) == (2.0, (0.0, 4.0), 0)


def test_tensors_that_not_all_have_are_named(tmp_path: Path) -> None:
    base = write(tmp_path / "base", {"w": [1.0], "x": [1.0]}, torch.float32)
    other = write(tmp_path / "o", {"w": [2.0], "x": [1.0, 2.0], "y": [1.0]}, torch.float32)
    found, left = tensor_changes(base, [other])
    assert [each.name for each in found] == ["w"]
    assert left == ["x", "y"]
    strange = write(tmp_path / "s", {"z": [2.0]}, torch.float32)
    with pytest.raises(BadData, match="no tensor in common"):
        tensor_changes(base, [strange])
