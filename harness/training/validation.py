"""Measures the loss of held-out rows during a training, without a trace in the training.

Dropout is off, no gradient is kept, random states and the modes of all modules are put back, and
batches are not drawn but taken in order. Over several processes each takes every n-th batch; all
run equally many forward passes, because wrappers of the model communicate in each.

The points are part of the trainer's history, which its checkpoints contain, so that a training that
was killed and resumed has the whole curve.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from transformers import TrainerCallback

from harness.training.held_out import POINT, due
from harness.training.objective import Batch, Examples, Objective, Sums


class Measuring(Protocol):
    """What validation asks of a transformers.Trainer."""

    model: Any
    args: Any
    accelerator: Any

    def measure(
        self, objective: Objective, batch: Batch, scheduled: Mapping[str, float]
    ) -> tuple[Sums, Sums]:
        """The sums of an objective, as its `sums`, through the wrapped model."""

    def _prepare_inputs(self, inputs: dict[str, Any], /) -> dict[str, Any]:
        """The batch on the device of the model."""


class Validator(TrainerCallback):
    """Adds the loss of held-out rows to the history, before the first update and at `points`.

    Args:
        objective: of the training, or one with the same loss.
        examples: held-out rows, not empty.
    """

    def __init__(
        self, trainer: Measuring, objective: Objective, examples: Examples, points: int
    ) -> None:
        self.trainer, self.objective = trainer, objective
        self.examples, self.points = examples, points

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if not state.global_step:
            self._add(state)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step in due(state.max_steps, self.points):
            self._add(state)

    def _add(self, state: Any) -> None:
        found = self.loss(state.max_steps)
        state.log_history.append({POINT: found, "step": state.global_step})

    def loss(self, total: int) -> dict[str, float]:
        """The loss of the held-out rows as the objective logs it: each term over all their rows.

        Args:
            total: updates of the whole run.
        """
        sums: dict[str, Tensor] = {}
        shown: dict[str, Tensor] = {}
        with undisturbed(self.trainer.model), self.objective.held_out(total) as scheduled:
            for batch, counts in self._batches():
                terms, logged = self.trainer.measure(self.objective, batch, scheduled)
                for table, found in ((sums, terms), (shown, {**terms, **logged})):
                    for name, pair in found.items():
                        both = torch.stack([value.detach().double() for value in pair]) * counts
                        table[name] = table.get(name, torch.zeros_like(both)) + both
        loss = math.fsum(self._mean(both) for both in sums.values())
        means = {name: self._mean(both) for name, both in shown.items()}
        return means | {"loss": loss}

    def _mean(self, both: Tensor) -> float:
        total, count = self.trainer.accelerator.reduce(both, "sum").tolist()
        return float(total / count) if count else 0.0

    def _batches(self) -> Iterator[tuple[Batch, float]]:
        """This process's batches, with 1, or 0 for one that only keeps step with the others."""
        trainer, size = self.trainer, self.trainer.args.per_device_train_batch_size
        starts = range(0, len(self.examples), size)
        processes, own = trainer.accelerator.num_processes, trainer.accelerator.process_index
        for first in range(0, len(starts), processes):
            place = min(first + own, len(starts) - 1)
            rows = range(starts[place], min(starts[place] + size, len(self.examples)))
            batch = self.objective.collate([self.examples[row] for row in rows])
            yield trainer._prepare_inputs(dict(batch)), float(first + own < len(starts))


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; afterwards modes and random states are as before."""
    modes = [(module, module.training) for module in model.modules()]
    states = random.getstate(), np.random.get_state()
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    try:
        with torch.random.fork_rng(devices=devices), torch.no_grad():
            model.eval()
            yield
    finally:
        for module, training in modes:
            module.training = training
        random.setstate(states[0])
        np.random.set_state(states[1])
