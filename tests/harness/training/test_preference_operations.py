"""Preference training end to end on tiny models: exactness, determinism, resumption, messages."""

from __future__ import annotations

import json
import shutil
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from harness.core.errors import BadData, BadRecord, CrucibleError, UnknownName
from harness.core.hashing import folder_digest
from harness.core.records import parse
from harness.engine.operations import Artifact, Row
from harness.models.heads import check_head
from harness.training.losses import preference_loss
from harness.training.pair_losses import PairSettings, SmoothedSettings
from harness.training.preference_operations import (
    ReferenceLogpsParams,
    TrainPreferenceParams,
    reference_logps,
    train_preference,
)

Make = Callable[..., Any]
LIMITS = {"max_length": 64, "max_prompt_length": 32}


def params(**changes: Any) -> TrainPreferenceParams:
    plain: dict[str, Any] = {
        "loss": "wrpo",
        "settings": {"beta": 0.5, "alpha_end": 0.4},
        "learning_rate": 1e-3,
        "max_steps": 4,
        "per_device_batch_size": 4,
        **LIMITS,
    }
    return parse(TrainPreferenceParams, {**plain, **changes}, "test")


def references(context: Any, rows: Artifact, model: Artifact, write: Make) -> Artifact:
    settings = ReferenceLogpsParams(batch_size=5, **LIMITS)
    source = rows.rows()
    batches = [source[start : start + 5] for start in range(0, len(source), 5)]
    made = reference_logps(context, settings, iter(batches), rows=rows, model=model)
    return write([row for batch in made for row in batch], "reference")


@pytest.fixture
def inputs(
    preference_rows: list[Row], rows_artifact: Make, checkpoint: Make, context: Make
) -> dict[str, Artifact]:
    rows, model = rows_artifact(preference_rows), checkpoint("llama")
    return {
        "rows": rows,
        "model": model,
        "reference": references(context("reference"), rows, model, rows_artifact),
    }


def log_of(context: Any) -> list[dict[str, Any]]:
    return json.loads((context.directory / "training_log.json").read_text())["log"]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def test_reference_values_are_those_of_the_model(inputs: Any, preference_rows: Any) -> None:
    from harness.models.checkpoints import load_causal_lm
    from harness.models.logprobs import dense_logprobs
    from harness.models.tokenize import tokenize_row

    model, tokenizer = load_causal_lm(inputs["model"].path)
    found = inputs["reference"].rows()
    assert [row["id"] for row in found] == [row["id"] for row in preference_rows]
    tokens = tokenize_row(tokenizer, preference_rows[1], ["target"], **LIMITS)["target"]
    with torch.no_grad():
        logits = model(torch.tensor([tokens.input_ids])).logits
    expected = dense_logprobs(logits, torch.tensor([tokens.labels])).item()
    assert found[1]["logps"]["target"] == pytest.approx(expected, rel=1e-5)
    assert found[1]["lengths"] == {"source": 7, "target": 4, "rejected": 7}


def test_the_checkpoint_works_and_the_log_tells_the_story(inputs: Any, context: Make) -> None:
    from harness.models.checkpoints import load_causal_lm

    run = context("run")
    train_preference(run, params(), **inputs)
    names = {path.name for path in run.directory.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "training_log.json"} <= names
    assert not {"training_args.bin", "README.md", "optimizer.pt"} & names
    model, tokenizer = load_causal_lm(run.directory)
    assert model.config.use_cache
    assert tokenizer.chat_template
    check_head(model)

    log = log_of(run)
    assert [entry["step"] for entry in log] == [1, 2, 3, 4]
    assert [entry["alpha"] for entry in log] == pytest.approx([0.0, 0.1, 0.2, 0.3])
    assert log[0]["loss"] == pytest.approx(0.6931, abs=1e-4)  # policy = reference
    assert log[0]["rewards/source"] == pytest.approx(0, abs=1e-4)
    assert log[-1]["loss"] < 0.6
    assert log[-1]["margins"] > 0
    assert 0 <= log[-1]["accuracy"] <= 1
    assert log[0]["lengths/rejected"] > log[0]["lengths/target"]
    assert run.reports[-1] == (4, 4, "updates")


