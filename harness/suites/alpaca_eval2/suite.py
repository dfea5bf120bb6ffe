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
minus 2.5. The edition "official" takes the published set, its baseline and its tables, whose
anchors and difficulties are used instead, and asks by the prompt and parser of the installed
alpaca-eval.
"""

from __future__ import annotations

from typing import Annotated, Literal

from harness.engine.plan import Handle, StageMaker
from harness.engine.recipe import Refers
from harness.judging.judge import OWN
from harness.suites.alpaca_eval2.cells import reference_digest
from harness.suites.alpaca_eval2.length_control import Mode
from harness.suites.base import (
    Decode,
    JudgeSuiteSettings,
    Metric,
    Suite,
    System,
    answers_of,
    cell_arguments,
    contents,
    import_answers,
    import_prompts,
    judge_arguments,
)

NAME = "alpaca_eval2"


class AlpacaEvalSettings(JudgeSuiteSettings):
    """Settings; see `JudgeSuiteSettings` for those all judge suites share.

    Attributes:
        anchors: sources of the baseline's variants behind the length control; none without
            `reference` fits the length control on the system alone.
        reference: the published tables: "official:alpaca_eval2", or a folder with df_gamed.csv and
            the instructions' order.
        annotator: whose prompt and parser: "crucible" for our own, whose quotation cannot be
            forged, or a configuration of the installed alpaca-eval.
        lc_mode: "exact" solves the published model to its optimum; the compat modes reproduce the
            original's solver and folds, see `harness.suites.alpaca_eval2.length_control`.
        orders: "switched" is the published protocol; "both" asks in both orders and averages.
    """

    prompts: str = "nano:alpaca_eval2"
    anchors: Annotated[tuple[str, ...], Refers("answers")] = ("nano:verbose", "nano:concise")
    reference: Annotated[str, Refers("tables")] = ""
    annotator: Annotated[str, Refers("judge")] = OWN
    decode: Decode = Decode(temperature=0.7)
    lc_mode: Mode = "exact"
    orders: Literal["switched", "both"] = "switched"


def plan(system: System, settings: AlpacaEvalSettings, stage: StageMaker) -> Handle:
    """The stages of one system on AlpacaEval 2."""
    prompts = import_prompts(settings, stage)
    # Before the answers: what is missing is noticed before anything is spent.
    baseline = import_answers(settings.baseline, prompts, stage)
    generations = answers_of(system, prompts, settings, settings.decode, stage, NAME)
    both = settings.orders == "both"
    judging = judge_arguments(settings, "alpaca", both_orders=both, annotator=settings.annotator)
    judging |= {"orders": settings.orders}
    tables = reference_digest(settings.reference)
    judgments = stage("judge_alpaca", generations=generations, baseline=baseline, **judging)
    sources = () if settings.reference else settings.anchors
    variants = [import_answers(source, prompts, stage) for source in sources]
    anchors = [
        stage("judge_alpaca", generations=variant, baseline=baseline, **judging)
        for variant in variants
    ]
    return stage(
        "score_alpaca",
        judgments=judgments,
        generations=generations,
        **system.links(),
        **({"anchors": anchors} if anchors else {}),
        lc_mode=settings.lc_mode,
        reference=settings.reference,
        reference_digest=tables,
        **cell_arguments(
            NAME,
            system,
            settings,
            judging,
            settings.decode,
            contents(settings, settings.baseline, *sources, tables=tables),
        ),
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
    editions={
        "nano": {},
        "official": {
            "prompts": "official:alpaca_eval2",
            "baseline": "official:alpaca_eval2",
            "anchors": (),
            "reference": "official:alpaca_eval2",
            "annotator": "weighted_alpaca_eval_gpt4_turbo",
            "judge": "openai:gpt-4-1106-preview",
        },
    },
)
