"""Disk space that saving needs, in bytes, and what a failure in the middle of it leaves."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from harness.core.errors import StoreProblem
from harness.training import saving
from harness.training.parts import Parts
from harness.training.saving import Saver, _gb, _hold
from harness.training.settings import RunSettings
from tests.tiny_models import make_model, make_tokenizer

Make = Callable[..., Any]


def saver_of(context: Any, model: Any = None, **changes: Any) -> Saver:
    params = RunSettings(learning_rate=1e-3, **changes)
    tokenizer = make_tokenizer()
    if isinstance(model, Parts):
        return Saver(model, dict.fromkeys(model.models, tokenizer), params, context)
    return Saver(model or make_model("llama"), tokenizer, params, context)


def numbers_of(model: Any) -> tuple[int, int]:
    """Numbers and tensors of a model's state."""
    sizes = [value.numel() for value in model.state_dict().values()]
    return sum(sizes), len(sizes)


def held(scratch: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in scratch.iterdir()}


@pytest.mark.parametrize(("dtype", "bytes_each"), [("float32", 4), ("bfloat16", 2)])
def test_two_copies_are_held_with_what_is_beside_the_weights(
    dtype: str, bytes_each: int, context: Make
) -> None:
    """Per tensor 1024 bytes of a header, and 64 KiB for whole blocks."""
    run, model = context("run"), make_model("llama")
    count, tensors = numbers_of(model)
    for beside in (5000, 3000):  # again: the earlier files make room first
        saver_of(run, model, dtype=dtype)._hold_space(2, beside)
        size = count * bytes_each + beside + 1024 * tensors + 65_536
        assert held(run.scratch) == {"reserved-0": size, "reserved-1": size}


@pytest.mark.parametrize("several", [False, True])
def test_the_files_beside_the_weights_are_measured(several: bool, context: Make) -> None:
    """1024 bytes per update are for its entry in the log; leftovers of a killed trial are not."""
    run = context("run")
    model: Any = make_model("llama")
    if several:
        model = Parts({"one": make_model("llama"), "two": make_model("llama")})
    (run.scratch / "trial").mkdir()
    (run.scratch / "trial" / "left").write_bytes(b"x" * 999)
    saver = saver_of(run, model)
    saver.check(updates=7)
    trainer = SimpleNamespace(
        accelerator=SimpleNamespace(distributed_type=SimpleNamespace(value="NO")),
        is_world_process_zero=lambda: True,
    )
    count, tensors = numbers_of(model)
    size = held(run.scratch)["reserved-0"]
    assert not (run.scratch / "trial").exists()
    saver.save(trainer, {})  # type: ignore[arg-type]
    written = [path for path in run.directory.rglob("*") if path.is_file()]
    names = ("model.safetensors", "training_log.json")
    beside = sum(path.stat().st_size for path in written if path.name not in names)
    assert size == count * 4 + beside + 7 * 1024 + 1024 * tensors + 65_536
    assert held(run.scratch) == {}


