"""The trainer of every objective, on transformers.Trainer.

TRL's preference trainers are not used: their collators, reference columns and losses are made for
two responses.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Trainer, TrainingArguments

from harness.engine.operations import Context
from harness.models.rows import check_ids, embedding_rows, tokenizer_ids
from harness.training import runs
from harness.training.adapters import adapt
from harness.training.objective import Batch, Examples, Objective, Sums
from harness.training.parts import Parts
from harness.training.settings import RunSettings
from harness.training.shares import Shared
from harness.training.validation import Validator
from harness.training.weight_files import apart

BLANK = "blank"  # key of a batch whose rows count nothing


def train(
    model: nn.Module,
    tokenizer: Any,
    examples: Examples,
    objective: Objective,
    params: RunSettings,
    context: Context,
    held_out: Examples = (),
    **arguments: Any,
) -> None:
    """Train a model and write checkpoint, tokenizer and training_log.json into the stage's folder.

    Args:
        model: a transformers model, or several as `Parts`, each saved into a folder of its name.
        tokenizer: that of the model; of `Parts`, a mapping by name.
        held_out: examples whose loss is logged, see `harness.training.held_out`.
        arguments: further transformers.TrainingArguments.

    Raises:
        BadData: an example has a token without an embedding row; or as `adapters.adapt` and
            `runs.run_and_save`.
    """
    if not isinstance(model, Parts) and tokenizer_ids(tokenizer) > (rows := embedding_rows(model)):
        sets = (examples, held_out)
        batches = (objective.collate([part[n]]) for part in sets for n in range(len(part)))
        check_ids(tokenizer, rows, (batch["input_ids"].flatten().tolist() for batch in batches))
    model = adapt(model, params)
    settings = runs.training_arguments(
        TrainingArguments, params, context, remove_unused_columns=False, **arguments
    )
    trainer = ObjectiveTrainer(model, settings, examples, objective)
    if params.validation is not None and len(held_out):
        trainer.add_callback(Validator(trainer, objective, held_out, params.validation.points))
    runs.run_and_save(trainer, tokenizer, params, context, len(held_out))


class ObjectiveTrainer(Shared, Trainer):  # type: ignore[misc]
    """Minimises an objective, see `harness.training.objective`."""

    loss_is_scaled_for_ga = True  # compute_loss divides by the counts of the window itself

    def __init__(
        self,
        model: nn.Module,
        arguments: TrainingArguments,
        examples: Examples,
        objective: Objective,
    ) -> None:
        objective.prepare(model)
        _extend_forward(model, self._sums)
        super().__init__(
            model=model, args=arguments, train_dataset=examples, data_collator=objective.collate
        )
        self.model_accepts_loss_kwargs = True  # read by transformers before 5.19
        self.objective = objective
        self._scheduled: dict[str, float] = {}
        self._window: dict[str, Tensor] = {}  # term -> count over the window
        self._totals: dict[str, Tensor] = {}  # name -> (sum, count) since the last log entry
        self.share_rows()

    def counts_nothing(self, batch: Batch) -> Batch:
        """The batch, marked for the methods below."""
        return {**batch, BLANK: torch.zeros(1)}

    def create_optimizer(self, *args: Any, **options: Any) -> torch.optim.Optimizer:
        """The usual optimiser, with the learning rates of the objective for parts of the model."""
        optimizer: torch.optim.Optimizer = super().create_optimizer(*args, **options)
        rates = self.objective.rates()
        names = {id(value): name for name, value in self.model.named_parameters()}

        def rate_of(parameter: Tensor, usual: float) -> float:
            name = names.get(id(parameter), "")
            return next((rate for part, rate in rates.items() if name.startswith(part)), usual)

        groups = []
        for group in optimizer.param_groups if rates else ():
            usual = group["lr"]
            for rate in dict.fromkeys(rate_of(one, usual) for one in group["params"]):
                own = [one for one in group["params"] if rate_of(one, usual) == rate]
                groups.append({**group, "params": own, "lr": rate})
        optimizer.param_groups = groups or optimizer.param_groups
        return optimizer

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """A checkpoint to resume from; tensors that parts share are written once for each name."""
        if state_dict is None and isinstance(self.model, Parts):
            state_dict = apart(self.model.state_dict(), ())
        super()._save(output_dir, state_dict)

    def _sums(self, model: nn.Module, batch: dict[str, Tensor]) -> Any:
        return self.objective.sums(model, batch, self._scheduled)

    def measure(
        self, objective: Objective, batch: Batch, scheduled: Mapping[str, float]
    ) -> tuple[Sums, Sums]:
        """The sums of the objective in the model's forward pass, with other scheduled values."""
        kept, self._scheduled = self._scheduled, dict(scheduled)
        try:
            found: tuple[Sums, Sums] = self.model_wrapped(objective=batch)
        finally:
            self._scheduled = kept
        return found

    def get_batch_samples(
        self, epoch_iterator: Any, num_batches: int, device: torch.device
    ) -> tuple[list[Any], Tensor]:
        """The micro-batches of one update; counts the terms in them, over all processes."""
        batches = super().get_batch_samples(epoch_iterator, num_batches, device)[0]
        self._scheduled = self.objective.scheduled(self.state.global_step, self.state.max_steps)
        found = [self.objective.counts(batch) for batch in batches]
        for counts, batch in zip(found, batches, strict=True):
            if BLANK in batch:
                counts |= {name: torch.zeros_like(count) for name, count in counts.items()}
        if not found:
            return batches, torch.zeros((), device=device)
        names = list(found[0])
        table = torch.stack([torch.stack([counts[name] for name in names]) for counts in found])
        window = self.accelerator.reduce(table.sum(dim=0).to(device), "sum").float()
        self._window = dict(zip(names, _not_zero(window)))
        return batches, window.sum()

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        counted = 0 if inputs.pop(BLANK, None) is not None else 1
        terms, logged = model(objective=inputs)
        if terms.keys() != self._window.keys():
            raise ValueError(
                f"{type(self.objective).__name__} gives sums of {', '.join(terms)}, but counts of "
                f"{', '.join(self._window)}; expected the same terms"
            )
        for name, pair in {**terms, **logged}.items():
            both = torch.stack([value.detach().float() for value in pair]) * counted
            self._totals[name] = self._totals.get(name, 0.0) + both
        loss = sum(total / self._window[name] for name, (total, _) in terms.items())
        # Data-parallel training averages gradients over processes; the window counts all of them.
        loss = loss * self.accelerator.num_processes * counted
        return (loss, {}) if return_outputs else loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add scheduled values, and each term per token or row since the last entry."""
        if "loss" in logs and self._totals:
            totals = self.accelerator.reduce(torch.stack(list(self._totals.values())), "sum")
            logs.update(self._scheduled)
            for name, (total, count) in zip(self._totals, totals):
                logs.setdefault(name, float(total / _not_zero(count)))
            self._totals = {}
        super().log(logs, start_time)


def _not_zero(counts: Tensor) -> Tensor:
    """1 in place of 0: a term without tokens or rows is 0."""
    return counts.masked_fill(counts == 0, 1)


def _extend_forward(
    model: nn.Module, compute: Callable[[nn.Module, dict[str, Tensor]], Any]
) -> None:
    """Let `model(objective=batch)` return `compute(model, batch)`.

    Data-parallel wrappers only see calls that go through the module's forward: calling body and
    head beside it would leave gradients unsynchronised.
    """
    plain = model.forward

    @functools.wraps(plain)
    def forward(*args: Any, objective: dict[str, Tensor] | None = None, **options: Any) -> Any:
        return plain(*args, **options) if objective is None else compute(model, objective)

    model.forward = forward
