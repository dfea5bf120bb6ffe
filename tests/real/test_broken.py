"""Broken copies of SmolLM2: one sentence, before anything is trained."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from harness.core.errors import BadData
from harness.training import runs
from harness.training.saving import Saver
from harness.training.settings import RunSettings
from tests.tiny_models import FakeContext

UP = "model.layers.7.mlp.up_proj.weight"
SETTINGS = RunSettings(learning_rate=1e-5)
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


def copy_of(folder: Path, to: Path, *, weights: bool = True) -> Path:
    to.mkdir()
    for path in folder.iterdir():
        if path.name != "model.safetensors":
            shutil.copy(path, to)
    if weights:
        (to / "model.safetensors").symlink_to(folder / "model.safetensors")
    return to


def with_weights(
    folder: Path, to: Path, change: Callable[[dict[str, torch.Tensor]], object]
) -> Path:
    state = load_file(folder / "model.safetensors")
    change(state)
    copy_of(folder, to, weights=False)
    save_file(state, to / "model.safetensors", metadata={"format": "pt"})
    return to


def with_tokenizer(folder: Path, to: Path, name: str) -> Path:
    copy_of(folder, to)
    for part in TOKENIZER:
        (to / part).unlink(missing_ok=True)
        if (folder.parent / name / part).is_file():
            shutil.copy(folder.parent / name / part, to)
    return to


def test_files_that_are_cut_or_incomplete(real_folder: Path, tmp_path: Path) -> None:
    folder = real_folder / "smollm2"
    cut = copy_of(folder, tmp_path / "cut", weights=False)
    data = (folder / "model.safetensors").read_bytes()
    (cut / "model.safetensors").write_bytes(data[: len(data) // 3])
    missing = with_weights(folder, tmp_path / "missing", lambda state: state.pop(UP))
    small = with_weights(
        folder, tmp_path / "small", lambda state: state.update({UP: state[UP].char()})
    )
    blank = with_weights(folder, tmp_path / "blank", lambda state: state[UP].fill_(torch.nan))
    for place, words in (
        (cut, "cannot be loaded as a model: SafetensorError"),
        (missing, f"its files have no weights for {UP}"),
        (small, f"{UP} is stored as I8"),
        (blank, f"{UP} contains NaN"),
    ):
        with pytest.raises(BadData, match=re.escape(words)):
            runs.open_model(place)


def test_tokenizers_of_other_models(real_folder: Path, tmp_path: Path) -> None:
    """Llama-3's has more tokens than there are rows; Llama-2's has a third fewer."""
    folder = real_folder / "smollm2"
    with pytest.raises(BadData, match=r"128\d{3} tokens before any are added, .* 49152 rows"):
        runs.open_model(with_tokenizer(folder, tmp_path / "llama3", "tok_llama3"))
    model, tokenizer = runs.open_model(with_tokenizer(folder, tmp_path / "llama2", "tok_llama2"))
    (tmp_path / "scratch").mkdir()
    context = FakeContext(tmp_path / "out", tmp_path / "scratch")
    Saver(model, tokenizer, SETTINGS, context).check(updates=1)
    assert context.notes == [
        "the tokenizer has 32000 ids, the embedding 49152 rows: check that both belong to the same "
        "model"
    ]


def test_contradicting_decoding_defaults_can_be_saved(real_folder: Path, tmp_path: Path) -> None:
    place = copy_of(real_folder / "smollm2", tmp_path / "model")
    path = place / "generation_config.json"
    flags = {"do_sample": False, "temperature": 0.6, "top_p": 0.9}
    path.write_text(json.dumps(json.loads(path.read_text()) | flags))
    model, tokenizer = runs.open_model(place)
    (tmp_path / "scratch").mkdir()
    context = FakeContext(tmp_path / "out", tmp_path / "scratch")
    Saver(model, tokenizer, SETTINGS, context).check(updates=1)
    assert "(temperature, top_p); they are saved as they are" in context.notes[0]
