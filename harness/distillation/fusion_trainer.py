"""transformers.Trainer with the fusion loss, exact over an accumulation window."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import Trainer, TrainingArguments

from harness.distillation.fusion_data import (
    FusionCollator,
    FusionExample,
    Level,
    Packing,
    Piece,
    pack,
)
from harness.distillation.fusion_loss import counted, fusion_sums
from harness.models.heads import check_head, check_packing
from harness.training.preference_trainer import score_in_forward
from harness.training.settings import FusionSettings


class Blocks(Dataset[FusionExample]):
    """Packed blocks, put together when they are asked for from the documents that `load` gives."""

    def __init__(
        self,
        load: Callable[[int], FusionExample],
        plan: Sequence[Sequence[Piece]],
        packing: Packing,
        level: Level,
    ) -> None:
        self.load = load
        self.plan = plan
        self.how = (packing, level)

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, place: int) -> FusionExample:
        return pack(self.load, self.plan[place], *self.how)


class FusionTrainer(Trainer):
    """Minimises lambda L_clm + (1 - lambda) L_fusion, see `fusion_loss`.

    Each mean is over the tokens of a whole accumulation window, so that 2 micro-batches of 4 are
    exactly one batch of 8 however many tokens each has.
    """

    loss_is_scaled_for_ga = True  # compute_loss divides by the tokens of the window itself

    def __init__(
        self,
        model: nn.Module,
        args: TrainingArguments,
        blocks: Blocks,
        *,
        settings: FusionSettings,
        pad_id: int,
    ) -> None:
        check_head(model)
        if blocks.how[0] == "documents":
            check_packing(model)
        score_in_forward(model, self._sums)
        collator = FusionCollator(pad_id, blocks.how[0])
        super().__init__(model=model, args=args, train_dataset=blocks, data_collator=collator)
        self.model_accepts_loss_kwargs = True  # what transformers before 5.19 looks at
        self.settings = settings
        self._window = torch.ones(2)
        self._totals = torch.zeros(4)

    def _sums(self, model: nn.Module, batch: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        share = self.settings.weight(self.state.global_step, max(1, self.state.max_steps))
        sums = fusion_sums(model, batch, self.settings, share)
        return sums.clm, sums.fusion, *sums.plain, sums.clm_count, sums.fusion_count

    def get_batch_samples(
        self, epoch_iterator: Any, num_batches: int, device: torch.device
    ) -> tuple[list[Any], Tensor]:
        """The micro-batches of one update; counts the tokens of both losses in them."""
        batches = super().get_batch_samples(epoch_iterator, num_batches, device)[0]
        counts = [torch.stack([m.sum() for m in counted(b, self.settings)[:2]]) for b in batches]
        window = torch.stack(counts or [torch.zeros(2)]).sum(dim=0).to(device)
        self._window = self.accelerator.reduce(window, "sum").clamp(min=1)
        return batches, self._window[0]

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        clm, fusion, *rest = model(score=inputs)
        self._totals = self._totals.to(clm.device) + torch.stack([x.float() for x in rest])
        window = self._window.to(clm.device)
        # Data-parallel training averages gradients over processes; the window counts all of them.
        loss = (clm / window[0] + fusion / window[1]) * self.accelerator.num_processes
        return (loss, {}) if return_outputs else loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add both losses per token since the last entry, and lambda."""
        if "loss" in logs:
            clm, fusion, n_clm, n_fusion = self.accelerator.reduce(self._totals, "sum").tolist()
            logs["clm"], logs["fusion"] = clm / max(n_clm, 1), fusion / max(n_fusion, 1)
            step, total = self.state.global_step, max(1, self.state.max_steps)
            logs["lm_weight"] = self.settings.weight(max(0, step - 1), total)
            self._totals = torch.zeros(4)
        super().log(logs, start_time)
