"""Batches and sums of a measurement on held-out rows, over one process and several, by hand."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from harness.training.objective import Batch, Counts, Objective, Sums
from harness.training.validation import Validator, undisturbed


class Rows(Objective):
    """Each row is a number; the sum of the numbers is measured with a scheduled weight."""

    def collate(self, examples: Sequence[int]) -> Batch:
        return {"rows": torch.tensor(examples)}

    def counts(self, batch: Batch) -> Counts:
        return {"rows": torch.tensor(len(batch["rows"]))}

    @contextmanager
    def held_out(self, total: int) -> Iterator[Mapping[str, float]]:
        yield {"weight": total / 2}

    def sums(self, model: Any, batch: Batch, scheduled: Mapping[str, float]) -> tuple[Sums, Sums]:
        rows, count = batch["rows"].double(), torch.tensor(len(batch["rows"]))
        none = torch.tensor(0)
        terms = {"rows": (scheduled["weight"] * rows.sum(), count), "none": (none, none)}
        return terms, {"rows": (rows.sum(), count), "squares": ((rows**2).sum(), count)}


class Process:
    """One of several processes; `reduce` adds what the others have."""

    def __init__(self, size: int, processes: int = 1, own: int = 0, others: Any = 0.0) -> None:
        self.model = nn.Linear(1, 1)
        self.args = SimpleNamespace(per_device_train_batch_size=size)
        self.accelerator = SimpleNamespace(
            num_processes=processes, process_index=own, reduce=self.reduce
        )
        self.others = others

    def reduce(self, both: Any, how: str) -> Any:
        assert how == "sum"
        return both + self.others

    def measure(self, objective: Any, batch: Batch, scheduled: Any) -> tuple[Sums, Sums]:
        return objective.sums(self.model, batch, scheduled)

    def _prepare_inputs(self, inputs: dict[str, Any], /) -> dict[str, Any]:
        return inputs


def batches(rows: int, size: int, processes: int, own: int) -> list[tuple[list[int], float]]:
    validator = Validator(Process(size, processes, own), Rows(), range(rows), 3)
    return [(batch["rows"].tolist(), weight) for batch, weight in validator._batches()]


def test_each_process_takes_every_nth_batch_and_repeats_the_last_to_keep_step() -> None:
    assert batches(5, 2, 1, 0) == [([0, 1], 1.0), ([2, 3], 1.0), ([4], 1.0)]
    assert batches(7, 2, 2, 0) == [([0, 1], 1.0), ([4, 5], 1.0)]
    assert batches(7, 2, 2, 1) == [([2, 3], 1.0), ([6], 1.0)]
    assert batches(7, 3, 2, 0) == [([0, 1, 2], 1.0), ([6], 1.0)]
    assert batches(7, 3, 2, 1) == [([3, 4, 5], 1.0), ([6], 0.0)]
    assert batches(2, 2, 3, 2) == [([0, 1], 0.0)]


def test_a_measurement_is_the_mean_over_all_rows_of_all_processes() -> None:
    validator = Validator(Process(2), Rows(), [1, 2, 3, 4, 5], 3)
    assert validator.loss(4) == {"rows": 3.0, "squares": 11.0, "none": 0.0, "loss": 6.0}
    both = Process(2, 2, 1, others=torch.tensor([10.0, 5.0]))
    validator = Validator(both, Rows(), [1, 2, 3, 4, 5], 3)
    # The second process reads 3 and 4, and 5 without its weight; the others' sum is 10 over 5.
    assert validator.loss(2) == pytest.approx(
        {"rows": 17 / 7, "squares": 35 / 7, "none": 2.0, "loss": 17 / 7 + 2.0}
    )


def test_points_are_measured_before_the_first_update_and_when_due() -> None:
    validator = Validator(Process(2), Rows(), [1, 3], 2)
    state = SimpleNamespace(global_step=0, max_steps=4, log_history=[])
    validator.on_train_begin(None, state, None)
    for step in range(1, 5):
        state.global_step = step
        validator.on_step_end(None, state, None)
    assert [entry["step"] for entry in state.log_history] == [0, 2, 4]
    assert state.log_history[0]["validation"]["loss"] == 2 * 2.0
    validator.on_train_begin(None, state, None)  # resumed: the point is in the history
    assert len(state.log_history) == 3


def test_an_error_while_measuring_leaves_modes_and_random_states() -> None:
    model = nn.Sequential(nn.Linear(1, 1), nn.Dropout(0.5))
    model[1].eval()
    random.seed(3)
    np.random.seed(3)
    torch.manual_seed(3)
    expected = random.Random(3).random(), np.random.RandomState(3).rand()
    drawn = torch.rand(1, generator=torch.Generator().manual_seed(3)).item()

    def fails() -> None:
        with undisturbed(model):
            assert not model.training
            random.random(), np.random.rand(), torch.rand(2)
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert (random.random(), np.random.rand(), torch.rand(1).item()) == (*expected, drawn)
    assert [module.training for module in model.modules()] == [True, True, False]
