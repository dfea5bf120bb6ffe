"""FuseLLM: knowledge fusion of large language models (arXiv 2401.10491).

Source models with other tokenizers and architectures read a corpus; their predictions at each
token are mapped to the target's tokens, one distribution is chosen, and the target is trained on
the corpus and on that distribution together. With Q the target, P_u the distribution of teacher u
(the target before training is teacher 0) and CE_u its cross-entropy on the block,

    L = lambda L_clm + (1 - lambda) mean_t CE(P_t, Q_t)        P = P_u of the lowest CE_u  (MinCE)
                                                            or P = sum_u w_u P_u           (AvgCE)

`harness.distillation.align` aligns tokens, `harness.distillation.mapping` maps distributions,
`harness.distillation.fusion_loss` is the loss; `harness.distillation.explicit_fusion` plans them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from harness.core.errors import BadRecord
from harness.distillation.explicit_fusion import ExplicitFusionRecipe, trained
from harness.engine.preconditions import Preconditions
from harness.engine.recipe import Method, Refers
from harness.suites.preconditions.planning import reading_lines, readings_compared
from harness.training.from_responses import model

RECIPE = Path(__file__).with_name("recipe.toml")
SOUP = 3  # copies


class FuseLLMRecipe(ExplicitFusionRecipe):
    """Settings of FuseLLM and its baselines.

    Attributes:
        experts: for `parameter_averaging`, the corpus domains on which each copy of the target is
            trained; () trains all copies on the whole corpus with different seeds (a model soup,
            arXiv 2203.05482).
    """

    experts: Annotated[tuple[tuple[str, ...], ...], Refers("domains")] = ()


def fusellm(recipe: ExplicitFusionRecipe, stage: Any) -> Any:
    return trained(recipe, stage, recipe.models.sources)


def fusellm_avgce(recipe: ExplicitFusionRecipe, stage: Any) -> Any:
    return trained(recipe, stage, recipe.models.sources, fusion="avg_ce")


def clm(recipe: ExplicitFusionRecipe, stage: Any) -> Any:
    """Continual training on the same corpus and budget, without teachers."""
    return trained(recipe, stage, (), lm_weight=1.0)


def distillation(recipe: ExplicitFusionRecipe, stage: Any) -> Any:
    """One teacher alone; the target's own predictions are used only where it has none."""
    teacher = recipe.models.teacher or recipe.models.sources[0]
    return trained(recipe, stage, (teacher,), with_base=False)


def parameter_averaging(recipe: FuseLLMRecipe, stage: Any) -> Any:
    """The mean of copies of the target trained without teachers: experts, or a soup."""
    if len(recipe.experts) == 1:
        raise BadRecord(
            "parameter_averaging: experts are the domains of two models or more; found 1. For "
            'example experts = [["fact"], ["sort", "count"]]'
        )
    copies = []
    for domains in recipe.experts:
        part = recipe.data.model_copy(update={"domains": domains})
        own = recipe.model_copy(update={"data": part})
        label = f"expert in {', '.join(domains)}"
        copies.append(trained(own, stage, (), label=label, lm_weight=1.0))
    for number in range(0 if recipe.experts else SOUP):
        own = recipe.model_copy(update={"seed": recipe.seed + number})
        copies.append(trained(own, stage, (), label=f"copy {number + 1}", lm_weight=1.0))
    return stage(
        "merge_models",
        base=model(recipe.models.target, stage),
        targets=tuple(copies),
        rule={"method": "linear"},
        dtype=recipe.train.dtype,
        mixed_dtypes=True,  # the target may be stored in a dtype other than that of training
        label=f"average of {len(copies)}",
    )


def measured(
    recipe: ExplicitFusionRecipe, stage: Any, planned: Any, **about: Any
) -> tuple[Any, ...]:
    """Sources that predict right answers better than the target."""
    return (readings_compared(recipe, stage, about),)


PRECONDITIONS = Preconditions(reading_lines, measured)
FUSELLM = Method("fusellm", FuseLLMRecipe, fusellm, RECIPE, preconditions=PRECONDITIONS)
FUSELLM_AVGCE = Method("fusellm_avgce", FuseLLMRecipe, fusellm_avgce, preconditions=PRECONDITIONS)
CLM = Method("clm", FuseLLMRecipe, clm)
DISTILLATION = Method("distillation", FuseLLMRecipe, distillation)
PARAMETER_AVERAGING = Method("parameter_averaging", FuseLLMRecipe, parameter_averaging)
