"""Trainings of adapters on tiny models: settings, and what a run left."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file

from harness.core.records import parse
from harness.engine.operations import Row
from harness.engine.registry import load_operation
from harness.training.settings import RunSettings

Make = Callable[..., Any]
LORA = {"rank": 4, "alpha": 8.0}
RUN: dict[str, Any] = {
    "learning_rate": 1e-2,
    "scheduler": "constant",
    "warmup_ratio": 0.0,
    "max_grad_norm": 0.0,
    "per_device_batch_size": 4,
    "max_steps": 2,
}
LIMITS = {"max_length": 64, "max_prompt_length": 32}
OBJECTIVES: dict[str, dict[str, Any]] = {
    "train_sft": {},
    "train_preference": {"loss": "simpo", **LIMITS},
    "train_fusion": {"packing": "none"},
    "train_on_pairs": {"loss": {"distill": 0.0}, "anchor": "target", **LIMITS},
    "train_reviser": LIMITS,
}


def settings(lora: dict[str, Any] | None = None, **changes: Any) -> RunSettings:
    return parse(RunSettings, {**RUN, "lora": {**LORA, **(lora or {})}, **changes}, "test")


def by_hand(model: Any, seed: int = 42) -> Any:
    torch.manual_seed(seed)
    return get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules="all-linear"))


def log_of(context: Any) -> list[dict[str, Any]]:
    return json.loads((context.directory / "training_log.json").read_text())["log"]


def weights(context: Any, file: str = "model.safetensors") -> dict[str, torch.Tensor]:
    return load_file(context.directory / file)


def logits(model: Any, ids: list[int] = [6, 7, 8, 9, 7, 12]) -> torch.Tensor:  # noqa: B006
    with torch.no_grad():
        found: torch.Tensor = model.eval()(input_ids=torch.tensor([ids])).logits
    return found


def by_adapters(base: Any, folder: Path) -> Any:
    """The base with the stored adapters, by peft."""
    return PeftModel.from_pretrained(base, folder)


@pytest.fixture
def train_on(
    context: Make, rows_artifact: Make, preference_rows: list[Row], checkpoint: Make
) -> Make:
    """`train_on(operation, name, **params)`: the context of a run on 12 rows."""

    def run(operation: str, name: str, inputs: dict[str, Any] | None = None, **changes: Any) -> Any:
        made, found = context(name), load_operation(operation)
        given = {**RUN, "lora": LORA, **changes}
        key = "corpus" if operation == "train_fusion" else "rows"
        pair = {"source": "a", "target": "b", "label": "minor_revise"}  # of a reviser
        rows = [{**row, "response": row["responses"]["source"], **pair} for row in preference_rows]
        chosen = {key: rows_artifact(rows), "model": checkpoint("llama"), **(inputs or {})}
        found.function(made, parse(found.params, given, "test"), **chosen)
        return made

    return run