@pytest.mark.parametrize(
    ("save_steps", "updates", "checkpoints"),
    [(None, 9, 0), (10, 9, 0), (4, 9, 2), (3, 9, 3), (2, 9, 3)],
)
def test_checkpoints_need_three_float32_numbers_per_weight(
    save_steps: int | None, updates: int, checkpoints: int,
    context: Make, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Weights and two moments; two checkpoints are kept while a third one is written."""
    run, model = context("run"), make_model("llama")
    count, tensors = numbers_of(model)
    size = count * 2 + 1024 * tensors + 65_536
    need = 2 * size + checkpoints * 3 * count * 4
    saver = saver_of(run, model, save_steps=save_steps, dtype="bfloat16")
    free = SimpleNamespace(free=need)
    monkeypatch.setattr(saving.shutil, "disk_usage", lambda folder: free)
    saver._hold_space(updates, 0)
    free.free = need - 1
    with pytest.raises(StoreProblem) as found:
        saver._hold_space(updates, 0)
    said = f"left, but the trained model needs {_gb(size)} twice until it is complete"
    assert said in str(found.value)
    assert ("(save_steps)" in str(found.value)) == bool(checkpoints)
    assert held(run.scratch) == {}


def test_space_held_by_an_earlier_attempt_is_free_again(
    context: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = context("run")
    saver = saver_of(run)
    saver._hold_space(1, 0)
    whole = sum(held(run.scratch).values())

    def left(folder: Path) -> Any:
        return SimpleNamespace(free=whole - sum(held(folder).values()))

    monkeypatch.setattr(saving.shutil, "disk_usage", left)
    saver._hold_space(1, 0)
    assert sum(held(run.scratch).values()) == whole


def test_what_was_held_is_given_back_when_the_second_file_has_no_room(
    context: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, calls = context("run"), []

    def full(descriptor: int, offset: int, size: int) -> None:
        calls.append((offset, size))
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(StoreProblem, match=r"\(No space left on device\).*free some space"):
        saver_of(run)._hold_space(1, 0)
    assert held(run.scratch) == {}
    assert [offset for offset, _ in calls] == [0, 0]


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.EIO])
def test_file_systems_that_cannot_reserve_are_no_error(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: int) -> None:
        raise OSError(number, "no")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    if number == errno.EIO:
        with pytest.raises(OSError, match="no"):
            _hold(tmp_path / "file", 10)
    else:
        _hold(tmp_path / "file", 10)


def test_a_scratch_folder_that_cannot_be_written_is_said_in_one_line(context: Make) -> None:
    run = context("run")
    run.scratch.rmdir()
    run.scratch.write_text("a file")
    with pytest.raises(StoreProblem, match="cannot be used"):
        saver_of(run).check(updates=1)


def trained_of(model: Any) -> Any:
    return SimpleNamespace(
        accelerator=SimpleNamespace(distributed_type=SimpleNamespace(value="NO")),
        is_world_process_zero=lambda: True,
    )


def test_kept_weights_take_the_place_of_one_reserved_file(context: Make) -> None:
    run, model = context("run"), make_model("llama")
    saver = saver_of(run, model)
    saver._hold_space(1, 0)
    saver.keep(trained_of(model), {"updates": 3})
    assert sorted(held(run.scratch)) == ["reserved-1", "trained"]
    assert saver.finished
    assert saver.kept_log() == {"updates": 3}
    other = saver_of(run, make_model("llama", seed=1))
    other.load_kept()
    other.save(trained_of(other.model), {"updates": 3})
    made = AutoModelForCausalLM.from_pretrained(run.directory)
    for one, two in zip(model.parameters(), made.parameters(), strict=True):
        assert torch.equal(one, two)
    assert sorted(held(run.scratch)) == ["trained"]
    assert run.notes == []


def test_weights_that_cannot_be_kept_are_noted_and_saved_all_the_same(context: Make) -> None:
    run, model = context("run"), make_model("llama")
    (run.scratch / "trained").mkdir()
    (run.scratch / "trained" / "other").write_text("")
    saver = saver_of(run, model)
    saver.keep(trained_of(model), {})
    assert len(run.notes) == 1
    assert run.notes[0].startswith("trained weights could not be kept apart: ")
    saver.save(trained_of(model), {})
    assert (run.directory / "model.safetensors").is_file()


def test_a_disk_that_is_full_at_the_end_says_where_the_weights_are(context: Make) -> None:
    run, model = context("run"), make_model("llama")
    saver = saver_of(run, model)
    saver.keep(trained_of(model), {})

    def full(folder: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    saver.tokenizer.save_pretrained = full
    kept = f"the trained weights are kept in {run.scratch / 'trained'}"
    with pytest.raises(StoreProblem, match=f"no space left for {run.directory}; {kept}"):
        saver.save(trained_of(model), {})


def test_sizes_are_shown_in_megabytes_below_ten_of_them() -> None:
    shown = {1234: "0.00 MB", 9_999_999: "10.00 MB", 10_000_000: "0.01 GB", 10_400_000: "0.01 GB",
             2_500_000: "2.50 MB", 2_500_000_000: "2.50 GB"}  # fmt: skip
    assert {size: _gb(size) for size in shown} == shown
