"""Training with teachers against a plain loop: divisors, lambda of each update, gradients."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from harness.distillation.fusion_data import FusionExample
from harness.distillation.fusion_objective import FusionObjective
from harness.distillation.operations import TrainFusionParams, train_fusion
from harness.distillation.settings import FusionSettings
from harness.training.objective import Batch
from harness.training.settings import RunSettings
from harness.training.trainer import train
from tests.tiny_models import make_model, make_tokenizer

Make = Callable[..., Any]
WORDS = 43


def examples() -> list[FusionExample]:
    """Eight documents of 5 to 12 tokens, two teachers of three entries; some steps are empty."""
    generator = np.random.default_rng(5)
    made = []
    for number in range(8):
        length = 5 + number
        ids = generator.integers(6, WORDS, length)
        labels = ids.copy()
        labels[: 1 + number % 4] = -100
        logps = np.log(generator.dirichlet(np.ones(4), (length, 2))[..., :3]).astype(np.float16)
        words = np.stack([
            [generator.permutation(WORDS)[:3] for _ in range(2)] for _ in range(length)
        ])  # fmt: skip
        logps[2, 1] = -np.inf  # the base's entries are taken
        logps[3] = -np.inf  # nothing to learn from
        ce = np.broadcast_to(generator.random(2).astype(np.float32), (length, 2))
        made.append(FusionExample(ids, labels, np.arange(length), logps, words, ce))
    return made


seen: list[Batch] = []


class Watched(FusionObjective):
    """Keeps the batches in the order in which they are trained on."""

    def collate(self, examples: Sequence[FusionExample]) -> Batch:
        seen.append(super().collate(examples))
        return seen[-1]


def plain_sums(model: Any, batch: Batch, everywhere: bool) -> tuple[Any, int, Any, int]:
    """Both losses of a batch, one position after the other, with their numbers of positions."""
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    logps = logits.log_softmax(-1)
    clm, fusion, tokens, positions = torch.zeros(()), torch.zeros(()), 0, 0
    for row, mask in enumerate(batch["attention_mask"]):
        length = int(mask.sum())
        for t in range(length):
            label = int(batch["labels"][row, t + 1]) if t + 1 < length else -100
            if label != -100:
                clm, tokens = clm - logps[row, t, label], tokens + 1
            best = int(batch["teacher_ce"][row, t].argmin())
            values = batch["teacher_logps"][row, t]
            if values[best].max() == -torch.inf:
                best = 0
            if values[best].max() == -torch.inf or not (everywhere or label != -100):
                continue
            target = values[best].exp() / values[best].exp().sum()
            words = batch["teacher_ids"][row, t, best]
            fusion, positions = fusion - (target * logps[row, t, words]).sum(), positions + 1
    return clm, tokens, fusion, positions


@pytest.mark.parametrize("positions", ["scored", "all"])
def test_training_is_that_of_a_plain_loop(positions: str, context: Make) -> None:
    """Two updates of two micro-batches each; lambda rises from 0.6 to 1 over them."""
    seen.clear()
    settings = FusionSettings(lm_weight=0.6, weighting="decay", positions=positions)
    run = RunSettings(
        learning_rate=1e-3, scheduler="constant", warmup_ratio=0.0, max_grad_norm=0.0,
        per_device_batch_size=2, accumulation_steps=2,
    )  # fmt: skip
    stage, objective = context("run"), Watched(settings, "none", 0)
    train(make_model("llama"), make_tokenizer(), examples(), objective, run, stage)
    log = json.loads((stage.directory / "training_log.json").read_text())["log"]
    assert (len(log), len(seen)) == (2, 4)
    model = make_model("llama")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0)
    for entry, window, share in zip(log, (seen[:2], seen[2:]), (0.6, 0.8), strict=True):
        found = [plain_sums(model, batch, positions == "all") for batch in window]
        clm, tokens, fusion, places = (sum(column) for column in zip(*found, strict=True))
        assert tokens != places
        loss = share * clm / tokens + (1 - share) * fusion / places
        optimizer.zero_grad()
        loss.backward()
        norm = torch.stack([p.grad.norm() for p in model.parameters()]).norm()
        optimizer.step()
        assert entry["lm_weight"] == pytest.approx(share)
        assert entry["clm"] == pytest.approx((clm / tokens).item(), rel=1e-5)
        assert entry["fusion"] == pytest.approx((fusion / places).item(), rel=1e-5)
        assert entry["loss"] == pytest.approx(loss.item(), rel=1e-5)
        assert entry["grad_norm"] == pytest.approx(norm.item(), rel=1e-4)


def test_lambda_begins_at_its_weight_and_would_be_one_after_the_last_update() -> None:
    decay = FusionSettings(weighting="decay", lm_weight=0.5)
    assert [decay.weight(step, 5) for step in range(6)] == pytest.approx(
        [0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    )
    objective = FusionObjective(decay, "none", 0)
    assert objective.scheduled(2, 5) == {"lm_weight": pytest.approx(0.7)}
    assert FusionSettings(weighting="decay").weight(0, 5) == 0.9
    for kind in ("fixed", "soft"):
        assert FusionSettings(weighting=kind, lm_weight=0.5).weight(3, 5) == 0.5


@pytest.fixture
def moments() -> Iterator[list[tuple[float, float]]]:
    """The decay rates of both moments of Adam, of each update."""
    found: list[tuple[float, float]] = []
    handle = register_optimizer_step_pre_hook(
        lambda optimizer, *_: found.append(optimizer.param_groups[0]["betas"])
    )
    yield found
    handle.remove()


def test_the_second_moment_decays_as_the_settings_say(
    moments: list[tuple[float, float]], rows_artifact: Make, checkpoint: Make, context: Make
) -> None:
    corpus = rows_artifact([{"id": "a", "text": "abc def"}])
    for number, more in enumerate(({}, {"adam_beta2": 0.9})):
        params = TrainFusionParams(learning_rate=1e-3, max_steps=1, **more)
        train_fusion(context(f"{number}"), params, corpus=corpus, model=checkpoint("llama"))
    assert moments == [(0.9, 0.999), (0.9, 0.9)]