def test_static_alpha_is_logged_too(inputs: Any, context: Make) -> None:
    run = context("run")
    settings = {"beta": 0.5, "alpha_end": 0.4, "alpha_mode": "static"}
    train_preference(run, params(settings=settings, max_steps=2), **inputs)
    assert [entry["alpha"] for entry in log_of(run)] == [0.4, 0.4]


def test_accumulating_two_batches_of_four_is_one_batch_of_eight(
    inputs: Any,
    context: Make,
    preference_rows: list[Row],
    rows_artifact: Make,
) -> None:
    """Also where the last window of an epoch is short: 4 + 4 rows, then 3."""
    inputs["rows"] = rows_artifact(preference_rows[:11], "fewer")
    runs = {"whole": (8, 1), "halves": (4, 2)}
    for name, (batch, accumulation) in runs.items():
        settings = params(
            max_steps=None, epochs=2, per_device_batch_size=batch, accumulation_steps=accumulation
        )
        train_preference(context(name), settings, **inputs)
    whole, halves = (context(name) for name in ("whole", "halves"))
    assert len(log_of(whole)) == 4
    for one, two in zip(log_of(whole), log_of(halves), strict=True):
        assert two["loss"] == pytest.approx(one["loss"], rel=1e-5)
        assert two["grad_norm"] == pytest.approx(one["grad_norm"], rel=1e-4)
        assert two["margins"] == pytest.approx(one["margins"], abs=1e-5)
    expected, found = weights(whole.directory), weights(halves.directory)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=2e-5, msg=name)


def test_equal_inputs_give_equal_bytes(inputs: Any, context: Make) -> None:
    for name in ("one", "two"):
        train_preference(context(name), params(max_steps=2), **inputs)
    assert folder_digest(context("one").directory) == folder_digest(context("two").directory)


def test_a_killed_run_resumes_to_the_same_bytes(inputs: Any, context: Make) -> None:
    settings = params(save_steps=2, max_steps=5, per_device_batch_size=3)
    train_preference(context("whole"), settings, **inputs)
    broken = context("broken")

    def killed(done: int, total: int, unit: str = "") -> None:
        if done == 4 and not (broken.scratch / "again").exists():
            raise KeyboardInterrupt

    broken.progress = killed
    with pytest.raises(KeyboardInterrupt):
        train_preference(broken, settings, **inputs)
    assert (broken.scratch / "checkpoint-2" / "complete").exists()
    # A checkpoint that was being written when the machine went down does not count.
    shutil.copytree(broken.scratch / "checkpoint-2", broken.scratch / "checkpoint-3")
    (broken.scratch / "checkpoint-3" / "complete").unlink()
    (broken.scratch / "checkpoint-3" / "model.safetensors").write_bytes(b"half")
    (broken.scratch / "again").touch()
    again = context("broken")
    train_preference(again, settings, **inputs)
    assert [done for done, _, _ in again.reports] == [3, 4, 5]
    assert folder_digest(again.directory) == folder_digest(context("whole").directory)


@pytest.mark.parametrize(("kind", "loss"), [("neox", "dpo"), ("tied", "simpo")])
def test_other_models_and_losses(
    kind: str,
    loss: str,
    preference_rows: list[Row],
    rows_artifact: Make,
    checkpoint: Make,
    context: Make,
) -> None:
    rows, model = rows_artifact(preference_rows), checkpoint(kind)
    reference = None
    if loss == "dpo":
        reference = references(context("reference"), rows, model, rows_artifact)
    settings = params(loss=loss, settings={"beta": 2.0}, learning_rate=3e-3, max_steps=6)
    train_preference(context("run"), settings, rows=rows, model=model, reference=reference)
    log = log_of(context("run"))
    assert not {"rewards/source", "alpha"} & log[0].keys()
    assert log[-1]["loss"] < log[0]["loss"]


def test_off_policy_pairs_take_other_columns(inputs: Any, context: Make) -> None:
    settings = params(loss="dpo", settings={}, responses=["source", "rejected"], max_steps=1)
    train_preference(context("run"), settings, **inputs)
    assert "rewards/source" in log_of(context("run"))[0]


def test_gradient_checkpointing_changes_nothing(inputs: Any, context: Make) -> None:
    for name in ("plain", "checkpointed"):
        settings = params(gradient_checkpointing=name == "checkpointed", max_steps=2)
        train_preference(context(name), settings, **inputs)
    plain, checkpointed = (weights(context(n).directory) for n in ("plain", "checkpointed"))
    for name, value in plain.items():
        torch.testing.assert_close(checkpointed[name], value)


