"""Two processes give what one gives; a rank that dies ends all, and the training resumes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from harness.core.errors import CrucibleError
from harness.engine.operations import Artifact
from harness.training.settings import LaunchSettings, RunSettings
from tests.harness.training.launched import (
    KILLED,
    LIMITS,
    OBJECTIVES,
    ROWS,
    SHARDED,
    TRAININGS,
    every_training,
    part,
    run,
    small_files,
)
from tests.tiny_models import FakeContext, make_model, make_tokenizer

Inputs = dict[str, Artifact]
ALONE = RunSettings(learning_rate=1.0)
TOGETHER = RunSettings(learning_rate=1.0, launch=LaunchSettings(processes=2), accumulation_steps=2)
# Share of the epoch, and means over batches that trl logs beside the loss.
OF_ONE_PROCESS = {"epoch", "entropy", "mean_token_accuracy"}


@dataclass
class Both:
    """The same trainings in one process and in two, of which one was killed at the end."""

    one: FakeContext
    two: FakeContext
    inputs: Inputs
    error: CrucibleError


def new_context(folder: Path) -> FakeContext:
    made = FakeContext(folder / "out", folder / "scratch")
    made.directory.mkdir(parents=True)
    made.scratch.mkdir(parents=True)
    return made


def saved(kind: str, folder: Path, seed: int = 0) -> Artifact:
    make_model(kind, seed).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return Artifact(folder.name, folder)


def rows_of(folder: Path, rows: list[dict[str, Any]]) -> Artifact:
    folder.mkdir()
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Artifact(folder.name, folder)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    from harness.training.preference_operations import ReferenceLogpsParams, reference_logps

    folder = tmp_path_factory.mktemp("inputs")
    words = ["ab", "cdefgh", "f", "gh", "ijk mno pq", "lm", "n", "op", "qrst"][:ROWS]
    rows = [
        {
            "id": f"r{place}",
            "messages": [{"role": "user", "content": word}],
            "response": word + word,
            "responses": {"source": word + word, "target": word, "rejected": word[::-1] + " no"},
            **{"source": "a", "target": "b", "label": "minor_revise"},
        }
        for place, word in enumerate(words)
    ]
    made = {
        "rows": rows_of(folder / "rows", rows),
        "model": saved("llama", folder / "llama"),
        "teacher": saved("llama", folder / "teacher", seed=1),
        "tied": saved("tied", folder / "tied"),
    }
    how, context = ReferenceLogpsParams(**LIMITS), new_context(folder / "scoring")
    found = reference_logps(context, how, iter([rows]), rows=made["rows"], model=made["model"])
    made["reference"] = rows_of(folder / "reference", next(found))
    return made


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, inputs: Inputs) -> Both:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("both")
    one, two = new_context(folder / "one"), new_context(folder / "two")
    every_training(one, ALONE, **inputs)
    with small_files():
        run(part(one, "divided"), ALONE, *SHARDED, rows=inputs["rows"], model=inputs["tied"])
    with pytest.raises(CrucibleError) as raised:
        every_training(two, TOGETHER, **inputs)
    return Both(one, two, inputs, raised.value)


def log_of(context: FakeContext, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((context.directory / name / "training_log.json").read_text())
    return found


def same_weights(one: Path, two: Path) -> None:
    """The same files, and tensors within 1e-5."""
    names = sorted(path.relative_to(one) for path in one.rglob("*.safetensors"))
    assert names
    assert names == sorted(path.relative_to(two) for path in two.rglob("*.safetensors"))
    for name in names:
        expected, found = load_file(one / name), load_file(two / name)
        assert expected.keys() == found.keys()
        for key, value in expected.items():
            torch.testing.assert_close(found[key], value, rtol=1e-5, atol=1e-5, msg=key)


@pytest.mark.parametrize("name", [*TRAININGS, *OBJECTIVES, "divided"])
def test_two_processes_equal_one(name: str, both: Both) -> None:
    alone, together = (log_of(context, name) for context in (both.one, both.two))
    assert len(alone["log"]) == len(together["log"])
    for expected, found in zip(alone["log"], together["log"], strict=True):
        assert {"loss", "grad_norm", "learning_rate"} <= expected.keys() == found.keys()
        for key in expected.keys() - OF_ONE_PROCESS:
            rel = 1e-6 if key in ("loss", "grad_norm", "learning_rate") else 1e-5
            assert found[key] == pytest.approx(expected[key], rel=rel, abs=1e-9), key
    same_weights(both.one.directory / name, both.two.directory / name)


def test_divided_weights_are_saved_in_files_of_limited_size(both: Both) -> None:
    alone, together = (context.directory / "divided" for context in (both.one, both.two))
    index = (together / "model.safetensors.index.json").read_text()
    assert index == (alone / "model.safetensors.index.json").read_text()
    files = sorted(together.glob("*.safetensors"))
    assert len(files) > 2
    assert {path.name for path in files} == set(json.loads(index)["weight_map"].values())
    model = AutoModelForCausalLM.from_pretrained(together)
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_two_processes_have_the_validation_curve_of_one(both: Both) -> None:
    """Three held-out rows: two batches of one process, one of them with a single row."""
    alone, together = (log_of(one, "advantage")["validation"] for one in (both.one, both.two))
    assert (alone["rows"], len(alone["points"])) == (together["rows"], 3) == (3, 3)
    for expected, found in zip(alone["points"], together["points"], strict=True):
        assert expected.keys() == found.keys()
        for name, value in expected.items():
            assert found[name] == pytest.approx(value, rel=1e-5, abs=1e-6), name


def test_what_rank_0_reports_is_reported(both: Both) -> None:
    """Progress of every training; of the killed one, up to its last update."""
    assert len(both.one.reports) > 2 * len(TRAININGS)
    assert both.two.reports == [*both.one.reports, *((n, 6, "updates") for n in (1, 2, 3))]
    assert both.two.notes == both.one.notes
    assert (both.one.gpus, both.two.gpus) == (1, 2)


def test_a_killed_rank_ends_all_and_is_named_with_the_logs(both: Both) -> None:
    logs = both.two.scratch / "ranks"
    assert str(both.error) == (
        f"training over 2 processes failed after update 3 of 6: rank 1 was killed (SIGKILL); all "
        f"ranks were ended, their logs are {logs}/*.log; the same command starts it again"
    )
    assert {path.name for path in logs.glob("*.log")} == {
        "launcher.log", "rank-0.log", "rank-1.log"
    }  # fmt: skip


def test_a_killed_training_resumes_in_any_number_of_processes(both: Both, tmp_path: Path) -> None:
    """Two processes wrote the checkpoint, one resumes from it."""
    killed, whole = part(both.two, "killed"), new_context(tmp_path / "whole")
    for context in (killed, whole):
        context.reports.clear()
        inputs = {"rows": both.inputs["rows"], "model": both.inputs["model"]}
        run(context, ALONE, *KILLED, **inputs)
    assert killed.reports[0] == (3, 6, "updates")  # two updates were kept
    same_weights(killed.directory, whole.directory)
