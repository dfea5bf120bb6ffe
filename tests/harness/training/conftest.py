"""Tiny models with tokenizers made on the spot, and a stage context without an engine."""

from tests.harness.training.adapter_runs import train_on
from tests.tiny_models import (
    checkpoint,
    context,
    model_of,
    one_thread,
    preference_rows,
    rows_artifact,
    tokenizer,
)

__all__ = [
    "checkpoint",
    "context",
    "model_of",
    "one_thread",
    "preference_rows",
    "rows_artifact",
    "tokenizer",
    "train_on",
]
