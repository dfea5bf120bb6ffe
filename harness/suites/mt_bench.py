"""MT-Bench: two-turn questions in eight categories, graded 1 to 10 by a judge.

Paper: Judging LLM-as-a-Judge (arXiv:2306.05685); 80 questions. Protocol:

1. the system answers the first turn, then the second with its own first answer in the history, at
   the category's temperature (writing, roleplay 0.7; stem, humanities 0.1; others greedy);
2. the judge grades each turn alone, the second within the whole dialogue; questions of math,
   reasoning and coding come with a reference answer;
3. score = mean over all graded turns.

With `pairwise` the judge also compares each turn with the baseline's, in both orders; a tie or a
contradiction of the two games is a tie.
"""

from __future__ import annotations

from typing import Any

from harness.hashing import digest
from harness.judging.answers import source_digest
from harness.judging.mt_bench_scores import UNIT
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

NAME = "mt_bench"
OTHERS = 0.7  # temperature of every category that is not listed below
TEMPERATURES = {
    0.0: ("extraction", "math", "coding", "reasoning"),
    0.1: ("stem", "humanities"),
}


class MTBenchSettings(JudgeSuiteSettings):
    """Settings; see `JudgeSuiteSettings` for those all judge suites share.

    Attributes:
        references: source of reference answers; "" judges without any.
        by_category: the paper's temperatures instead of the one of `decode`. A system that brings
            decoding settings of its own is decoded by those.
        pairwise: compare with `baseline`, too.
    """

    prompts: str = "nano:mt_bench"
    references: str = "nano:reference"
    decode: Decode = Decode(temperature=0.0, max_tokens=1024)
    by_category: bool = True
    pairwise: bool = False


def plan(system: System, settings: MTBenchSettings, stage: StageMaker) -> Handle:
    """The stages of one system on MT-Bench."""
    prompts = import_prompts(settings, stage)

    def imported(source: str, partial: bool) -> Handle:
        identity = source_digest(source)
        return stage(
            "import_answers", prompts=prompts, source=source, digest=identity, partial=partial
        )

    responses = dialogues(system, prompts, settings, stage)
    guides = {"references": imported(settings.references, True)} if settings.references else {}
    judging = judge_arguments(settings, "rating")
    judgments = stage("judge_mt_bench", responses=responses, **guides, **judging)
    compared: dict[str, Any] = {}
    if settings.pairwise:
        asking = judge_arguments(settings, "pairwise")
        baseline = imported(settings.baseline, False)
        compared["pairwise"] = stage(
            "judge_mt_bench_pairwise", responses=responses, baseline=baseline, **guides, **asking
        )
        compared["pairwise_fingerprint"] = asking["fingerprint"]
    return stage(
        "score_mt_bench",
        judgments=judgments,
        generations=responses,
        model=system.model,
        **compared,
        **cell_arguments(NAME, system, settings, judging, settings.decode)
        | {"decode_fingerprint": decode_fingerprint(system, settings)},
    )


def dialogues(
    system: System, prompts: Handle, settings: MTBenchSettings, stage: StageMaker
) -> Handle:
    """Rows of the second turn, each with the whole dialogue."""
    if not settings.by_category or system.decode is not None:
        return _both_turns(system, prompts, settings, settings.decode, stage)
    listed = [name for names in TEMPERATURES.values() for name in names]
    talks = []
    for temperature, names in (*TEMPERATURES.items(), (OTHERS, None)):
        chosen = {"categories": names or listed, "exclude": names is None}
        group = stage("select_prompts", prompts=prompts, **chosen)
        decode = settings.decode.model_copy(update={"temperature": temperature})
        talks.append(_both_turns(system, group, settings, decode, stage))
    return stage("join_rows", rows=talks, order=prompts)


def _both_turns(
    system: System,
    prompts: Handle,
    settings: MTBenchSettings,
    decode: Decode,
    stage: StageMaker,
) -> Handle:
    first = answers_of(system, prompts, settings, decode, stage, NAME, 1)
    second = stage("follow_up", responses=first)
    return answers_of(system, second, settings, decode, stage, NAME, 2)


def decode_fingerprint(system: System, settings: MTBenchSettings) -> str:
    """Of the one decoding, or of the decoding of each category."""
    if not settings.by_category or system.decode is not None:
        return (system.decode or settings.decode).fingerprint
    parts = {str(temperature): names for temperature, names in TEMPERATURES.items()}
    rest = settings.decode.model_dump(exclude={"temperature"})
    return digest([parts, OTHERS, rest])[:16]


SUITE = Suite(
    name=NAME,
    version=1,
    summary="two-turn questions graded 1 to 10; pairwise mode",
    metrics=(
        Metric("score", UNIT, "mean over all graded turns"),
        Metric("turn_1", UNIT, "mean over first turns", primary=False),
        Metric("turn_2", UNIT, "mean over second turns", primary=False),
        Metric("category:*", UNIT, "mean over the turns of a category", primary=False),
        Metric("win_rate", "%", "wins of all comparisons (pairwise)", primary=False),
        Metric("win_rate_adjusted", "%", "wins and half the ties (pairwise)", primary=False),
    ),
    settings=MTBenchSettings,
    plan=plan,
    paper="arXiv:2306.05685",
)