def test_bfloat16_computes_coarsely_but_loses_no_update(inputs: Any, context: Make) -> None:
    """At this learning rate an update of bfloat16 weights would round to nothing."""
    for name, dtype in (("fine", "float32"), ("coarse", "bfloat16")):
        settings = params(dtype=dtype, learning_rate=1e-4, max_steps=4)
        train_preference(context(name), settings, **inputs)
    fine, coarse = context("fine"), context("coarse")
    assert log_of(coarse)[0]["loss"] == pytest.approx(log_of(fine)[0]["loss"], abs=0.1)
    assert log_of(coarse)[-1]["loss"] < log_of(coarse)[0]["loss"]
    assert {tensor.dtype for tensor in weights(coarse.directory).values()} == {torch.bfloat16}
    assert json.loads((coarse.directory / "config.json").read_text())["dtype"] == "bfloat16"


def test_no_socket_is_opened(inputs: Any, context: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    train_preference(context("run"), params(max_steps=1), **inputs)


def test_what_does_not_fit_is_said_before_training(
    inputs: Any, context: Make, rows_artifact: Make
) -> None:
    run = context("run")
    with pytest.raises(BadData, match="give the artifact of a reference_logps stage"):
        train_preference(run, params(), **{**inputs, "reference": None})
    with pytest.raises(BadData, match="use the same tokenizer, max_length"):
        train_preference(run, params(released=True), **inputs)
    fewer = rows_artifact(inputs["reference"].rows()[1:], "fewer")
    with pytest.raises(BadData, match='no reference log-probabilities for preference row "r0"'):
        train_preference(run, params(), **{**inputs, "reference": fewer})
    with pytest.raises(BadData, match="no preference rows"):
        train_preference(run, params(), **{**inputs, "rows": rows_artifact([], "none")})
    with pytest.raises(BadRecord, match='loss "wrpo" takes 3 responses'):
        train_preference(run, params(responses=["target", "rejected"]), **inputs)


@pytest.mark.parametrize("loss", ["sft", "aot", "aot_pair", "kto_pair"])
def test_losses_that_couple_a_batch_refuse_to_split_it(loss: str) -> None:
    assert params(loss=loss, settings={}).accumulation_steps == 1
    with pytest.raises(BadRecord, match=f'loss "{loss}" couples .* set accumulation_steps = 1 and'):
        params(loss=loss, settings={}, accumulation_steps=2)
    assert params(accumulation_steps=2).accumulation_steps == 2


def test_parameters_are_checked_when_the_plan_is_made() -> None:
    with pytest.raises(UnknownName, match='did you mean "wrpo"'):
        params(loss="wrp")
    with pytest.raises(BadRecord, match="max_prompt_length below max_length"):
        params(max_prompt_length=64)
    with pytest.raises(BadRecord, match="alpha_end in"):
        params(settings={"alpha_end": -0.1})
    with pytest.raises(BadRecord, match='did you mean "learning_rate"'):
        params(learning_rat=1)
    with pytest.raises(
        BadRecord, match='no setting of loss "wrpo" named "beta2"; did you mean "beta'
    ):
        params(settings={"beta2": 1})
    with pytest.raises(BadRecord, match='no setting of loss "dpo" named "alpha_end"; known: beta'):
        params(loss="dpo", settings={"alpha_end": 0.4})
    assert params(settings=PairSettings(beta=3.0)).settings.beta == 3.0


# Ids of stages in users' stores depend on these tables.
STORED = {
    "dpo": {"beta": 0.5},
    "simpo": {"beta": 2.0, "gamma_over_beta": 0.3},
    "ipo": {"tau": 0.2, "normalisation": "sum"},
    "sft": {},
    "wrpo": {"beta": 0.01, "alpha_end": 0.4, "alpha_mode": "static"},
}


@pytest.mark.parametrize("loss", STORED)
def test_parameters_are_stored_and_read_as_when_all_losses_had_one_record(loss: str) -> None:
    once = {
        "beta": 0.1, "gamma_over_beta": 0.0, "tau": None, "label_smoothing": 0.0,
        "normalisation": "default", "alpha_end": 0.1, "alpha_mode": "dynamic", "released": False,
    }  # fmt: skip
    made = params(loss=loss, settings=STORED[loss])
    stored = made.model_dump(mode="json")
    assert stored["settings"] == {**once, **STORED[loss]}
    assert parse(TrainPreferenceParams, stored, "manifest") == made


def test_a_loss_with_settings_of_its_own_is_stored_with_them_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Settings(SmoothedSettings):
        margin: float = 1.0

    @preference_loss(Settings)
    def with_margin(*tables: Any, settings: Settings) -> Any:
        raise NotImplementedError

    monkeypatch.setitem(sys.modules, "theirs", SimpleNamespace(with_margin=with_margin))
    made = params(loss="theirs:with_margin", settings={"margin": 2})
    assert set(made.model_dump()["settings"]) == {
        "beta", "normalisation", "label_smoothing", "margin"
    }  # fmt: skip


def test_a_plan_counts_the_responses_that_are_trained() -> None:
    assert params(loss="dpo", settings={}).sequences_per_row == 2
    assert params(loss="wrpo").sequences_per_row == 3


def test_a_diverging_run_stops_with_its_step(inputs: Any, context: Make) -> None:
    broken = inputs["reference"].rows()
    broken[0]["logps"]["target"] = 1e39
    reference = Artifact("broken", inputs["reference"].path)
    text = "".join(json.dumps(row) + "\n" for row in broken)
    (reference.path / "rows.jsonl").write_text(text)
    settings = params(loss="ipo", settings={}, per_device_batch_size=12, max_steps=2)
    with pytest.raises(CrucibleError, match="diverged: the loss at update 1 of 2"):
        train_preference(context("run"), settings, **{**inputs, "reference": reference})


def test_cut_answers_are_counted_and_can_be_left_out(
    inputs: Any, context: Make, rows_artifact: Make, preference_rows: list[Row]
) -> None:
    columns = ["source", "target", "rejected"]
    rows = [
        {**row, "finish": dict.fromkeys(columns, "length" if n < 2 else "stop")}
        for n, row in enumerate(preference_rows)
    ]
    changed = {**inputs, "rows": rows_artifact(rows, "cut")}
    changed["reference"] = references(
        context("cut-reference"), changed["rows"], inputs["model"], rows_artifact
    )
    run = context("no-end")
    train_preference(run, params(), **changed)
    summary = json.loads((run.directory / "summary.json").read_text())
    count = len(rows)
    assert (summary["rows"], summary["left_out"]) == (count, 0)
    assert summary["cut"] == dict.fromkeys(columns, 2)
    assert summary["answers"] == dict.fromkeys(columns, count)
    assert "6 of" in run.notes[0]
    assert "without an end of turn" in run.notes[0]
    run = context("left-out")
    train_preference(run, params(cut_answers="leave_out"), **changed)
    summary = json.loads((run.directory / "summary.json").read_text())
    assert (summary["rows"], summary["left_out"]) == (count - 2, 2)
    with pytest.raises(BadData, match="use the same tokenizer"):  # other ids than the reference's
        train_preference(context("end"), params(cut_answers="end"), **changed)
    every = [{**row, "finish": dict.fromkeys(columns, "length")} for row in rows]
    changed["rows"] = rows_artifact(every, "every")
    with pytest.raises(BadData, match="left out: their answers reached the token limit"):
        train_preference(context("none"), params(cut_answers="leave_out"), **changed)


def test_a_prompt_is_cut_alike_for_reference_and_training(
    inputs: Any, context: Make, rows_artifact: Make, preference_rows: list[Row]
) -> None:
    """The longest response decides, also where the loss does not compare it."""
    rows = [
        {**row, "responses": {**row["responses"], "source": "a long answer " * 3}}
        for row in preference_rows
    ]
    written = rows_artifact(rows, "long")
    model = inputs["model"]
    reference = references(context("long-reference"), written, model, rows_artifact)
    run = context("dpo")
    settings = params(loss="dpo", settings={"beta": 0.1}, learning_rate=1e-9, max_steps=1)
    train_preference(run, settings, rows=written, model=model, reference=reference)
    assert log_of(run)[0]["margins"] == pytest.approx(0, abs=1e-5)
