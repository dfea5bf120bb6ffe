"""Arena-Hard: settings, and the stages of one system; README.md has the protocol.

prompts -> answers -> two games per prompt against the baseline -> scores.

`arena_hard` is the nano world's set, or v0.1 in its edition "official"; `arena_hard_v0.1` and
`arena_hard_v2.0` are the published sets as suites of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from harness.core.errors import UserError
from harness.engine.plan import Handle, StageMaker
from harness.engine.recipe import Refers
from harness.suites.arena_hard.cells import StyleFeature
from harness.suites.arena_hard.judging import LABELS
from harness.suites.base import (
    Decode,
    JudgeSuiteSettings,
    Metric,
    Suite,
    System,
    answers_of,
    baseline_answers,
    cell_arguments,
    contents,
    import_prompts,
    judge_arguments,
)

NAME = "arena_hard"
V2 = "official:arena_hard_v2.0"
# In v2.0 each category has its own baseline model.
V2_BASELINES = {
    "hard_prompt": f"{V2}/o3-mini-2025-01-31",
    "creative_writing": f"{V2}/gemini-2.0-flash-001",
}


class ArenaHardSettings(JudgeSuiteSettings):
    """Settings of Arena-Hard beside those of `JudgeSuiteSettings`.

    Attributes:
        categories: categories of prompts to use; () for all.
        baselines: category -> source of its baseline's answers; {} uses `baseline` for all.
        decode: decoding settings of the system.
        weight: rows that an emphatic label (>>) counts as.
        style_features: features of the style-controlled score; () omits that score.
        bootstrap: "clusters" resamples prompts by topic, "rows" is the original's method.
        by_category: also compute a score per category.
    """

    prompts: str = "nano:arena_hard"
    categories: tuple[str, ...] = ()
    baselines: Annotated[dict[str, str], Refers("answers")] = {}
    decode: Decode = Decode(temperature=0.0)
    weight: int = Field(default=3, ge=1)
    style_features: tuple[StyleFeature, ...] = ("length", "header", "list", "bold")
    bootstrap: Literal["clusters", "rows"] = "clusters"
    by_category: bool = False


class ArenaHardV01Settings(ArenaHardSettings):
    """Settings of the published v0.1."""

    prompts: str = "official:arena_hard_v0.1"
    baseline: str = "official:arena_hard_v0.1"
    judge: str = "openai:gpt-4-1106-preview"


class ArenaHardV2Settings(ArenaHardSettings):
    """Settings of the published v2.0; a `baselines` table overrides the published ones by key."""

    prompts: str = V2
    baseline: str = ""
    baselines: dict[str, str] = V2_BASELINES
    judge: str = "openai:gpt-4.1"
    judge_max_tokens: int | None = Field(default=16000, ge=1)
    by_category: bool = True

    @field_validator("baselines")
    @classmethod
    def _over_published(cls, given: dict[str, str]) -> dict[str, str]:
        return {**V2_BASELINES, **given}


def plan(name: str, system: System, settings: ArenaHardSettings, stage: StageMaker) -> Handle:
    """The stages of one system on Arena-Hard; `name` goes on the cells."""
    prompts = import_prompts(settings, stage, settings.categories)
    sources = baseline_sources(settings)
    # Before the answers: a missing source is reported before anything is spent.
    baseline = _baseline(system, settings, prompts, sources, stage)
    generations = answers_of(system, prompts, settings, settings.decode, stage, NAME)
    judging = judge_arguments(settings, LABELS)
    judgments = stage("judge_arena", generations=generations, baseline=baseline, **judging)
    data = contents(settings, *sources.values())
    return stage(
        "score_arena",
        judgments=judgments,
        generations=generations,
        **system.links(),
        weight=settings.weight,
        style_features=settings.style_features,
        bootstrap=settings.bootstrap,
        **({"by_category": True} if settings.by_category else {}),
        **cell_arguments(name, system, settings, judging, settings.decode, data),
    )


def baseline_sources(settings: ArenaHardSettings) -> dict[str, str]:
    """Category -> source of the baseline's answers; the key "" means all prompts.

    Raises:
        UserError: a category has no baseline.
    """
    if not settings.baselines:
        return {"": settings.baseline}
    wanted = settings.categories or tuple(settings.baselines)
    lacking = [name for name in wanted if name not in settings.baselines]
    if lacking:
        raise UserError(
            f"no baseline for the category {', '.join(lacking)}: set baselines.{lacking[0]}, or "
            f"choose from {', '.join(settings.baselines)} with `categories`"
        )
    return {name: settings.baselines[name] for name in wanted}


def _baseline(
    system: System,
    settings: ArenaHardSettings,
    prompts: Handle,
    sources: dict[str, str],
    stage: StageMaker,
) -> Handle:
    """The baseline's answers to all prompts, from one source or from one per category."""

    def answers(source: str, to: Handle) -> Handle:
        return baseline_answers(system, source, to, settings, settings.decode, stage, NAME)

    if len(sources) == 1:
        return answers(next(iter(sources.values())), prompts)
    parts = []
    for name, source in sources.items():
        chosen = stage("select_prompts", prompts=prompts, categories=(name,))
        parts.append(answers(source, chosen))
    return stage("join_rows", rows=parts, order=prompts)


def _suite(
    name: str,
    settings: type[ArenaHardSettings],
    summary: str,
    editions: dict[str, dict[str, Any]],
    more: tuple[Metric, ...] = (),
    needs: tuple[str, ...] = (),
) -> Suite:
    planned: Callable[[System, Any, StageMaker], Handle] = partial(plan, name)
    return Suite(
        name=name,
        version=1,
        summary=summary,
        metrics=(
            Metric("score", "%", "mean row score against the baseline"),
            Metric("bt_win_rate", "%", "Bradley-Terry win rate (v0.1)", primary=False),
            Metric("style_controlled", "%", "win rate at equal style", primary=False),
            Metric("contradiction_rate", "%", "the two games disagree", primary=False),
            *more,
        ),
        settings=settings,
        plan=planned,
        paper="arXiv:2406.11939",
        needs=needs,
        editions=editions,
    )


SUITE = _suite(
    NAME,
    ArenaHardSettings,
    "two games with swapped order, five verdicts; Bradley-Terry and style control",
    {
        "nano": {},
        "official": {
            "prompts": "official:arena_hard_v0.1",
            "baseline": "official:arena_hard_v0.1",
            "judge": "openai:gpt-4-1106-preview",
        },
    },
)
V01_SUITE = _suite(
    "arena_hard_v0.1",
    ArenaHardV01Settings,
    "the published 500 prompts against gpt-4-0314",
    {"official": {}},
    needs=("api",),
)
V2_SUITE = _suite(
    "arena_hard_v2.0",
    ArenaHardV2Settings,
    "the published 750 prompts; each category has its own baseline",
    {"official": {}},
    (Metric("score:*", "%", "score of a category", primary=False),),
    needs=("api",),
)
