"""The trainer: exact over accumulation windows and over processes, for any objective."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from harness.models.tokenize import IGNORE
from harness.training.objective import Batch, Counts, Objective, Sums, linear_ramp
from harness.training.settings import RunSettings
from harness.training.trainer import train
from tests.harness.training.advantage_objective import Advantage, Example, make_examples
from tests.tiny_models import make_model, make_tokenizer

Make = Callable[..., Any]
ROOT = Path(__file__).resolve().parents[3]
GAMMA = 0.4


def settings(**changes: Any) -> RunSettings:
    plain: dict[str, Any] = {
        "learning_rate": 1e-3,
        "scheduler": "constant",
        "warmup_ratio": 0.0,
        "max_grad_norm": 0.0,
        "per_device_batch_size": 2,
        "accumulation_steps": 2,
    }
    return RunSettings(**{**plain, **changes})


def log_of(context: Any) -> list[dict[str, float]]:
    log: list[dict[str, float]] = json.loads((context.directory / "training_log.json").read_text())[
        "log"
    ]
    return log


class Watched(Advantage):
    """Keeps the batches in the order in which they are trained on."""

    def collate(self, examples: Sequence[Example]) -> Batch:
        batch = super().collate(examples)
        seen.append(batch)
        return batch


seen: list[Batch] = []


def dense_sums(model: nn.Module, batch: Batch) -> dict[str, tuple[Tensor, int]]:
    """The terms of `Advantage` one position after the other, from whole logits."""
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    logps, half = logits.log_softmax(-1), len(batch["labels"]) // 2
    found = {name: (torch.zeros(()), 0) for name in ("nll", "kl", "advantage")}

    def add(name: str, value: Tensor) -> None:
        found[name] = (found[name][0] + value, found[name][1] + 1)

    for row, labels in enumerate(batch["labels"]):
        for place in range(len(labels) - 1):
            if (label := labels[place + 1]) == IGNORE:
                continue
            here, ids = logps[row, place], batch["ids"][row, place]
            q, r = batch["teacher"][row, place], batch["reference"][row, place]
            if row < half:
                add("nll", -here[label])
                add("kl", sum(q[n].exp() * (q[n] - here[i]) for n, i in enumerate(ids)))
            else:
                add("advantage", sum(here[i].exp() * (q[n] - r[n]) for n, i in enumerate(ids)))
    return found


def test_a_distribution_level_objective_equals_a_plain_loop(context: Make) -> None:
    """Two windows of two micro-batches, each of another length."""
    seen.clear()
    run = context("run")
    train(make_model("llama"), make_tokenizer(), make_examples(8), Watched(GAMMA), settings(), run)
    log = log_of(run)
    assert len(log) == 2
    assert len(seen) == 4
    assert len({batch["input_ids"].shape[1] for batch in seen}) > 2

    model = make_model("llama")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0)
    for entry, window in zip(log, (seen[:2], seen[2:]), strict=True):
        found = [dense_sums(model, batch) for batch in window]
        means = {
            name: sum(sums[name][0] for sums in found) / sum(sums[name][1] for sums in found)
            for name in found[0]
        }
        loss = means["nll"] + means["kl"] - GAMMA * means["advantage"]
        optimizer.zero_grad()
        loss.backward()
        norm = torch.stack([p.grad.norm() for p in model.parameters()]).norm()
        optimizer.step()
        assert entry["loss"] == pytest.approx(loss.item(), rel=1e-5)
        assert entry["grad_norm"] == pytest.approx(norm.item(), rel=1e-4)
        for name, mean in means.items():  # the advantage is logged without its weight
            assert entry[name] == pytest.approx(mean.item(), rel=1e-4, abs=1e-6), name
    trained = load_file(run.directory / "model.safetensors")
    for name, value in model.named_parameters():
        torch.testing.assert_close(trained[name], value.detach(), rtol=1e-3, atol=2e-5, msg=name)


class Broken(Advantage):
    """Counts a term that it gives no sum of."""

    def counts(self, batch: Batch) -> Counts:
        counts = super().counts(batch)
        return {**counts, "more": counts["nll"]}


def test_terms_and_counts_of_other_names_are_refused(context: Make) -> None:
    message = "Broken gives sums of nll, kl, advantage, but counts of nll, kl, advantage, more"
    with pytest.raises(ValueError, match=message):
        train(
            make_model("llama"),
            make_tokenizer(),
            make_examples(2),
            Broken(GAMMA),
            settings(),
            context("run"),
        )


class Ramp(Objective):
    """One weight that pulls all parameters to zero; half of the batches have no rows to count."""

    def prepare(self, model: nn.Module) -> None:
        """Any model will do."""

    def collate(self, examples: Sequence[int]) -> Batch:
        return {"number": torch.tensor(examples)}

    def counts(self, batch: Batch) -> Counts:
        return {"pull": (batch["number"] > 1).sum()}

    def scheduled(self, step: int, total: int) -> dict[str, float]:
        return {"weight": linear_ramp(step, start=1.0, end=0.0, end_step=total)}

    def sums(
        self, model: nn.Module, batch: Batch, scheduled: Mapping[str, float]
    ) -> tuple[Sums, Sums]:
        size = sum(p.abs().sum() for p in model.parameters())
        rows = (batch["number"] > 1).sum()
        return {"pull": (scheduled["weight"] * rows * size, rows)}, {"size": (size.detach(), rows)}


def test_scheduled_values_are_logged_and_a_term_without_rows_is_zero(context: Make) -> None:
    run = context("run")
    how = settings(per_device_batch_size=1, accumulation_steps=1, epochs=1)
    train(make_model("llama"), make_tokenizer(), [0, 1, 2, 3], Ramp(), how, run)
    log = log_of(run)
    assert [entry["weight"] for entry in log] == [1.0, 0.75, 0.5, 0.25]
    assert sorted(entry["loss"] > 0 for entry in log) == [False, False, True, True]
    for entry in log:
        assert entry["pull"] == pytest.approx(entry["loss"])
        if entry["loss"] > 0:
            assert entry["loss"] == pytest.approx(entry["weight"] * entry["size"], rel=1e-5)
