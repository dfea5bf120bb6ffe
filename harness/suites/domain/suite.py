"""The domain suites of Explore-Instruct: settings, and the stages of one system.

judged   prompts -> answers -> games against the baseline -> beat rate
math     problems -> answers -> final answers compared with the reference -> accuracy

README.md has the protocol.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

from harness.core.errors import UserError
from harness.engine.plan import Handle, StageMaker
from harness.engine.recipe import Refers
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
from harness.suites.domain.answers import Cleaning
from harness.suites.domain.judging import ORDERINGS, Orders
from harness.suites.domain.mathematics import MathSettings, plan_math

PAPER = "arXiv:2310.09168"
JUDGE = "openai:gpt-3.5-turbo-0301"


class DomainSettings(JudgeSuiteSettings):
    """Settings of judged domains beside those of `JudgeSuiteSettings`.

    Attributes:
        baseline: the other side's answers: a file, "nano:<flavour>", or "system:<name>" of the same
            recipe.
        baselines: further other sides by name, each with a score of its own, `beat_rate:<name>`.
        categories: categories of prompts to use; () for all.
        decode: decoding settings of the system; as published.
        orders: "both" plays two games, "single" one with the baseline first, as released.
        cleaning: removal of an answer header from both sides' answers: "header", "compat" as
            released, or "none".
        parser: "strict" reads the last line of a review, "compat" reads as released.
    """

    prompts: Annotated[str, Refers("prompts")] = "nano:alpaca_eval2"
    baselines: Annotated[dict[str, str], Refers("answers")] = {}
    categories: Annotated[tuple[str, ...], Refers("layout")] = ()
    decode: Decode = Decode(temperature=0.7, max_tokens=512)
    orders: Orders = "both"
    cleaning: Cleaning = "header"


class BrainstormingSettings(DomainSettings):
    """The nano edition asks about people, animals and towns."""

    categories: Annotated[tuple[str, ...], Refers("layout")] = ("roleplay", "stem", "humanities")


class RewritingSettings(DomainSettings):
    """The nano edition asks for reversed and sorted words."""

    categories: Annotated[tuple[str, ...], Refers("layout")] = ("writing", "coding")


def plan(name: str, system: System, settings: DomainSettings, stage: StageMaker) -> Handle:
    """The stages of one system against one baseline; `name` goes on the cells.

    Raises:
        UserError: no baseline is named.
    """
    if not settings.baseline:
        raise UserError(
            f'suite {name} compares with another system: set baseline = "system:<name>" (a system '
            "of the recipe) or a file of answers"
        )
    prompts = import_prompts(settings, stage, settings.categories)
    sources = [settings.baseline, *settings.baselines.values()]
    # Before the answers: a missing source is reported before anything is spent.
    sides = [
        baseline_answers(system, source, prompts, settings, settings.decode, stage, name)
        for source in sources
    ]
    generations = answers_of(system, prompts, settings, settings.decode, stage, name)
    judging = judge_arguments(
        settings, ORDERINGS, orders=settings.orders, cleaning=settings.cleaning
    )
    judgments, *others = [
        stage("judge_domain", generations=generations, baseline=side, **judging) for side in sides
    ]
    data = contents(settings, *sources)
    return stage(
        "score_domain",
        judgments=judgments,
        generations=generations,
        **({"others": others, "names": tuple(settings.baselines)} if others else {}),
        **system.links(),
        parser=settings.parser,
        orders=settings.orders,
        **cell_arguments(name, system, settings, judging, settings.decode, data),
    )


def _judged(name: str, settings: type[DomainSettings], summary: str) -> Suite:
    planned: Callable[[System, Any, StageMaker], Handle] = partial(plan, f"domain_{name}")
    return Suite(
        name=f"domain_{name}",
        version=1,
        summary=summary,
        metrics=(
            Metric("beat_rate", "%", "won among the decided prompts"),
            Metric("beat_rate:*", "%", "against one of `baselines`", primary=False),
            Metric("win_rate", "%", "prompts won in both orders", primary=False),
            Metric("tie_rate", "%", "prompts not decided", primary=False),
            Metric("lose_rate", "%", "prompts lost in both orders", primary=False),
            Metric("contradiction_rate", "%", "the two games name two winners", primary=False),
            Metric("unparsed_rate", "%", "reviews without a verdict", primary=False),
        ),
        settings=settings,
        plan=planned,
        paper=PAPER,
        editions={
            "nano": {},
            "official": {
                "prompts": f"official:explore_{name}",
                "categories": (),
                "baseline": "",
                "judge": JUDGE,
            },
        },
    )


BRAINSTORMING = _judged(
    "brainstorming", BrainstormingSettings, "brainstorming against another system, judged"
)
REWRITING = _judged("rewriting", RewritingSettings, "rewriting against another system, judged")
MATH = Suite(
    name="domain_math",
    version=1,
    summary="500 problems of MATH; final answers compared by computer algebra",
    metrics=(
        Metric("accuracy", "%", "problems whose final answer is right"),
        Metric("unanswered_rate", "%", "problems without a final answer", primary=False),
        Metric("accuracy:level_*", "%", "accuracy by level", primary=False),
        Metric("accuracy:*", "%", "accuracy by subject", primary=False),
    ),
    settings=MathSettings,
    plan=plan_math,
    paper=PAPER,
    needs=("verify",),
    editions={"nano": {}, "official": {"prompts": "official:explore_math"}},
)
