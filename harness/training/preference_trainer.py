"""One trainer for every preference loss with any number of responses.

Built on transformers.Trainer rather than on TRL's DPOTrainer, whose collator, reference columns
and losses are all made for two responses. Reference log-probabilities come precomputed with the
rows, so that no second model is held and half of the forward passes disappear.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import Trainer, TrainingArguments

from harness.models.collate import PreferenceCollator, PreferenceExample, by_row
from harness.models.heads import check_head
from harness.models.logprobs import sequence_logprobs
from harness.training.losses import PreferenceLoss
from harness.training.settings import LossSettings


class Examples(Dataset[PreferenceExample]):
    """Rows in memory, as the trainer wants them."""

    def __init__(self, examples: Sequence[PreferenceExample]) -> None:
        self.examples = examples

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, place: int) -> PreferenceExample:
        return self.examples[place]


class PreferenceTrainer(Trainer):
    """Minimises the mean of a preference loss over prompts.

    The mean is over the prompts of a whole accumulation window, so that 2 micro-batches of 4 are
    exactly one batch of 8, also where the last window of an epoch is smaller. The weight alpha is
    a function of finished updates and is logged at each, in static mode too.

    Args:
        responses: names of the columns, for the log.
    """

    loss_is_scaled_for_ga = True  # compute_loss divides by the rows of the window itself

    def __init__(
        self,
        model: nn.Module,
        args: TrainingArguments,
        examples: Sequence[PreferenceExample],
        *,
        loss: PreferenceLoss,
        settings: LossSettings,
        responses: Sequence[str],
        pad_id: int,
    ) -> None:
        check_head(model)
        disable_dropout(model)
        score_in_forward(model)
        super().__init__(
            model=model,
            args=args,
            train_dataset=Examples(examples),
            data_collator=PreferenceCollator(pad_id),
        )
        self.model_accepts_loss_kwargs = True  # what transformers before 5.19 looks at
        self.preference_loss = loss
        self.settings = settings
        self.responses = tuple(responses)
        self._alpha = settings.alpha(0, 1)
        self._totals: dict[str, Tensor] = {}

    def get_batch_samples(
        self, epoch_iterator: Any, num_batches: int, device: torch.device
    ) -> tuple[list[Any], Tensor]:
        """The micro-batches of one update, and the number of prompts in them on all processes."""
        batches = super().get_batch_samples(epoch_iterator, num_batches, device)[0]
        sequences = sum(len(batch["input_ids"]) for batch in batches)
        rows = torch.tensor(sequences // len(self.responses), device=device)
        return batches, self.accelerator.reduce(rows, "sum")

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        reference = inputs.pop("reference", None)
        sums, counts = model(score=inputs)
        columns = len(self.responses)
        logps, lengths = by_row(sums, columns), by_row(counts, columns)  # (B, K)
        self._alpha = self.settings.alpha(self.state.global_step, self.state.max_steps)
        losses, metrics = self.preference_loss.function(
            logps, reference, lengths, alpha=self._alpha, settings=self.settings
        )
        self._record(logps.detach(), lengths, metrics)
        rows = len(losses) if num_items_in_batch is None else num_items_in_batch
        # Data-parallel training averages gradients over processes; `rows` counts all of them.
        loss = losses.sum() / rows * self.accelerator.num_processes
        return (loss, metrics) if return_outputs else loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add alpha and the means over the prompts since the last entry."""
        if "loss" in logs and self._totals:
            sums = {k: self.accelerator.reduce(v, "sum") for k, v in self._totals.items()}
            rows = sums.pop("rows")
            logs["alpha"] = self._alpha
            logs.update({key: float(value / rows) for key, value in sums.items()})
            self._totals = {}
        super().log(logs, start_time)

    def _record(self, logps: Tensor, lengths: Tensor, metrics: dict[str, Tensor]) -> None:
        found = {
            "rows": torch.tensor(float(len(logps)), device=logps.device),
            "margins": metrics["margins"].sum(),
            "accuracy": metrics["accuracy"].sum(),
        }
        for place, name in enumerate(self.responses):
            found[f"rewards/{name}"] = metrics["rewards"][:, place].sum()
            found[f"logps/{name}"] = logps[:, place].sum()
            found[f"lengths/{name}"] = lengths[:, place].sum().to(logps.dtype)
        for key, value in found.items():
            self._totals[key] = self._totals.get(key, 0.0) + value.detach()


def score_in_forward(
    model: nn.Module, scorer: Callable[[nn.Module, dict[str, Tensor]], Any] = sequence_logprobs
) -> None:
    """Let `model(score=batch)` return `scorer(model, batch)`.

    Data-parallel wrappers only see calls that go through the module's forward: calling body and
    head beside it would leave gradients unsynchronised.
    """
    plain = model.forward

    @functools.wraps(plain)
    def forward(*args: Any, score: dict[str, Tensor] | None = None, **options: Any) -> Any:
        return plain(*args, **options) if score is None else scorer(model, score)

    model.forward = forward


def disable_dropout(model: nn.Module) -> None:
    """Policy and reference must agree before the first update."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = 0.0
