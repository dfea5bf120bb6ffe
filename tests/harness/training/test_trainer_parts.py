"""Parts of the trainer by themselves: windows, rates, checkpoints to resume from, checks of ids."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainingArguments

from harness.core.errors import BadData
from harness.training import runs
from harness.training.objective import Batch, Counts, Objective, Sums
from harness.training.parts import Parts
from harness.training.settings import RunSettings
from harness.training.trainer import ObjectiveTrainer, _not_zero, train
from tests.tiny_models import make_model, make_tokenizer

Make = Callable[..., Any]
HOW = RunSettings(learning_rate=0.25, weight_decay=0.1, per_device_batch_size=2)


class Two(Objective):
    """Two terms, of which the second counts every other row; rates for parts of the model."""

    def __init__(self, rates: Mapping[str, float] | None = None) -> None:
        self._rates = rates or {}

    def prepare(self, model: Any) -> None: ...

    def rates(self) -> Mapping[str, float]:
        return self._rates

    def collate(self, examples: Any) -> Batch:
        return {"input_ids": torch.tensor([list(each) for each in examples])}

    def counts(self, batch: Batch) -> Counts:
        rows = len(batch["input_ids"])
        return {"one": torch.tensor(rows), "two": torch.tensor(rows // 2)}

    def scheduled(self, step: int, total: int) -> dict[str, float]:
        return {"step": step, "total": total}

    def sums(self, model: Any, batch: Batch, scheduled: Mapping[str, float]) -> tuple[Sums, Sums]:
        total = sum(p.sum() for p in model.parameters())
        counts = self.counts(batch)
        return {name: (total * count, count) for name, count in counts.items()}, {}


def trainer_of(context: Any, model: Any, objective: Objective) -> ObjectiveTrainer:
    arguments = runs.training_arguments(
        TrainingArguments, HOW, context, remove_unused_columns=False
    )
    return ObjectiveTrainer(model, arguments, [[6, 7]] * 4, objective)


def test_a_window_counts_each_term_over_its_batches(context: Make) -> None:
    trainer = trainer_of(context("run"), make_model("llama"), Two())
    trainer.state.global_step, trainer.state.max_steps = 3, 8
    given = [{"input_ids": torch.zeros(rows, 2).long()} for rows in (2, 5)]
    found, total = trainer.get_batch_samples(iter(given), 2, torch.device("cpu"))
    assert [len(batch["input_ids"]) for batch in found] == [2, 5]
    assert {name: value.item() for name, value in trainer._window.items()} == {"one": 7, "two": 3}
    assert total.item() == 10
    assert trainer._scheduled == {"step": 3, "total": 8}
    found, total = trainer.get_batch_samples(iter([]), 2, torch.device("meta"))
    assert (found, total.device.type) == ([], "meta")
    assert trainer.get_batch_samples(iter([]), 2, torch.device("cpu"))[1].item() == 0


def test_a_count_of_zero_divides_by_one() -> None:
    assert _not_zero(torch.tensor([0.0, 1.0, 3.0])).tolist() == [1.0, 1.0, 3.0]


def test_parts_of_a_model_have_the_rates_of_the_first_name_that_fits(context: Make) -> None:
    model = make_model("llama")
    names = {id(value): name for name, value in model.named_parameters()}
    rates = {"model.layers.0.mlp": 0.5, "model.layers.0": 0.125, "lm_head": 0.25}
    optimizer = trainer_of(context("run"), model, Two(rates)).create_optimizer()
    found = {names[id(p)]: (g["lr"], g["weight_decay"]) for g in optimizer.param_groups
             for p in g["params"]}  # fmt: skip
    assert found.keys() == set(names.values())
    for name, (rate, decay) in found.items():
        fits = [each for start, each in rates.items() if name.startswith(start)]
        assert rate == (fits[0] if fits else 0.25), name
        assert decay == (0.0 if "norm" in name else 0.1), name
    plain = trainer_of(context("plain"), make_model("llama"), Two()).create_optimizer()
    assert {group["lr"] for group in plain.param_groups} == {0.25}
    assert len(plain.param_groups) == 2


def test_parts_that_share_a_tensor_can_be_resumed_from(context: Make, tmp_path: Path) -> None:
    parts = Parts({"one": make_model("llama"), "two": make_model("llama")})
    parts["two"].lm_head = parts["one"].lm_head
    trainer_of(context("run"), parts, Two())._save(str(tmp_path / "saved"))
    state = load_file(tmp_path / "saved" / "model.safetensors")
    heads = [state[f"models.{name}.lm_head.weight"] for name in ("one", "two")]
    assert torch.equal(*heads)
    given = {"a": torch.ones(2)}
    trainer_of(context("other"), parts, Two())._save(str(tmp_path / "given"), given)
    assert load_file(tmp_path / "given" / "model.safetensors").keys() == {"a"}


@pytest.mark.parametrize("held_out", [False, True])
def test_ids_beyond_the_embedding_are_refused_before_training(
    held_out: bool, context: Make
) -> None:
    """The tokenizer has an id more than the model has rows."""
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(["<new>"])
    good, bad = [[6, 7]] * 2, [[6, 7], [6, 43]]
    parts = (good, bad) if held_out else (bad, good)
    run = context("run")
    with pytest.raises(BadData, match=r"<new>.*43"):
        train(make_model("llama"), tokenizer, parts[0], Two(), HOW, run, parts[1])
    assert run.reports == []
    train(make_model("llama"), tokenizer, good, Two(), HOW, run, good)
    assert run.reports == [(1, 1, "updates")]
    assert "validation" not in (run.directory / "training_log.json").read_text()


def test_a_loss_is_returned_with_outputs_on_request(context: Make) -> None:
    model = make_model("llama")
    trainer = trainer_of(context("run"), model, Two())
    given = {"input_ids": torch.zeros(4, 2).long()}
    trainer.get_batch_samples(iter([given]), 1, torch.device("cpu"))
    trainer.model.zero_grad()
    loss = trainer.compute_loss(trainer.model, given)
    total = sum(p.sum() for p in model.parameters())
    assert loss.item() == pytest.approx(2 * total.item(), rel=1e-5)
    again, outputs = trainer.compute_loss(trainer.model, given, return_outputs=True)
    assert (again.item(), outputs) == (loss.item(), {})
