"""MT-Bench: settings, and the stages of one system; README.md has the protocol.

prompts -> answers to both turns -> a rating per turn (and comparisons with a baseline) -> scores.

`mt_bench` uses the reference answers of gpt-4, 13 of which are wrong in at least one turn, as
figures published in 2023 do. `mt_bench_corrected` has the same questions with corrected references,
as later papers do. They are different suites: their scores never share a column.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

from harness.core.errors import UserError
from harness.core.hashing import digest
from harness.data import official
from harness.engine.plan import Handle, StageMaker
from harness.engine.recipe import Refers
from harness.suites.base import (
    SYSTEM,
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
from harness.suites.mt_bench.cells import UNIT
from harness.suites.mt_bench.judging import CHOICES, RATINGS

NAME = "mt_bench"
CORRECTED = "mt_bench_corrected"
GUIDED = ("reasoning", "math", "coding")  # graded with a reference answer
OTHERS = 0.7  # temperature of every category that is not listed below
TEMPERATURES = {
    0.0: ("extraction", "math", "coding", "reasoning"),
    0.1: ("stem", "humanities"),
}


class MTBenchSettings(JudgeSuiteSettings):
    """Settings of MT-Bench beside those of `JudgeSuiteSettings`.

    Attributes:
        references: source of reference answers; "" for none. Outside the nano world, the categories
            reasoning, math and coding need one for every question and turn.
        decode: decoding settings of the system.
        by_category: use the paper's temperature of each category instead of that of `decode`. A
            system with its own decoding settings keeps them.
        pairwise: also compare with `baseline`; the published set has no default baseline.
    """

    prompts: str = "nano:mt_bench"
    references: Annotated[str, Refers("answers")] = "nano:reference"
    decode: Decode = Decode(temperature=0.0, max_tokens=1024)
    by_category: bool = True
    pairwise: bool = False


class MTBenchCorrectedSettings(MTBenchSettings):
    """Settings of the published questions with corrected reference answers."""

    prompts: str = "official:mt_bench"
    references: str = "official:mt_bench_corrected"
    baseline: str = ""
    judge: str = "openai:gpt-4-0125-preview"


def plan(name: str, system: System, settings: MTBenchSettings, stage: StageMaker) -> Handle:
    """The stages of one system on MT-Bench; `name` goes on the cells.

    Raises:
        UserError: `pairwise` without a baseline, or references of the other MT-Bench suite.
    """
    prompts = import_prompts(settings, stage)
    # Before the answers: a missing source is reported before anything is spent.
    guides = _guides(name, settings, prompts, stage)
    baseline = _baseline(system, settings, prompts, stage) if settings.pairwise else None
    responses = dialogues(system, prompts, settings, stage)
    judging = judge_arguments(settings, RATINGS)
    judgments = stage("judge_mt_bench", responses=responses, **guides, **judging)
    compared: dict[str, Any] = {}
    sources = [settings.references] if settings.references else []
    if baseline is not None:
        asking = judge_arguments(settings, CHOICES)
        sources.append(settings.baseline)
        compared["pairwise"] = stage(
            "judge_mt_bench_pairwise", responses=responses, baseline=baseline, **guides, **asking
        )
        compared["pairwise_fingerprint"] = asking["fingerprint"]
    return stage(
        "score_mt_bench",
        judgments=judgments,
        generations=responses,
        **system.links(),
        **compared,
        **cell_arguments(
            name, system, settings, judging, settings.decode, contents(settings, *sources)
        )
        | {"decode_fingerprint": decode_fingerprint(system, settings)},
    )


def _guides(
    name: str, settings: MTBenchSettings, prompts: Handle, stage: StageMaker
) -> dict[str, Handle]:
    source = settings.references
    if not source:
        return {}
    if name == CORRECTED:
        official.check_corrected(source)
    elif source == f"{official.PREFIX}{CORRECTED}":
        raise UserError(
            f"suite {name} is graded with the original references; for the corrected ones choose "
            f"suite {CORRECTED}"
        )
    required = {} if source.startswith("nano:") else {"required": GUIDED}
    return {"references": import_answers(source, prompts, stage, partial=True, **required)}


def _baseline(
    system: System, settings: MTBenchSettings, prompts: Handle, stage: StageMaker
) -> Handle:
    if not settings.baseline:
        raise UserError(
            "pairwise needs `baseline`: a file with the other side's answers, such as "
            "model_answer/gpt-3.5-turbo.jsonl of FastChat"
        )
    if settings.baseline.startswith(SYSTEM):
        peer = system.peer(settings.baseline.removeprefix(SYSTEM))
        return dialogues(peer, prompts, settings, stage)
    return import_answers(settings.baseline, prompts, stage, partial=False)


def dialogues(
    system: System, prompts: Handle, settings: MTBenchSettings, stage: StageMaker
) -> Handle:
    """The stage whose rows are second turns, each with the complete dialogue."""
    if not settings.by_category or system.decode is not None or system.stored:
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
    """Fingerprint of the decoding settings, of all categories where they differ."""
    if not settings.by_category or system.decode is not None or system.stored:
        return system.decode_fingerprint(settings.decode)
    parts = {str(temperature): names for temperature, names in TEMPERATURES.items()}
    rest = settings.decode.model_dump(exclude={"temperature"})
    return digest([parts, OTHERS, rest])[:16]


def _suite(
    name: str,
    settings: type[MTBenchSettings],
    summary: str,
    editions: dict[str, dict[str, Any]],
    needs: tuple[str, ...] = (),
) -> Suite:
    planned: Callable[[System, Any, StageMaker], Handle] = partial(plan, name)
    return Suite(
        name=name,
        version=1,
        summary=summary,
        metrics=(
            Metric("score", UNIT, "mean over all graded turns"),
            Metric("turn_1", UNIT, "mean over first turns", primary=False),
            Metric("turn_2", UNIT, "mean over second turns", primary=False),
            Metric("category:*", UNIT, "mean over the turns of a category", primary=False),
            Metric("win_rate", "%", "wins of all comparisons (pairwise)", primary=False),
            Metric("win_rate_adjusted", "%", "wins and half the ties (pairwise)", primary=False),
        ),
        settings=settings,
        plan=planned,
        paper="arXiv:2306.05685",
        needs=needs,
        editions=editions,
    )


SUITE = _suite(
    NAME,
    MTBenchSettings,
    "two-turn questions graded 1 to 10; pairwise mode",
    {
        "nano": {},
        "official": {
            "prompts": "official:mt_bench",
            "references": "official:mt_bench",
            "baseline": "",
            "judge": "openai:gpt-4",
        },
    },
)
CORRECTED_SUITE = _suite(
    CORRECTED,
    MTBenchCorrectedSettings,
    "the published questions, graded with corrected references",
    {"official": {}},
    needs=("api",),
)
