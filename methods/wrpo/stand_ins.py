"""Rehearsal: the same recipe with nano models, nano prompts and a few rows."""

from __future__ import annotations

from harness.recipe import ModelSpec
from harness.train.fusion import Decoding, FusionRecipe

NANO_SOURCES = ("nano:source_a", "nano:source_b", "nano:source_c")
ROWS = 24
MAX_TOKENS = 64
BATCH = 4


def stand_ins(recipe: FusionRecipe) -> FusionRecipe:
    """Every model, data set and size replaced; every stage, system, claim and setting kept.

    What shrinks: rows, response length and batch sizes. Learning rates, betas, epochs, schedules
    and the order of stages are those of the recipe.
    """
    models, short = recipe.models, {"dtype": "float32"}

    def tiny(spec: ModelSpec, ref: str) -> ModelSpec:
        return ModelSpec(ref=ref, name=spec.display_name(), **short)

    def small(decoding: Decoding) -> Decoding:
        return decoding.model_copy(update={"max_tokens": MAX_TOKENS, "batch_size": ROWS})

    sources = tuple(
        tiny(spec, NANO_SOURCES[number % len(NANO_SOURCES)])
        for number, spec in enumerate(models.sources)
    )
    batches = {"per_device_batch_size": BATCH, "accumulation_steps": 1, "dtype": "float32"}
    fits = {"max_length": 256, "gradient_checkpointing": False}
    return recipe.model_copy(
        update={
            "models": models.model_copy(
                update={
                    "target": tiny(models.target, "nano:target"),
                    "sources": sources,
                    "reward": tiny(models.reward, "nano:reward"),
                }
            ),
            "data": recipe.data.model_copy(
                update={"prompts": "nano:train", "split": None, "field": None, "limit": ROWS}
            ),
            "sampling": small(recipe.sampling),
            "target_sampling": small(recipe.target_sampling),
            "sft": recipe.sft.model_copy(update={**batches, **fits}),
            "train": recipe.train.model_copy(update={**batches, **fits, "max_prompt_length": 128}),
        }
    )
