"""Rehearsals of methods that learn from responses: nano models and a few rows."""

from __future__ import annotations

from typing import Any

from harness.engine.recipe import ModelSpec
from harness.training.from_responses import Decoding, ResponsesRecipe

NANO_SOURCES = ("nano:source_a", "nano:source_b", "nano:source_c")
ROWS = 24
MAX_TOKENS = 64
BATCH = 4


def small(decoding: Decoding) -> Decoding:
    return decoding.model_copy(update={"max_tokens": MAX_TOKENS, "batch_size": ROWS})


def stand_ins(recipe: ResponsesRecipe) -> dict[str, Any]:
    """What replaces models and sizes; every stage, system, claim and setting is kept.

    What shrinks: rows, response length and batch sizes. Learning rates, betas, epochs, schedules
    and the order of stages are those of the recipe. Data and prompts are the method's own.
    """
    models = recipe.models

    def tiny(spec: ModelSpec, ref: str) -> ModelSpec:
        return ModelSpec(ref=ref, name=spec.display_name(), dtype="float32")

    sources = tuple(
        tiny(spec, NANO_SOURCES[number % len(NANO_SOURCES)])
        for number, spec in enumerate(models.sources)
    )
    batches = {"per_device_batch_size": BATCH, "accumulation_steps": 1, "dtype": "float32"}
    fits = {"max_length": 256, "gradient_checkpointing": False}
    return {
        "models": models.model_copy(
            update={
                "target": tiny(models.target, "nano:target"),
                "sources": sources,
                "reward": tiny(models.reward, "nano:reward"),
            }
        ),
        "sampling": small(recipe.sampling),
        "sft": recipe.sft.model_copy(update={**batches, **fits}),
        "train": recipe.train.model_copy(update={**batches, **fits, "max_prompt_length": 128}),
    }
