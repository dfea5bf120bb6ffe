"""Arena-Hard: two games a prompt with swapped order, five verdicts, score against a baseline.

Paper: From Crowdsourced Data to High-Quality Benchmarks (arXiv:2406.11939); v0.1 has 500 prompts in
250 topics, baseline gpt-4-0314, judge gpt-4-1106-preview. Protocol:

1. the system answers every prompt once, greedily;
2. the judge writes its own answer, compares both, and ends in one of five labels, twice: the
   baseline is A in the first game, the system in the second;
3. a label gives one row (>> gives three) of 1, 0.5 or 0 for the system; the score is their mean
   (v2), which for a single baseline equals the Bradley-Terry win rate (v0.1).

Intervals resample prompts (with their topic, where rows carry `cluster`); `bootstrap = "rows"`
resamples rows as the original does, and is too narrow. A style-controlled score fits one model
column and the style features of this system against the baseline: the original fits all systems of
a folder together, so its features are centred over other systems, too.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from harness.judging.answers import source_digest
from harness.judging.arena_scores import StyleFeature
from harness.plan import Handle, StageMaker
from harness.suites.base import (
    Decode,
    JudgeSuiteSettings,
    Metric,
    Suite,
    System,
    answers_of,
    cell_arguments,
    import_prompts,
    judge_arguments,
)

NAME = "arena_hard"


class ArenaHardSettings(JudgeSuiteSettings):
    """Settings; see `JudgeSuiteSettings` for those all judge suites share.

    Attributes:
        weight: rows that a >> verdict counts for.
        style_features: of the style-controlled score; none leaves it out.
        bootstrap: "clusters" resamples prompts by topic, "rows" is the original's.
    """

    prompts: str = "nano:arena_hard"
    decode: Decode = Decode(temperature=0.0)
    weight: int = Field(default=3, ge=1)
    style_features: tuple[StyleFeature, ...] = ("length", "header", "list", "bold")
    bootstrap: Literal["clusters", "rows"] = "clusters"


def plan(system: System, settings: ArenaHardSettings, stage: StageMaker) -> Handle:
    """The stages of one system on Arena-Hard."""
    prompts = import_prompts(settings, stage)
    generations = answers_of(system, prompts, settings, settings.decode, stage, NAME)
    source = settings.baseline
    baseline = stage("import_answers", prompts=prompts, source=source, digest=source_digest(source))
    judging = judge_arguments(settings, "arena")
    judgments = stage("judge_arena", generations=generations, baseline=baseline, **judging)
    return stage(
        "score_arena",
        judgments=judgments,
        generations=generations,
        model=system.model,
        weight=settings.weight,
        style_features=settings.style_features,
        bootstrap=settings.bootstrap,
        **cell_arguments(NAME, system, settings, judging, settings.decode),
    )


SUITE = Suite(
    name=NAME,
    version=1,
    summary="two games with swapped order, five verdicts; Bradley-Terry and style control",
    metrics=(
        Metric("score", "%", "mean row score against the baseline"),
        Metric("bt_win_rate", "%", "Bradley-Terry win rate (v0.1)", primary=False),
        Metric("style_controlled", "%", "win rate at equal style", primary=False),
        Metric("contradiction_rate", "%", "the two games disagree", primary=False),
    ),
    settings=ArenaHardSettings,
    plan=plan,
    paper="arXiv:2406.11939",
)
