"""Explicit fusion: how teachers of a corpus become a trained target, shared by its methods.

    corpus ──> target ───> teacher ─────────────────────────────────────┐
       ├─────> sources ──> teachers ──align, map──> in the target's tokens ──> train the target
       └────────────────────────────────────────────────────────────────┘

Each function adds stages to a plan and returns the handle of the last; stages that two systems ask
for are one stage.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from harness.core.records import Record
from harness.data.prompts import prompts_identity
from harness.distillation.operations import MakeTeacherParams, TrainFusionParams
from harness.engine.operations import Estimate
from harness.engine.recipe import ModelSpec, Recipe, Refers, Rehearsed
from harness.training.from_responses import model
from harness.training.settings import MappingSettings


class Models(Record):
    """The target, any number of sources, and the single teacher of `distillation` (None: the first
    source)."""

    target: ModelSpec
    sources: tuple[ModelSpec, ...] = Field(min_length=1)
    teacher: ModelSpec | None = None


class Data(Record):
    """The corpus, see `harness.distillation.corpus`; fitted to `max_tokens` of every model.

    `expected_rows` is the size of the whole set, for the estimates of a plan.
    """

    documents: Annotated[str, Refers("documents")]
    split: Annotated[str, Refers("layout")] = "train"
    field: Annotated[str, Refers("layout")] = "text"
    form: Literal["chat", "text"] = "chat"
    limit: int | None = Field(default=None, ge=1)
    expected_rows: int | None = None
    max_tokens: Annotated[int, Rehearsed(lambda most: min(most, 200))] = Field(default=2000, ge=1)
    long: Literal["cut", "split", "refuse"] = "split"
    domains: Annotated[tuple[str, ...], Refers("domains")] = ()
    exchanges: int | None = Field(default=None, ge=1)


class ExplicitFusionRecipe(Recipe):
    """What a run needs; `source` picks one of `models.sources` for methods of a single one."""

    models: Models
    data: Data
    teachers: MakeTeacherParams = MakeTeacherParams()
    mapping: MappingSettings = MappingSettings()
    train: TrainFusionParams
    source: int = Field(default=0, ge=0)


def trained(
    recipe: ExplicitFusionRecipe,
    stage: Any,
    sources: Sequence[ModelSpec],
    label: str = "",
    **loss: float | str | bool,
) -> Any:
    """The target after training with these sources; `loss` replaces settings of the loss."""
    text, target = corpus(recipe, stage), model(recipe.models.target, stage)
    teachers = [teacher(recipe, stage, recipe.models.target)] if sources else []
    teachers += [carried(recipe, stage, spec) for spec in sources]
    settings = recipe.train.loss.model_copy(update=loss)
    chosen = {"loss": settings.model_dump(), "seed": recipe.seed, **_reading(recipe)}
    what = "CLM" if not sources else f"{settings.fusion} of {len(teachers)} teachers"
    return stage(
        "train_fusion",
        corpus=text,
        model=target,
        label=label or f"train {what}",
        **({"teachers": tuple(teachers)} if teachers else {}),
        **{**recipe.train.model_dump(), **chosen},
    )


def carried(recipe: ExplicitFusionRecipe, stage: Any, spec: ModelSpec) -> Any:
    """A source's teacher in the target's tokens."""
    return stage(
        "map_teacher",
        corpus=corpus(recipe, stage),
        teacher=teacher(recipe, stage, spec),
        target=model(recipe.models.target, stage),
        source=model(spec, stage),
        label=f"map {spec.display_name()}",
        **recipe.mapping.model_dump(),
        **_reading(recipe),
    )


def teacher(recipe: ExplicitFusionRecipe, stage: Any, spec: ModelSpec) -> Any:
    return stage(
        "make_teacher",
        corpus=corpus(recipe, stage),
        model=model(spec, stage),
        label=f"teacher {spec.display_name()}",
        **recipe.teachers.model_dump(),
    )


def corpus(recipe: ExplicitFusionRecipe, stage: Any) -> Any:
    """The documents, cut to what every model can read."""
    data, models = recipe.data, recipe.models
    every = [models.target, *models.sources, *([models.teacher] if models.teacher else [])]
    return stage(
        "import_documents",
        models=tuple(model(spec, stage) for spec in every),
        ref=data.documents,
        digest=prompts_identity(data.documents),
        label="corpus",
        hint=Estimate(rows=data.limit or data.expected_rows),
        **data.model_dump(exclude={"documents", "expected_rows"}),
    )


def _reading(recipe: ExplicitFusionRecipe) -> dict[str, bool]:
    return {"bos": recipe.teachers.bos, "eos": recipe.teachers.eos}
