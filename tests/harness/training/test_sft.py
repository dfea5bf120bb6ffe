"""Supervised fine-tuning through TRL: what is trained on, determinism, resumption, silence."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from typing import Any

import pytest
import torch

from harness.core.errors import BadData, BadRecord
from harness.core.hashing import folder_digest
from harness.core.records import parse
from harness.engine.operations import Artifact
from harness.models.tokenize import IGNORE
from harness.training.answer_counts import AnswerCounts
from harness.training.sft import SftParams, train_sft
from harness.training.sft import _sequences as counted_sequences

Make = Callable[..., Any]


def _sequences(tokenizer: Any, settings: SftParams, rows: Artifact) -> Any:
    return counted_sequences(tokenizer, settings, rows, AnswerCounts(settings.cut_answers))[0]


def params(**changes: Any) -> SftParams:
    plain: dict[str, Any] = {
        "learning_rate": 3e-3,
        "max_steps": 4,
        "per_device_batch_size": 4,
        "max_length": 48,
    }
    return parse(SftParams, {**plain, **changes}, "test")


@pytest.fixture
def inputs(rows_artifact: Make, checkpoint: Make) -> dict[str, Artifact]:
    words = ["ab", "cde", "f", "gh", "ijk", "lm", "n", "op", "qrs", "tu"]
    rows = [
        {
            "id": f"r{place}",
            "messages": [{"role": "user", "content": word}],
            "response": word + word,
            "responses": [word + " again"],
        }
        for place, word in enumerate(words)
    ]
    return {"rows": rows_artifact(rows), "model": checkpoint("llama")}


def log_of(context: Any) -> list[dict[str, Any]]:
    return json.loads((context.directory / "training_log.json").read_text())["log"]


def test_a_model_learns_its_answers(inputs: Any, context: Make) -> None:
    from harness.models.checkpoints import load_causal_lm

    run = context("run")
    train_sft(run, params(max_steps=6), **inputs)
    log = log_of(run)
    assert log[-1]["loss"] < log[0]["loss"]
    assert log[-1]["learning_rate"] < 3e-3
    assert run.reports[-1] == (6, 6, "updates")
    assert run.tokens > 0
    model, tokenizer = load_causal_lm(run.directory)
    assert model.config.use_cache
    assert tokenizer.chat_template
    names = {path.name for path in run.directory.iterdir()}
    assert not {"README.md", "training_args.bin"} & names


def test_the_logged_loss_is_the_mean_over_trained_tokens(
    inputs: Any, context: Make, tokenizer: Any
) -> None:
    from harness.models.checkpoints import load_causal_lm
    from harness.models.collate import pad
    from harness.models.logprobs import sequence_logprobs

    for loss_on in ("completion", "all"):
        settings = params(
            loss_on=loss_on, max_steps=1, per_device_batch_size=5, accumulation_steps=2
        )
        train_sft(context(loss_on), settings, **inputs)
        model, _ = load_causal_lm(inputs["model"].path)
        sequences = _sequences(tokenizer, settings, inputs["rows"])
        with torch.no_grad():
            sums, counts = sequence_logprobs(model, pad(sequences, 0))
        expected = float(-sums.sum() / counts.sum())
        assert log_of(context(loss_on))[0]["loss"] == pytest.approx(expected, rel=1e-4)


def test_the_answer_is_labelled_with_its_end_and_cut_last(inputs: Any, tokenizer: Any) -> None:
    plain = _sequences(tokenizer, params(), inputs["rows"])[1]
    assert plain.labels[-1] == tokenizer.eos_token_id
    assert plain.labels.count(IGNORE) == len(plain.input_ids) - 7
    both = _sequences(tokenizer, params(loss_on="all"), inputs["rows"])[1]
    assert both.labels == both.input_ids == plain.input_ids
    short = _sequences(tokenizer, params(max_length=8, max_prompt_length=3), inputs["rows"])[1]
    assert len(short.input_ids) == 8
    assert short.input_ids[0] == tokenizer.bos_token_id
    packed = _sequences(tokenizer, params(max_length=8, packing=True), inputs["rows"])[1]
    assert packed == plain
    listed = _sequences(tokenizer, params(field="responses"), inputs["rows"])[0]
    assert listed.length == len("ab again") + 1


def test_the_released_mask_splits_the_same_ids(inputs: Any, tokenizer: Any) -> None:
    plain = _sequences(tokenizer, params(), inputs["rows"])
    released = _sequences(tokenizer, params(prompt_mask="released"), inputs["rows"])
    assert plain == released  # no token of this tokenizer covers two letters


def test_packing_fills_sequences_to_the_length(inputs: Any, context: Make) -> None:
    settings = params(packing=True, max_length=16, max_steps=None, per_device_batch_size=1)
    train_sft(context("run"), settings, **inputs)
    total = sum(len(s.input_ids) for s in _sequences_of(inputs, settings))
    assert len(log_of(context("run"))) == -(-total // 16)


def _sequences_of(inputs: Any, settings: SftParams) -> Any:
    from harness.models.checkpoints import load_tokenizer

    return _sequences(load_tokenizer(inputs["model"].path), settings, inputs["rows"])


def test_a_killed_run_resumes_to_the_same_bytes(inputs: Any, context: Make) -> None:
    settings = params(save_steps=2, max_steps=4)
    whole, broken = context("whole"), context("broken")
    train_sft(whole, settings, **inputs)

    def killed(done: int, total: int, unit: str = "") -> None:
        if done == 3:
            raise KeyboardInterrupt

    broken.progress = killed
    with pytest.raises(KeyboardInterrupt):
        train_sft(broken, settings, **inputs)
    again = context("broken")
    train_sft(again, settings, **inputs)
    assert [done for done, _, _ in again.reports] == [3, 4]
    logs = [json.loads((c.directory / "training_log.json").read_text()) for c in (whole, again)]
    same = {path.name for path in whole.directory.iterdir()} - {"training_log.json"}
    for name in same:
        assert (whole.directory / name).read_bytes() == (again.directory / name).read_bytes(), name
    assert [e["loss"] for e in logs[0]["log"]] == [e["loss"] for e in logs[1]["log"]]


def test_equal_inputs_give_equal_bytes_and_no_socket_is_opened(
    inputs: Any, context: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a socket was opened")

    # As on a user's machine: nothing in the environment forbids telemetry or the network.
    for variable in ("CI", "HF_HUB_OFFLINE", "HF_HUB_DISABLE_TELEMETRY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", False)
    monkeypatch.setattr("huggingface_hub.utils._telemetry._start_telemetry_thread", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for name in ("one", "two"):
        train_sft(context(name), params(max_steps=2), **inputs)
    assert folder_digest(context("one").directory) == folder_digest(context("two").directory)
    assert constants.HF_HUB_DISABLE_TELEMETRY is False


def test_rows_without_an_answer_and_impossible_limits_are_refused(
    inputs: Any, context: Make, rows_artifact: Make
) -> None:
    with pytest.raises(BadData, match='no text in the field "answer"; it has id, messages'):
        train_sft(context("run"), params(field="answer"), **inputs)
    with pytest.raises(BadData, match="no rows"):
        train_sft(context("run"), params(), **{**inputs, "rows": rows_artifact([], "none")})
    with pytest.raises(BadRecord, match="max_prompt_length below max_length"):
        params(max_prompt_length=48)
