"""Weights in files of limited size: written one at a time, and read by all that reads a model."""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from harness.core.errors import UserError
from harness.engine.operations import Artifact
from harness.engine.registry import load_operation
from harness.models.checkpoints import load_causal_lm
from harness.models.references import model_identity
from harness.training import weight_files
from harness.training.settings import RunSettings
from harness.training.trainer import train
from harness.training.weight_files import mapped, write_files
from tests.harness.training.advantage_objective import Advantage, make_examples
from tests.tiny_models import FakeContext, make_model, make_tokenizer

Make = Callable[..., Any]
SIZES = (30, 30, 30, 100, 20, 60, 10)


@pytest.fixture
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weight_files, "FILE_BYTES", 4 * 70)


@pytest.mark.usefixtures("small_files")
def test_a_file_is_written_when_the_next_tensor_would_exceed_it(tmp_path: Path) -> None:
    given = [(f"t{place}", torch.randn(size)) for place, size in enumerate(SIZES)]
    write_files(tmp_path, given)
    held = []
    for path in sorted(tmp_path.iterdir()):
        with safe_open(path, framework="pt") as file:
            held.append(sorted(file.keys()))
    assert held == [["t0", "t1"], ["t2"], ["t3"], ["t4"], ["t5", "t6"]]
    found = mapped(tmp_path)
    assert found.keys() == dict(given).keys()
    assert all(torch.equal(found[name], value) for name, value in given)


@pytest.mark.usefixtures("small_files")
def test_no_more_than_one_file_and_one_tensor_are_held(tmp_path: Path) -> None:
    alive: weakref.WeakSet[torch.Tensor] = weakref.WeakSet()
    peaks = []

    def tensors() -> Iterator[tuple[str, torch.Tensor]]:
        for place, size in enumerate(SIZES):
            made = torch.randn(size)
            alive.add(made)
            peaks.append(sum(map(len, alive)))
            yield f"t{place}", made
            del made

    write_files(tmp_path, tensors())
    assert peaks == [30, 60, 90, 130, 120, 80, 70]


@pytest.fixture
def in_parts(context: Make, monkeypatch: pytest.MonkeyPatch) -> tuple[FakeContext, FakeContext]:
    """The same training, saved in one file and in several."""
    made = []
    for name, size in (("whole", 10**9), ("parts", 10_000)):
        monkeypatch.setattr(weight_files, "FILE_BYTES", size)
        settings = RunSettings(learning_rate=1e-3, per_device_batch_size=4, max_steps=2)
        stage = context(name)
        train(
            make_model("tied"), make_tokenizer(), make_examples(8), Advantage(0.4), settings, stage
        )
        made.append(stage)
    return made[0], made[1]


def test_a_checkpoint_in_several_files_is_the_same_model(in_parts: Any) -> None:
    whole, parts = (each.directory for each in in_parts)
    assert [path.name for path in whole.glob("*.safetensors*")] == ["model.safetensors"]
    index = json.loads((parts / "model.safetensors.index.json").read_text())
    assert len(set(index["weight_map"].values())) == len([*parts.glob("*.safetensors")]) > 2
    assert "lm_head.weight" not in index["weight_map"]
    expected, found = (load_causal_lm(each, fresh=True)[0].state_dict() for each in (whole, parts))
    assert expected.keys() == found.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    for name in ("config.json", "training_log.json", "tokenizer.json"):
        assert (whole / name).read_bytes() == (parts / name).read_bytes()


def test_checkpoints_in_several_files_are_merged(in_parts: Any, context: Make) -> None:
    merge, made = load_operation("merge_models"), []
    params = merge.params(rule={"method": "linear"})
    for stage in in_parts:
        out = context(f"merged-{stage.directory.parent.name}")
        model = Artifact("model", stage.directory)
        base = Artifact("base", in_parts[0].directory)
        merge.function(out, params, base=base, targets=(model, base))
        made.append(load_causal_lm(out.directory, fresh=True)[0].state_dict())
    assert all(torch.equal(made[1][name], value) for name, value in made[0].items())


def test_every_file_of_a_checkpoint_counts(in_parts: Any) -> None:
    folder = in_parts[1].directory
    before = model_identity(str(folder))
    last = sorted(folder.glob("*.safetensors"))[-1]
    last.write_bytes(last.read_bytes()[:-4] + b"\0\0\0\1")
    assert model_identity(str(folder)) != before
    last.unlink()
    with pytest.raises(UserError, match=last.name):
        load_causal_lm(folder, fresh=True)
