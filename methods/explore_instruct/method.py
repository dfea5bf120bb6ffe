"""Explore-Instruct: cover a domain on purpose (arXiv 2310.09168).

Instruction data that a language model writes about a domain as a whole collect where its thoughts
go first. Explore-Instruct lets the model divide the domain into a tree T = (V, E) of tasks, to
depth K and breadth B, and then write N examples for every task v:

    lookahead(v)       M further sub-tasks of v, given its sub-tasks and its peers
    backtracking(v)    M further sub-tasks of the parent of v

    seed tree ──> extend ──> prune by name ──> enrich ──> filter by ROUGE-L ──> sample ──> SFT

K = 0 is domain-aware self-instruct: examples for the tasks of the seed tree alone. `extension` and
`enrichment` have the search, `policy` its order, `parsing` the replies, `operations` the stages;
`*_released` the released code's behaviour.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from harness.core.records import Record
from harness.distillation.corpus import DOCUMENTS
from harness.engine.plan import Handle, StageMaker
from harness.engine.preconditions import Precondition, Preconditions
from harness.engine.recipe import Method, ModelSpec, Recipe, Rehearsed, with_settings
from harness.training.from_responses import model
from harness.training.sft import SftParams
from methods.explore_instruct.curated import Curated
from methods.explore_instruct.operations import FilterParams, PruneParams, SampleParams
from methods.explore_instruct.settings import Asking, Enrichment, Extension
from methods.explore_instruct.sources import TASK_TREES

RECIPE = Path(__file__).with_name("recipe.toml")
EXPLORER, TREE = "nano:explorer", "nano:skills/part"


class Models(Record):
    """Models.

    Attributes:
        base: model that is fine-tuned.
        explorer: a model or any judge reference; also a system of its own (the paper's ChatGPT).
    """

    base: ModelSpec
    explorer: Annotated[ModelSpec, Rehearsed(lambda spec: ModelSpec(ref=EXPLORER))]


class Data(Record):
    """Data.

    Attributes:
        tree: seed tree, see `methods.explore_instruct.sources`.
        curated: instruction data written by people, for the baseline.
    """

    tree: Annotated[str, Rehearsed(lambda tree: TREE)]
    curated: Curated


class Search(Record):
    """How the search goes; all three as in `methods.explore_instruct.settings`."""

    asking: Asking = Asking()
    extension: Extension = Extension()
    enrichment: Annotated[
        Enrichment,
        Rehearsed(lambda e: e.model_copy(update={"examples": min(e.examples, 20)})),
    ] = Enrichment()


class ExploreRecipe(Recipe):
    """Settings of Explore-Instruct and its baselines.

    Attributes:
        prune_first: prune before enrichment, so that nothing is spent on pruned tasks; the released
            code prunes afterwards.
    """

    models: Models
    data: Data
    search: Search = Search()
    prune: PruneParams = PruneParams()
    prune_first: bool = True
    filter: FilterParams = FilterParams()
    sample: Annotated[
        SampleParams, Rehearsed(lambda s: s.model_copy(update={"n": min(s.n, 24)}))
    ] = Field(default_factory=SampleParams)
    sft: SftParams

    @model_validator(mode="after")
    def _released_sample_has_all_tasks(self) -> ExploreRecipe:
        if self.sample.rule == "released" and self.prune_first:
            raise ValueError('prune_first = false with sample.rule = "released", which samples all')
        return self


def explored(recipe: ExploreRecipe, stage: StageMaker) -> Handle:
    """The tree with examples, before the filter."""
    search = recipe.search
    asking = {**search.asking.model_dump(), "seed": recipe.seed}
    asked = explorer(recipe, stage)
    tree = stage(
        "import_task_tree",
        ref=recipe.data.tree,
        digest=TASK_TREES.identity(recipe.data.tree),
        label="seed tree",
    )
    if search.extension.depth:
        tree = stage(
            "extend_task_tree",
            tree=tree,
            model=asked,
            extension=search.extension.model_dump(),
            label="explorer: sub-tasks",
            **asking,
        )

    def prune(tree: Handle) -> Handle:
        return stage("prune_task_tree", tree=tree, label="pruned", **recipe.prune.model_dump())

    tree = prune(tree) if recipe.prune_first else tree
    tree = stage(
        "enrich_task_tree",
        tree=tree,
        model=asked,
        enrichment=search.enrichment.model_dump(),
        label="explorer: examples",
        **asking,
    )
    return tree if recipe.prune_first else prune(tree)


def instructions(recipe: ExploreRecipe, stage: StageMaker) -> Handle:
    """Training rows from the filtered tree."""
    tree = stage(
        "filter_task_tree",
        tree=explored(recipe, stage),
        label="filtered",
        **recipe.filter.model_dump(),
    )
    sample = {**recipe.sample.model_dump(), "seed": recipe.seed}
    return stage("sample_task_tree", tree=tree, label="instructions", **sample)


def tuned_on(recipe: ExploreRecipe, stage: StageMaker, rows: Handle) -> Handle:
    """The base model after SFT, with the instructions it was trained on."""
    settings = {**recipe.sft.model_dump(), "seed": recipe.seed}
    base = model(recipe.models.base, stage)
    tuned = stage("train_sft", rows=rows, model=base, label="SFT", **settings)
    return stage("keep_instructions", model=tuned, rows=rows, label="SFT with its data")


def explore_instruct(recipe: ExploreRecipe, stage: StageMaker) -> Handle:
    return tuned_on(recipe, stage, instructions(recipe, stage))


def variant(**settings: Any) -> Callable[[ExploreRecipe, StageMaker], Handle]:
    """Explore-Instruct with some settings replaced; "__" in a key is a dot."""
    dotted = {key.replace("__", "."): value for key, value in settings.items()}

    def plan(recipe: ExploreRecipe, stage: StageMaker) -> Handle:
        return explore_instruct(with_settings(recipe, dotted, "explore_instruct variant"), stage)

    return plan


def curated(recipe: ExploreRecipe, stage: StageMaker) -> Handle:
    """The base model after SFT on as many rows that people wrote."""
    data = recipe.data.curated
    rows = stage(
        "curated_instructions",
        data=data.model_dump(),
        n=recipe.sample.n,
        seed=recipe.seed,
        digest=DOCUMENTS.identity(data.ref, data.revision),
        label="curated instructions",
    )
    return tuned_on(recipe, stage, rows)


def base(recipe: ExploreRecipe, stage: StageMaker) -> Handle:
    """The base model before any tuning."""
    return model(recipe.models.base, stage)


def explorer(recipe: ExploreRecipe, stage: StageMaker) -> Handle:
    """The explorer, which answers for itself."""
    return model(recipe.models.explorer, stage)


RELEASED = {
    "search__asking__form": "text",
    "search__asking__parser": "released",
    "search__extension__released": True,
    "search__enrichment__unique": False,
    "prune_first": False,
    "filter__scope": "node",
    "sample__rule": "released",
}

PRECONDITIONS = Preconditions(
    (
        Precondition(
            text="skills of the domain that the instruction data cover",
            needs="more by exploring than by curated data",
            metric="covered",
            suite="skill_coverage",
        ),
    )
)
EXPLORE_INSTRUCT = Method(
    "explore_instruct", ExploreRecipe, explore_instruct, RECIPE, preconditions=PRECONDITIONS
)
DEPTH_FIRST = Method(
    "explore_depth_first", ExploreRecipe, variant(search__extension__policy="depth_first")
)
AS_RELEASED = Method("explore_released", ExploreRecipe, variant(**RELEASED))
SELF_INSTRUCT = Method("domain_self_instruct", ExploreRecipe, variant(search__extension__depth=0))
CURATED = Method("domain_curated", ExploreRecipe, curated)
BASE = Method("explore_base", ExploreRecipe, base)
ALONE = Method("explore_explorer", ExploreRecipe, explorer)
