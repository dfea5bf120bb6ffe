"""Broken checkpoints: one sentence before the first update, or a training that loses nothing."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from harness.core.errors import UserError
from harness.engine.operations import Artifact, Row
from harness.engine.registry import load_operation
from tests.harness.training import broken_checkpoints
from tests.harness.training.broken_checkpoints import CONTRADICTIONS, REFUSED, TRAINED, generation

Make = Callable[..., Any]
PREFERENCE: dict[str, Any] = {"loss": "simpo"}
RUNS: dict[str, dict[str, Any]] = {"train_preference": PREFERENCE, "train_sft": {}}
RUNS["train_fusion"] = {"packing": "none"}
NAMES = {"train_preference": "rows", "train_sft": "rows", "train_fusion": "corpus"}


@pytest.fixture
def folder_of(checkpoint: Make, tmp_path: Path) -> Make:
    """A copy of a tiny checkpoint with a change."""

    def make(change: broken_checkpoints.Change) -> Path:
        folder = tmp_path / "model"
        shutil.copytree(checkpoint("llama").path, folder)
        change(folder)
        return folder

    return make


@pytest.fixture
def train(context: Make, rows_artifact: Make) -> Make:
    """`train(operation, folder)`: the context of a run of two updates."""
    rows: list[Row] = [
        {
            "id": f"r{number}",
            "messages": [{"role": "user", "content": f"add {number}"}],
            "responses": {"target": "ok yes", "rejected": "no"},
            "response": "ok yes"[: 2 + 2 * number],
        }
        for number in range(4)
    ]

    def run(name: str, folder: Path, **changes: Any) -> Any:
        made, operation = context(f"{name}-{len(runs)}"), load_operation(name)
        given = {"learning_rate": 1e-3, "max_steps": 2, "per_device_batch_size": 2}
        params = operation.params.model_validate({**given, **RUNS[name], **changes})
        inputs = {NAMES[name]: rows_artifact(rows), "model": Artifact("model", folder)}
        runs.append(made)
        operation.function(made, params, **inputs)
        return made

    runs: list[Any] = []
    run.contexts = runs  # type: ignore[attr-defined]
    return run


@pytest.mark.parametrize("name", REFUSED)
def test_a_broken_checkpoint_is_refused_before_the_first_update(
    name: str, folder_of: Make, train: Any
) -> None:
    change, words = REFUSED[name]
    operation = "train_sft" if len(name) % 2 else "train_preference"
    with pytest.raises(UserError, match=words) as found:
        train(operation, folder_of(change))
    assert "\n" not in str(found.value)
    assert train.contexts[0].reports == []


@pytest.mark.parametrize("name", TRAINED)
def test_an_odd_checkpoint_trains_and_is_saved(name: str, folder_of: Make, train: Make) -> None:
    change, words = TRAINED[name]
    folder = folder_of(change)
    operation = "train_preference" if len(name) % 2 else "train_sft"
    made = train(operation, folder)
    assert [text for text in made.notes if words and re.search(words, text)] == made.notes
    assert bool(made.notes) == bool(words)
    before, after = (load_file(place / "model.safetensors") for place in (folder, made.directory))
    assert before.keys() == after.keys()
    again = AutoTokenizer.from_pretrained(made.directory)
    given = AutoTokenizer.from_pretrained(folder)
    assert again.chat_template == given.chat_template
    assert again.get_vocab() == given.get_vocab()
    AutoModelForCausalLM.from_pretrained(made.directory)


@pytest.mark.parametrize("flag", CONTRADICTIONS)
def test_contradicting_decoding_defaults_are_saved_as_they_were(
    flag: str, folder_of: Make, train: Make
) -> None:
    folder = folder_of(generation(**CONTRADICTIONS[flag]))
    made = train("train_preference", folder)
    assert len(made.notes) == 1
    assert f"contradict each other ({flag})" in made.notes[0]
    before, after = (
        json.loads((place / "generation_config.json").read_text())
        for place in (folder, made.directory)
    )
    ignored = {"transformers_version"}
    assert {k: v for k, v in before.items() if k not in ignored}.items() <= after.items()


@pytest.mark.parametrize("operation", RUNS)
def test_contradicting_defaults_stop_no_training(
    operation: str, folder_of: Make, train: Make
) -> None:
    """Nor the checkpoints to resume from; and the trained model can be trained again."""
    flags = {"do_sample": False, "temperature": 0.6, "eos_token_id": [2, 4]}
    made = train(operation, folder_of(generation(**flags)), save_steps=1)
    after = json.loads((made.directory / "generation_config.json").read_text())
    assert (after["temperature"], after["do_sample"]) == (0.6, False)
    assert (made.scratch / "checkpoint-2" / "model.safetensors").is_file()
    assert max(done for done, *_ in train("train_sft", made.directory).reports) == 2


def test_padding_without_a_row_changes_nothing(folder_of: Make, train: Make) -> None:
    plain = train("train_preference", folder_of(TRAINED["as it was"][0]))
    shutil.rmtree(plain.directory.parents[1] / "model")
    log = json.loads((plain.directory / "training_log.json").read_text())
    made = train("train_preference", folder_of(TRAINED["pad token added later"][0]))
    assert json.loads((made.directory / "training_log.json").read_text()) == log
