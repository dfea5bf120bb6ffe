"""AlpacaEval 2: settings, and the stages of one system; README.md has the protocol.

prompts -> answers -> one judgment per prompt, and one per answer of the baseline's variants ->
length-controlled win rate and win rate.
"""

from __future__ import annotations

from typing import Annotated, Literal

from harness.engine.plan import Handle, StageMaker
from harness.engine.recipe import Refers
from harness.judging.annotators import OWN
from harness.suites.alpaca_eval2.cells import reference_digest
from harness.suites.alpaca_eval2.judging import PREFERENCES
from harness.suites.alpaca_eval2.length_control import Mode
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
    import_answers,
    import_prompts,
    judge_arguments,
)

NAME = "alpaca_eval2"


class AlpacaEvalSettings(JudgeSuiteSettings):
    """Settings of AlpacaEval 2 beside those of `JudgeSuiteSettings`.

    Attributes:
        anchors: sources of the baseline's variants that anchor the length control. Without
            `anchors` and `reference` it is fitted on the system alone.
        reference: the published tables: "official:alpaca_eval2", or a folder with df_gamed.csv and
            the order of the instructions.
        annotator: source of prompt and parser: "crucible", whose quotation cannot be forged, or a
            configuration of the installed alpaca-eval.
        decode: decoding settings of the system.
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
    # Before the answers: a missing source is reported before anything is spent.
    baseline = baseline_answers(
        system, settings.baseline, prompts, settings, settings.decode, stage, NAME
    )
    generations = answers_of(system, prompts, settings, settings.decode, stage, NAME)
    judging = judge_arguments(
        settings, PREFERENCES, orders=settings.orders, annotator=settings.annotator
    )
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
    summary="one pairwise judgment per prompt; win rate and length-controlled win rate",
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
