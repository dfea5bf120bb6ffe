"""Plans of explicit fusion: training of a target with teachers of a corpus.

    corpus ──> target ───> teacher ─────────────────────────────────────┐
       ├─────> sources ──> teachers ──align, map──> in the target's tokens ──> train the target
       └────────────────────────────────────────────────────────────────┘

Each function adds stages to a plan and returns the handle of the last one. Stages with the same
parameters are one stage, so that systems share them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from harness.core.records import Record
from harness.distillation.corpus import documents_identity
from harness.distillation.operations import MakeTeacherParams, TrainFusionParams
from harness.distillation.settings import MappingSettings
from harness.engine.operations import Estimate
from harness.engine.recipe import About, ModelSpec, Recipe, Refers, Rehearsed
from harness.training.from_responses import model


class Models(Record):
    """The target, any number of sources, and the teacher of `distillation` (None: first source)."""

    target: ModelSpec
    sources: tuple[ModelSpec, ...] = Field(min_length=1)
    teacher: ModelSpec | None = None


class Data(Record):
    """The corpus, see `harness.distillation.corpus`.

    Attributes:
        expected_rows: size of the whole set, for the estimates of a plan.
        max_tokens: documents are fitted to this number of tokens of every model.
    """

    documents: Annotated[str, Refers("documents")]
    split: Annotated[str, Refers("layout"), About("documents")] = "train"
    field: Annotated[str, Refers("layout"), About("documents")] = "text"
    form: Annotated[Literal["chat", "text"], About("documents")] = "chat"
    limit: int | None = Field(default=None, ge=1)
    expected_rows: Annotated[int | None, About("documents")] = None
    max_tokens: Annotated[int, Rehearsed(lambda most: min(most, 200))] = Field(default=2000, ge=1)
    long: Literal["cut", "split", "refuse"] = "split"
    domains: Annotated[tuple[str, ...], Refers("domains"), About("documents")] = ()
    exchanges: int | None = Field(default=None, ge=1)


class ExplicitFusionRecipe(Recipe):
    """Settings of methods that learn from teachers.

    Attributes:
        source: index of the source, for methods that use one source.
    """

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
    """The target after training with the given sources; `loss` overrides settings of the loss."""
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
    """The teacher of a source, mapped to the target's tokens."""
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
    """Documents cut to lengths that every model can read."""
    data, models = recipe.data, recipe.models
    every = [models.target, *models.sources, *([models.teacher] if models.teacher else [])]
    return stage(
        "import_documents",
        models=tuple(model(spec, stage) for spec in every),
        ref=data.documents,
        digest=documents_identity(data.documents),
        label="corpus",
        hint=Estimate(rows=data.limit or data.expected_rows),
        **data.model_dump(exclude={"documents", "expected_rows"}),
    )


def _reading(recipe: ExplicitFusionRecipe) -> dict[str, bool]:
    return {"bos": recipe.teachers.bos, "eos": recipe.teachers.eos}
