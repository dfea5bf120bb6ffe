"""Explicit fusion as a training objective."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from harness.distillation.fusion_data import FusionCollator, FusionExample, Packing
from harness.distillation.fusion_loss import counted, fusion_sums
from harness.distillation.settings import FusionSettings
from harness.models.heads import check_packing
from harness.training.objective import Batch, Counts, Objective, Sums


@dataclass(frozen=True)
class FusionObjective(Objective):
    """lambda L_clm + (1 - lambda) L_fusion, see `fusion_loss`.

    Logs both losses per token without their weights, and lambda.
    """

    settings: FusionSettings
    packing: Packing
    pad_id: int

    def prepare(self, model: nn.Module) -> None:
        super().prepare(model)
        if self.packing == "documents":
            check_packing(model)

    def collate(self, examples: Sequence[FusionExample]) -> Batch:
        return FusionCollator(self.pad_id, self.packing)(examples)

    def counts(self, batch: Batch) -> Counts:
        scored, fused, _ = counted(batch, self.settings)
        return {"clm": scored.sum(), "fusion": fused.sum()}

    def scheduled(self, step: int, total: int) -> dict[str, float]:
        return {"lm_weight": self.settings.weight(step, total)}

    def sums(
        self, model: nn.Module, batch: Batch, scheduled: Mapping[str, float]
    ) -> tuple[Sums, Sums]:
        found = fusion_sums(model, batch, self.settings, scheduled["lm_weight"])
        counts = {"clm": found.clm_count, "fusion": found.fusion_count}
        weighted = {"clm": found.clm, "fusion": found.fusion}
        plain = dict(zip(counts, found.plain))
        return (
            {name: (weighted[name], count) for name, count in counts.items()},
            {name: (plain[name], count) for name, count in counts.items()},
        )
