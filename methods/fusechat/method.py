"""FuseChat: pairwise knowledge fusion of chat models, then merging (arXiv 2402.16107, 2408.07990).

    dialogues ──> target, source 1 ──> pairwise fusion ──> fused 1 ──┐
              ──> target, source n ──> pairwise fusion ──> fused n ──┴──> merge over the target

A target is fused with one source at a time (`harness.distillation.explicit_fusion`: the objective
of FuseLLM on the answers in dialogues, with one teacher chosen per dialogue), so that all fused
models have the shape of the target; then they are merged in parameter space (`harness.merging`),
each weighted by how far it moved: VaRM in the first paper, SCE in the second. A new source needs
one training run and a merge.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.core.errors import BadRecord
from harness.distillation.explicit_fusion import ExplicitFusionRecipe, trained
from harness.engine.preconditions import Precondition, Preconditions
from harness.engine.recipe import Method, ModelSpec, SystemSpec
from harness.merging.settings import MergekitParams, MergeParams, SceSettings
from harness.suites.preconditions.planning import reading_lines, readings_compared
from harness.training.from_responses import model

RECIPE = Path(__file__).with_name("recipe.toml")


class FuseChatRecipe(ExplicitFusionRecipe):
    """Settings of FuseChat and its baselines.

    Attributes:
        merge: merge settings of `fusechat` and `merge`.
        mergekit: merge settings of `fusechat_mergekit`.
        merged: indexes of the sources that take part in merges; () is all.
    """

    merge: MergeParams = MergeParams(rule=SceSettings())
    mergekit: MergekitParams = MergekitParams(method="linear")
    merged: tuple[int, ...] = ()


def fusechat(recipe: FuseChatRecipe, stage: Any) -> Any:
    """The merge of the pairwise fused models."""
    return merged(recipe, stage, pairs(recipe, stage), **as_trained(recipe))


def fusechat_mergekit(recipe: FuseChatRecipe, stage: Any) -> Any:
    """The merge of the pairwise fused models by mergekit."""
    how = {**recipe.mergekit.model_dump(), **as_trained(recipe), "seed": recipe.seed}
    return stage(
        "merge_by_mergekit",
        base=model(recipe.models.target, stage),
        targets=pairs(recipe, stage),
        label=f"{recipe.mergekit.method} of {len(chosen(recipe))} by mergekit",
        **how,
    )


def fusechat_pair(recipe: FuseChatRecipe, stage: Any) -> Any:
    """The target fused with one source."""
    return pair(recipe, stage, source(recipe, recipe.source))


def merge(recipe: FuseChatRecipe, stage: Any) -> Any:
    """Sources of the target's shape merged into it, without training (FuseO1)."""
    return merged(recipe, stage, tuple(model(spec, stage) for spec in chosen(recipe)))


def merged(
    recipe: FuseChatRecipe, stage: Any, targets: tuple[Any, ...], **settings: str | bool
) -> Any:
    return stage(
        "merge_models",
        base=model(recipe.models.target, stage),
        targets=targets,
        label=f"{recipe.merge.rule.method} of {len(targets)}",
        **{**recipe.merge.model_dump(), **settings},
    )


def as_trained(recipe: FuseChatRecipe) -> dict[str, str | bool]:
    """Fused models and their merge have the dtype of training, whatever that of the target."""
    return {"dtype": recipe.train.dtype, "mixed_dtypes": True}


def pairs(recipe: FuseChatRecipe, stage: Any) -> tuple[Any, ...]:
    """Fused models of the sources that are merged."""
    return tuple(pair(recipe, stage, spec) for spec in chosen(recipe))


def pair(recipe: FuseChatRecipe, stage: Any, spec: ModelSpec) -> Any:
    return trained(recipe, stage, (spec,), label=f"fuse with {spec.display_name()}")


def chosen(recipe: FuseChatRecipe) -> list[ModelSpec]:
    numbers = recipe.merged or range(len(recipe.models.sources))
    return [source(recipe, number) for number in numbers]


def source(recipe: FuseChatRecipe, number: int) -> ModelSpec:
    sources = recipe.models.sources
    if not 0 <= number < len(sources):
        raise BadRecord(f"source {number} is asked for; the recipe has {len(sources)} (from 0)")
    return sources[number]


def each_pair(recipe: FuseChatRecipe) -> tuple[SystemSpec, ...]:
    """One system per merged source, with the name of the source."""
    numbers = recipe.merged or range(len(recipe.models.sources))
    return tuple(
        SystemSpec(
            name=f"fused_{source(recipe, number).display_name()}",
            method="fusechat_pair",
            set={"source": number},
        )
        for number in numbers
    )


MERGES = ("fusechat", "fusechat_mergekit")
LISTED = (
    Precondition(
        text="distance from the target",
        needs="not 0, and not equal for all fused models: else every rule gives the mean",
        metric="distance",
    ),
    Precondition(
        text="entries that two fused models or more changed, in different directions",
        needs="many: the rules differ in how they resolve them",
        metric="sign_conflict",
    ),
)


def measured(recipe: FuseChatRecipe, stage: Any, planned: Any, **about: Any) -> tuple[Any, ...]:
    """What sources know, and how far fused and merged models are from the target."""
    base = model(recipe.models.target, stage)
    merges = {s.name: planned[s.name] for s in recipe.systems if s.method in MERGES}
    fused = stage(
        "measure_changes",
        base=base,
        models=pairs(recipe, stage),
        names=tuple(f"fused_{spec.display_name()}" for spec in chosen(recipe)),
        together=True,
        system="fused models",
        **about,
    )
    merged = stage(
        "measure_changes",
        base=base,
        models=tuple(merges.values()),
        names=tuple(merges),
        system="merges",
        **about,
    )
    return (readings_compared(recipe, stage, about), fused, merged)


def lines(recipe: FuseChatRecipe) -> tuple[Precondition, ...]:
    """Of readings and changes."""
    return (*reading_lines(recipe), *LISTED)


PRECONDITIONS = Preconditions(lines, measured)
FUSECHAT = Method("fusechat", FuseChatRecipe, fusechat, RECIPE, preconditions=PRECONDITIONS)
FUSECHAT_MERGEKIT = Method(
    "fusechat_mergekit", FuseChatRecipe, fusechat_mergekit, preconditions=PRECONDITIONS
)
FUSECHAT_PAIR = Method("fusechat_pair", FuseChatRecipe, fusechat_pair, variants=each_pair)
MERGE = Method("merge", FuseChatRecipe, merge)
