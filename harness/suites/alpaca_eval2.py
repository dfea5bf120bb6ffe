"""AlpacaEval 2: one pairwise judgment a prompt, win rate and length-controlled win rate.

Paper: Length-Controlled AlpacaEval (arXiv:2404.04475); 805 instructions, baseline and judge
gpt-4-1106-preview. Protocol:

1. the system answers every instruction once;
2. the judge sees both answers in one order, a function of the instruction alone, and replies with
   one identifier; the preference is the probability of that token among the two identifiers;
3. win rate = mean preference; length-controlled win rate = a logistic model's prediction at equal
   length, anchored by the baseline's own verbose and concise variants, judged against the baseline.

The nano universe follows the whole protocol: its anchors are the baseline's answers in the verbose
and the concise flavour, and the difficulty of an instruction is its item's difficulty (1 to 4)
minus 2.5. For the published set, `prompts` and `baseline` are files and `reference` is a folder
with the published tables, whose anchors and difficulties are then used instead.
"""

from __future__ import annotations

from typing import Literal

from harness.judging.alpaca_scores import reference_digest
from harness.judging.answers import source_digest
from harness.plan import Handle, StageMaker
from harness.stats.length_control import Mode
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

NAME = "alpaca_eval2"


class AlpacaEvalSettings(JudgeSuiteSettings):
    """Settings; see `JudgeSuiteSettings` for those all judge suites share.

    Attributes:
        anchors: sources of the baseline's variants behind the length control; none without
            `reference` fits the length control on the system alone.
        reference: folder with df_gamed.csv and the instructions' order.
        lc_mode: "exact" solves the published model to its optimum; the compat modes reproduce the
            original's solver and folds, see `harness.stats.length_control`.
        orders: "switched" is the published protocol; "both" asks in both orders and averages.
    """

    prompts: str = "nano:alpaca_eval2"
    anchors: tuple[str, ...] = ("nano:verbose", "nano:concise")
    reference: str = ""
    decode: Decode = Decode(temperature=0.7)
    lc_mode: Mode = "exact"
    orders: Literal["switched", "both"] = "switched"


def plan(system: System, settings: AlpacaEvalSettings, stage: StageMaker) -> Handle:
    """The stages of one system on AlpacaEval 2."""
    prompts = import_prompts(settings, stage)
    generations = answers_of(system, prompts, settings, settings.decode, stage, NAME)

    def imported(source: str) -> Handle:
        return stage("import_answers", prompts=prompts, source=source, digest=source_digest(source))

    baseline = imported(settings.baseline)
    both = settings.orders == "both"
    judging = judge_arguments(settings, "alpaca", both_orders=both) | {"orders": settings.orders}
    judgments = stage("judge_alpaca", generations=generations, baseline=baseline, **judging)
    anchors = [
        stage("judge_alpaca", generations=imported(source), baseline=baseline, **judging)
        for source in (() if settings.reference else settings.anchors)
    ]
    return stage(
        "score_alpaca",
        judgments=judgments,
        generations=generations,
        model=system.model,
        **({"anchors": anchors} if anchors else {}),
        lc_mode=settings.lc_mode,
        reference=settings.reference,
        reference_digest=reference_digest(settings.reference),
        **cell_arguments(NAME, system, settings, judging, settings.decode),
    )


SUITE = Suite(
    name=NAME,
    version=1,
    summary="one pairwise judgment a prompt; win rate and length-controlled win rate",
    metrics=(
        Metric("lc_win_rate", "%", "win rate against the baseline at equal length"),
        Metric("win_rate", "%", "mean preference for the system over the baseline"),
    ),
    settings=AlpacaEvalSettings,
    plan=plan,
    paper="arXiv:2404.04475",
)
