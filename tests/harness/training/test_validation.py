"""The loss of held-out rows: right, and without a trace in the training."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.core.records import parse
from harness.engine.operations import Artifact, Row
from harness.training.held_out import prompt_key, split
from harness.training.preference_operations import (
    ReferenceLogpsParams,
    TrainPreferenceParams,
    reference_logps,
    train_preference,
)
from harness.training.settings import RunSettings
from harness.training.sft import SftParams, train_sft
from harness.training.sft_trainer import packed
from harness.training.trainer import train
from harness.training.validation import undisturbed
from tests.harness.training.advantage_objective import Advantage, make_examples
from tests.tiny_models import make_model, make_tokenizer

Make = Callable[..., Any]
ROOT = Path(__file__).resolve().parents[3]
VALIDATION = {"share": 0.25, "points": 3}
PLAIN = {"learning_rate": 3e-3, "max_steps": 6, "per_device_batch_size": 3}
SFT = {**PLAIN, "max_length": 48, "field": "sft"}
DPO = {**PLAIN, "max_length": 64, "max_prompt_length": 32}


@pytest.fixture
def rows(preference_rows: list[Row]) -> list[Row]:
    """Two rows for each of 12 prompts."""
    return [
        {**row, "id": f"{row['id']}-{n}", "sft": row["responses"]["source"] + " x" * n}
        for row in preference_rows
        for n in range(2)
    ]


def left(rows: list[Row], validation: bool) -> list[Row]:
    """The rows that are trained, or those that are held out."""
    how = parse(RunSettings, {"learning_rate": 1, "validation": VALIDATION}, "test")
    return split([prompt_key(row) for row in rows], how).of(rows)[validation]


def read(context: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((context.directory / "training_log.json").read_text())
    return found


def weights(context: Any) -> bytes:
    found: bytes = (context.directory / "model.safetensors").read_bytes()
    return found


def dpo_of(rows: list[Row], rows_artifact: Make, model: Artifact, context: Make) -> dict[str, Any]:
    written = rows_artifact(rows, f"rows-{len(rows)}")
    limits = {name: DPO[name] for name in ("max_length", "max_prompt_length")}
    how = parse(ReferenceLogpsParams, limits, "test")
    made = [
        row
        for batch in reference_logps(
            context("ref"), how, [rows[n : n + 4] for n in range(0, len(rows), 4)],
            rows=written, model=model,
        )
        for row in batch
    ]  # fmt: skip
    return {
        "rows": written,
        "model": model,
        "reference": rows_artifact(made, f"ref-{len(rows)}"),
    }


def test_sft_trains_as_if_the_rows_had_been_removed(
    rows: list[Row], rows_artifact: Make, checkpoint: Make, context: Make
) -> None:
    model = checkpoint("llama")
    with_curve, by_hand = context("with"), context("without")
    on = parse(SftParams, {**SFT, "validation": VALIDATION}, "test")
    train_sft(with_curve, on, rows=rows_artifact(rows, "all"), model=model)
    trained = rows_artifact(left(rows, False), "left")
    train_sft(by_hand, parse(SftParams, SFT, "test"), rows=trained, model=model)
    assert weights(with_curve) == weights(by_hand)
    found = read(with_curve)
    assert found["log"] == read(by_hand)["log"]
    assert "validation" not in read(by_hand)
    assert found["validation"]["rows"] == 6
    points = found["validation"]["points"]
    assert [point["step"] for point in points] == [0, 2, 4, 6]
    assert points[-1]["loss"] < points[0]["loss"]
    assert set(points[0]) == {"step", "loss", "mean_token_accuracy"}


def test_preference_training_logs_accuracy_and_margins(
    rows: list[Row], rows_artifact: Make, checkpoint: Make, context: Make
) -> None:
    inputs = dpo_of(rows, rows_artifact, checkpoint("llama"), context)
    with_curve, by_hand = context("with"), context("without")
    on = parse(TrainPreferenceParams, {**DPO, "validation": VALIDATION}, "test")
    train_preference(with_curve, on, **inputs)
    trained = rows_artifact(left(rows, False), "left")
    off = parse(TrainPreferenceParams, DPO, "test")
    train_preference(by_hand, off, **{**inputs, "rows": trained})
    assert weights(with_curve) == weights(by_hand)
    found = read(with_curve)
    assert found["log"] == read(by_hand)["log"]
    first, *_, last = found["validation"]["points"]
    assert first["loss"] == pytest.approx(np.log(2), abs=1e-5)  # policy and reference are equal
    assert first["margins"] == pytest.approx(0, abs=1e-4)
    assert {"accuracy", "rewards/target", "logps/rejected"} <= set(last)
    assert last["loss"] < first["loss"]


def test_the_last_point_is_the_loss_of_the_trained_model(
    rows: list[Row], rows_artifact: Make, checkpoint: Make, context: Make
) -> None:
    from harness.models.checkpoints import load_causal_lm
    from harness.models.logprobs import sequence_logprobs
    from harness.models.tokenize import tokenize_row

    inputs = dpo_of(rows, rows_artifact, checkpoint("llama"), context)
    run = context("run")
    train_preference(
        run, parse(TrainPreferenceParams, {**DPO, "validation": VALIDATION}, "test"), **inputs
    )
    model, tokenizer = load_causal_lm(run.directory)
    frozen = {row["id"]: row["logps"] for row in inputs["reference"].rows()}
    losses = []
    for row in left(rows, True):
        gaps = []
        for name in ("target", "rejected"):
            ids = tokenize_row(
                tokenizer, row, ["target", "rejected", "source"], max_length=64,
                max_prompt_length=32,
            )[name]  # fmt: skip
            batch = {
                "input_ids": torch.tensor([ids.input_ids]),
                "attention_mask": torch.ones(1, len(ids.input_ids), dtype=torch.long),
                "labels": torch.tensor([ids.labels]),
            }
            with torch.no_grad():
                logp = sequence_logprobs(model, batch)[0].item()
            gaps.append(logp - frozen[row["id"]][name])
        losses.append(np.log1p(np.exp(-0.1 * (gaps[0] - gaps[1]))))
    assert read(run)["validation"]["points"][-1]["loss"] == pytest.approx(np.mean(losses), rel=1e-4)


def test_a_killed_run_has_the_whole_curve(
    rows: list[Row], rows_artifact: Make, checkpoint: Make, context: Make
) -> None:
    inputs = dpo_of(rows, rows_artifact, checkpoint("llama"), context)
    how = {**DPO, "validation": VALIDATION, "save_steps": 3}
    settings = parse(TrainPreferenceParams, how, "test")
    whole, broken = context("whole"), context("broken")
    train_preference(whole, settings, **inputs)
    report = broken.progress

    def killed(done: int, total: int, unit: str = "") -> None:
        if done == 5:
            raise KeyboardInterrupt
        report(done, total, unit)

    broken.progress = killed
    with pytest.raises(KeyboardInterrupt):
        train_preference(broken, settings, **inputs)
    broken.progress = report
    train_preference(broken, settings, **inputs)
    assert broken.reports[-1] == (6, 6, "updates")
    assert read(broken) == read(whole)
    assert weights(broken) == weights(whole)


def test_a_run_past_its_best_point_is_noted(
    rows: list[Row], rows_artifact: Make, checkpoint: Make, context: Make
) -> None:
    """Answers that have nothing to do with their prompts are learnt by heart."""
    letters = random.Random(0)
    nonsense = [{**row, "sft": "".join(letters.choices("abcdefghij", k=12))} for row in rows]
    run = context("run")
    how = {**SFT, "validation": VALIDATION, "max_steps": 60, "learning_rate": 3e-2}
    train_sft(
        run, parse(SftParams, how, "test"), rows=rows_artifact(nonsense), model=checkpoint("llama")
    )
    (note,) = [text for text in run.notes if "held-out" in text]
    points = read(run)["validation"]["points"]
    best = min(points, key=lambda point: point["loss"])
    assert f"update {best['step']} of 60" in note or best["step"] == 0
    assert f"{100 * (points[-1]['loss'] / best['loss'] - 1):.0f} % higher" in note


def test_packed_rows_are_held_out_in_pieces(
    rows: list[Row], rows_artifact: Make, checkpoint: Make, context: Make
) -> None:
    from harness.models.tokenize import TokenSequence

    run = context("run")
    how = parse(SftParams, {**SFT, "packing": True, "validation": VALIDATION}, "test")
    train_sft(run, how, rows=rows_artifact(rows), model=checkpoint("llama"))
    assert [point["step"] for point in read(run)["validation"]["points"]] == [0, 2, 4, 6]
    pieces = packed([TokenSequence([1, 2, 3], [-100, 2, 3]), TokenSequence([4], [4])], 3)
    assert pieces == [TokenSequence([1, 2, 3], [-100, 2, 3]), TokenSequence([4], [4])]


def test_measuring_leaves_modes_and_random_states() -> None:
    model = make_model("llama")
    model.model.layers[0].eval()
    modes = [module.training for module in model.modules()]

    def drawn() -> list[float]:
        return [random.random(), float(np.random.rand()), torch.rand(1).item()]

    def start() -> None:
        random.seed(1)
        np.random.seed(1)
        torch.manual_seed(1)

    start()
    expected = drawn()
    start()
    with undisturbed(model):
        assert not any(module.training for module in model.modules())
        assert not torch.is_grad_enabled()
        drawn()
    assert drawn() == expected
    assert [module.training for module in model.modules()] == modes


def test_weighted_terms_add_up_to_the_loss(context: Make) -> None:
    """Terms with counts of their own, in batches that the rows do not fill."""
    examples, tokenizer = make_examples(12), make_tokenizer()
    run = context("run")
    how = parse(RunSettings, {**PLAIN, "validation": VALIDATION}, "test")
    train(make_model("llama"), tokenizer, examples[:7], Advantage(0.4), how, run, examples[7:])
    point = read(run)["validation"]["points"][0]
    model = make_model("llama")
    objective = Advantage(0.4)
    with torch.no_grad():
        terms, _ = objective.sums(model, objective.collate(examples[7:]), {})
    expected = sum((total / count).item() for total, count in terms.values())
    assert point["loss"] == pytest.approx(expected, rel=1e-4)
    # The advantage is logged without its weight.
    assert point["loss"] == pytest.approx(
        point["nll"] + point["kl"] - 0.4 * point["advantage"], rel=1e-5
    )
