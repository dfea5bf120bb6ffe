"""Supervised training with weights per group of tokens: exact over accumulation."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from harness.core.errors import BadData
from harness.models.tokenize import IGNORE, join
from harness.training.settings import RunSettings
from harness.training.trainer import train
from harness.training.weighted_tokens import (
    WeightedSequence,
    WeightedTokens,
    share_right,
    token_weights,
    weighted_nll,
)
from tests.tiny_models import make_model, make_tokenizer

Make = Callable[..., Any]
ONE, TWO = 1, 2


def rows(count: int = 8) -> list[tuple[WeightedSequence, ...]]:
    """Rows of one or two sequences of different lengths; some have no token of the second group."""
    found = []
    for number in range(count):
        label, text = [10 + number % 3], [20 + number % 5] * (number % 4)
        first = WeightedSequence(
            join([1, 5, 6 + number], label + text), [0, 0, 0, ONE] + [TWO] * len(text)
        )
        more = WeightedSequence(join([1, 7], [30, 2]), [0, 0, TWO, TWO])
        found.append((first, more) if number % 2 else (first,))
    return found


def settings(**changes: Any) -> RunSettings:
    plain: dict[str, Any] = {
        "learning_rate": 1e-3, "scheduler": "constant", "warmup_ratio": 0.0, "max_grad_norm": 0.0,
        "per_device_batch_size": 4, "accumulation_steps": 1,
    }  # fmt: skip
    return RunSettings(**{**plain, **changes})


def run(
    context: Make, name: str, weights: dict[str, float], data: Sequence[Any], **how: Any
) -> tuple[list[dict[str, float]], dict[str, torch.Tensor]]:
    made = context(name)
    objective = WeightedTokens(weights, 0, accuracy_of=("label",))
    train(make_model("llama"), make_tokenizer(), data, objective, settings(**how), made)
    log = json.loads((made.directory / "training_log.json").read_text())["log"]
    return log, load_file(made.directory / "model.safetensors")


def dense_loss(model: Any, data: Sequence[Any], weights: Sequence[float]) -> torch.Tensor:
    """One token after the other, from whole logits."""
    total, count = torch.zeros(()), 0.0
    for each in (sequence for row in data for sequence in row):
        ids = torch.tensor([each.tokens.input_ids])
        logps = model(input_ids=ids).logits[0].log_softmax(-1)
        for place in range(1, len(each.groups)):
            if each.groups[place]:
                weight = weights[each.groups[place] - 1]
                total = total - weight * logps[place - 1, ids[0, place]]
                count += weight
    return total / count


def test_loss_and_gradient_equal_a_plain_loop(context: Make) -> None:
    data = rows(4)
    log, _ = run(context, "one", {"label": 4.0, "text": 0.5}, data)
    model = make_model("llama")
    loss = dense_loss(model, data, [4.0, 0.5])
    loss.backward()
    norm = torch.stack([p.grad.norm() for p in model.parameters()]).norm()
    assert log[0]["loss"] == pytest.approx(loss.item(), rel=1e-5)
    assert log[0]["grad_norm"] == pytest.approx(norm.item(), rel=1e-4)


def test_accumulation_changes_nothing(context: Make) -> None:
    """4 x 1, 2 x 2 and 1 x 4 rows, whose windows have equal tokens and unequal micro-batches."""
    weights = {"label": 4.0, "text": 1.0}
    made = [
        run(
            context, f"{batch}x{steps}", weights, rows(4),
            per_device_batch_size=batch, accumulation_steps=steps, epochs=2,
        )
        for batch, steps in ((4, 1), (2, 2), (1, 4))
    ]  # fmt: skip
    for log, trained in made[1:]:
        for entry, other in zip(log, made[0][0], strict=True):
            assert entry["loss"] == pytest.approx(other["loss"], rel=1e-6)
            assert entry["label/nll"] == pytest.approx(other["label/nll"], rel=1e-5)
        for name, value in trained.items():
            torch.testing.assert_close(value, made[0][1][name], rtol=1e-3, atol=2e-5, msg=name)


def test_a_group_without_weight_is_as_if_it_were_absent(context: Make) -> None:
    data = rows(4)
    only = [
        tuple(
            WeightedSequence(each.tokens, [TWO if g == TWO else 0 for g in each.groups])
            for each in row
        )
        for row in data
    ]
    whole = run(context, "zero", {"label": 0.0, "text": 1.0}, data)[0]
    part = run(context, "absent", {"label": 1.0, "text": 1.0}, only)[0]
    assert whole[0]["loss"] == pytest.approx(part[0]["loss"], rel=1e-6)
    assert whole[0]["grad_norm"] == pytest.approx(part[0]["grad_norm"], rel=1e-5)


def test_rows_without_any_trained_token_have_no_gradient(context: Make) -> None:
    empty = (WeightedSequence(join([1, 5], [6]), [0, 0, 0]),)
    log, trained = run(context, "none", {"label": 1.0, "text": 1.0}, [empty] * 4)
    assert log[0]["loss"] == 0
    assert log[0]["grad_norm"] == 0
    for name, value in make_model("llama").named_parameters():
        torch.testing.assert_close(trained[name], value.detach(), msg=name)


def test_accuracy_is_over_the_whole_vocabulary(context: Make) -> None:
    data = rows(4)
    log, _ = run(context, "one", {"label": 1.0, "text": 1.0}, data)
    model, right = make_model("llama"), 0
    for row in data:
        ids = torch.tensor([row[0].tokens.input_ids])
        at = row[0].groups.index(ONE)
        right += int(model(input_ids=ids).logits[0, at - 1].argmax() == ids[0, at])
    assert log[0]["label/accuracy"] == pytest.approx(right / 4)
    number, of = share_right(torch.tensor([1, 2, 3]), torch.tensor([1, 0, 3]))
    assert (number.item(), of.item()) == (2, 3)


def test_groups_of_padding_first_and_unlabelled_tokens_are_ignored() -> None:
    objective = WeightedTokens({"label": 2.0, "text": 1.0}, pad_id=9)
    odd = WeightedSequence(join([1, 5], [6, 7]), [ONE, TWO, ONE, TWO])
    batch = objective.collate([(odd,), (WeightedSequence(join([1], [6]), [0, ONE]),)])
    assert batch["groups"].tolist() == [[0, 0, ONE, TWO], [0, ONE, 0, 0]]
    assert batch["labels"][1].tolist() == [IGNORE, 6, IGNORE, IGNORE]
    assert objective.counts(batch)["loss"].item() == 5.0
    with pytest.raises(BadData, match="3 groups for 4 tokens"):
        objective.collate([(WeightedSequence(join([1, 5], [6, 7]), [0, 0, ONE]),)])


def test_weights_and_sums() -> None:
    weights = token_weights(torch.tensor([[0, 1, 2]]), [4.0, 0.5])
    assert weights.tolist() == [[0.0, 4.0, 0.5]]
    total, count = weighted_nll(torch.tensor([[-9.0, -1.0, -2.0]]), weights)
    assert (total.item(), count.item()) == (5.0, 4.5)
