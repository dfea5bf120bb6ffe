"""Preference optimisation as an objective: batches, sums, and reference log-probabilities."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.core.errors import BadData
from harness.models.logprobs import dense_logprobs
from harness.models.tokenize import TokenSequence, join
from harness.training.losses import get_loss, loss_settings
from harness.training.preference import (
    PreferenceExample,
    PreferenceObjective,
    by_row,
    disable_dropout,
    references_of,
)
from tests.golden_vectors import vectors

COLUMNS = ("chosen0", "chosen1", "rejected0")


def objective(responses: int, loss: str = "dpo", pad_id: int = 0) -> PreferenceObjective:
    names = tuple(f"r{number}" for number in range(responses))
    return PreferenceObjective(get_loss(loss), loss_settings(loss, {}), names, pad_id)


def test_golden_stacking(golden: Callable[[str], Path]) -> None:
    for case in vectors(golden("wrpo/concatenated_inputs.json"))["cases"]:
        inputs, out = case["inputs"], case["outputs"]
        rows = range(len(inputs["prompt"]))
        examples = [
            PreferenceExample(
                tuple(
                    TokenSequence(inputs[f"{c}_input_ids"][row], inputs[f"{c}_labels"][row])
                    for c in COLUMNS
                )
            )
            for row in rows
        ]
        batch = objective(3, pad_id=case["padding_value"]).collate(examples)
        for key in ("input_ids", "attention_mask", "labels"):
            assert batch[key].tolist() == out[f"concatenated_{key}"], case["name"]


def test_any_number_of_responses_with_references() -> None:
    examples = [
        PreferenceExample(
            tuple(join([1, 2], [10 * row + k] * (k + 1)) for k in range(4)), (0.5, 1.0, 1.5, row)
        )
        for row in range(3)
    ]
    batch = objective(4, pad_id=9).collate(examples)
    assert batch["input_ids"].shape == (12, 6)
    assert batch["reference"].tolist() == [[0.5, 1.0, 1.5, row] for row in range(3)]
    first = by_row(batch["input_ids"][:, 2], 4)
    assert first.tolist() == [[10 * row + k for k in range(4)] for row in range(3)]


def test_rows_of_different_width_are_refused() -> None:
    one, two = join([1], [2]), join([1], [3])
    with pytest.raises(ValueError):
        objective(2).collate([PreferenceExample((one, two)), PreferenceExample((one,))])


def test_references_over_other_tokens_are_refused() -> None:
    sequences = {"a": join([1, 2], [3, 4, 5])}
    good = {"id": "r", "logps": {"a": -1.5}, "lengths": {"a": 3}}
    assert references_of(good, ["a"], sequences) == (-1.5,)
    with pytest.raises(BadData, match="over 4 tokens, but 3 are trained on"):
        references_of({**good, "lengths": {"a": 4}}, ["a"], sequences)


@pytest.mark.parametrize("loss", ["dpo", "wrpo", "simpo"])
def test_sums_are_those_of_the_loss_on_whole_logits(loss: str, model_of: Any) -> None:
    model, width = model_of("llama"), len(get_loss(loss).responses)
    examples = [
        PreferenceExample(
            tuple(join([7, 8], [9 + row, *range(3, 4 + k + row)]) for k in range(width)),
            None if loss == "simpo" else tuple(-10.0 - k - row for k in range(width)),
        )
        for row in range(3)
    ]
    made = objective(width, loss)
    batch = made.collate(examples)
    scheduled = made.scheduled(1, 4)
    terms, logged = made.sums(model, batch, scheduled)
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    logps = by_row(dense_logprobs(logits, batch["labels"]), width)
    lengths = by_row((batch["labels"][:, 1:] != -100).sum(1), width)
    losses, metrics = made.loss(
        logps, batch.get("reference"), lengths, settings=made.settings, **scheduled
    )
    assert scheduled == ({"alpha": 0.025} if loss == "wrpo" else {})
    assert made.counts(batch) == {"loss": torch.tensor(3)}
    total, count = terms["loss"]
    torch.testing.assert_close(total, losses.sum())
    assert count == 3
    for name, expected in (
        ("margins", metrics["margins"]),
        ("accuracy", metrics["accuracy"]),
        ("rewards/r0", metrics["rewards"][:, 0]),
        (f"logps/r{width - 1}", logps[:, -1]),
        (f"lengths/r{width - 1}", lengths[:, -1]),
    ):
        torch.testing.assert_close(logged[name][0], expected.sum().detach())
        assert logged[name][1] == 3
    assert not logged["margins"][0].requires_grad


def test_dropout_is_off_while_preferences_are_trained() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Dropout(0.5))
    disable_dropout(model)
    x = torch.ones(1, 4)
    assert torch.equal(model.train()(x), model(x))
