"""Multiple-choice and exact-match benchmarks with lm-eval: the papers' lists, and any other task.

    lm_nano       three tasks on the nano world, offline
    lm_fusellm    benchmarks of FuseLLM (arXiv:2401.10491), zero-shot as far as a task allows
    lm_fusechat3  benchmarks of FuseChat-3.0 (arXiv:2503.04222) without a judge, with chat template
    lm_eval       the tasks named in `tasks`

Protocol: all tasks of a model run in one call; prompts, filters and metrics are lm-eval's. Each
metric becomes a cell with a bootstrap interval over documents. Tasks define how answers are
decoded, so a system's decoding settings are not used here.

Numbers in the FuseLLM paper come from other programs (open-instruct for BBH, OpenCompass for the
generative tasks, lm-eval 0.3.0 for the rest), so agreement is expected only roughly.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from pydantic import Field

from harness.engine.plan import Handle, StageMaker
from harness.suites.base import Metric, Suite, System
from harness.suites.lm_eval.catalogue import FUSECHAT3, FUSELLM, NANO, TaskList
from harness.suites.lm_eval.settings import TaskSettings, run_arguments


class LmEvalSettings(TaskSettings):
    """Settings of the suite `lm_eval`; see `TaskSettings` for the rest.

    Attributes:
        rounds: resamples of the documents per interval.
    """

    rounds: int = Field(default=1000, ge=1)


class FuseLLMSettings(LmEvalSettings):
    """Settings of the suite `lm_fusellm`; see `LmEvalSettings`."""

    tasks: tuple[str, ...] = Field(default=FUSELLM.tasks, min_length=1)


class FuseChat3Settings(LmEvalSettings):
    """Settings of the suite `lm_fusechat3`.

    Attributes:
        letters: extraction of letters that is the primary metric, "chosen" or "released"; see
            `harness.verification.letters`. All extractions are reported.
        unparsed: score of an answer without a letter: "wrong", or "random", a seeded draw among
            the options as in the original (implies the released extraction).
    """

    tasks: tuple[str, ...] = Field(default=FUSECHAT3.tasks, min_length=1)
    chat_template: bool = True
    letters: Literal["chosen", "released"] = "chosen"
    unparsed: Literal["wrong", "random"] = "wrong"


class NanoSettings(LmEvalSettings):
    """Settings of the suite `lm_nano`; see `LmEvalSettings`."""

    tasks: tuple[str, ...] = Field(default=NANO.tasks, min_length=1)
    chat_template: bool = True


Plan = Callable[[System, Any, StageMaker], Handle]


def _plan(suite: str, listed: TaskList) -> Plan:
    def plan(system: System, settings: LmEvalSettings, stage: StageMaker) -> Handle:
        """Stages of one system: run all tasks, then score."""
        system.program_for("log_likelihoods", suite)  # refuses programs
        nano = any(name.startswith("crucible_nano") for name in settings.tasks)
        results = stage("lm_eval_run", model=system.model, **run_arguments(settings))
        return stage(
            "score_lm_eval",
            results=results,
            **system.links(),
            suite=suite,
            system=system.name,
            scale="nano" if nano and system.scale != "rehearsal" else system.scale,
            seed=system.seed,
            rounds=settings.rounds,
            headline=_headline(settings, listed),
            averages=listed.averages,
            absent=listed.absent,
        )

    return plan


def _headline(settings: LmEvalSettings, listed: TaskList) -> dict[str, str]:
    if not isinstance(settings, FuseChat3Settings):
        return listed.headline
    used = "chosen" if settings.letters == "chosen" else "three-stage"
    used = "three-stage-random" if settings.unparsed == "random" else used
    return {task: key.replace(",chosen", f",{used}") for task, key in listed.headline.items()}


def _metrics(listed: TaskList) -> tuple[Metric, ...]:
    """Primary metrics, then averages, then all other metrics."""
    found = []
    for task, key in listed.headline.items():
        metric, _, chosen = key.partition(",")
        label = f"{task}:{metric}" + ("" if chosen == "none" else f":{chosen}")
        found.append(Metric(label, "%", "share of documents"))
    found += [Metric(name, "%", "macro average") for name in listed.averages]
    return (*found, Metric("*", "%", "the tasks' other metrics", primary=False))


LM_EVAL = Suite(
    name="lm_eval",
    version=1,
    summary="any tasks of lm-eval, by name",
    metrics=(Metric("*", "%", "task:metric, task:metric:filter or group:metric"),),
    settings=LmEvalSettings,
    plan=_plan("lm_eval", TaskList(headline={})),
    needs=("lm-eval", "train"),
)

LM_FUSELLM = Suite(
    name="lm_fusellm",
    version=1,
    summary="FuseLLM's list: BBH, common sense, TriviaQA, DROP, LAMBADA",
    metrics=_metrics(FUSELLM),
    settings=FuseLLMSettings,
    plan=_plan("lm_fusellm", FUSELLM),
    paper="arXiv:2401.10491",
    needs=("lm-eval", "train"),
)

LM_FUSECHAT3 = Suite(
    name="lm_fusechat3",
    version=1,
    summary="FuseChat-3.0's list without a judge: mathematics, knowledge, code",
    metrics=_metrics(FUSECHAT3),
    settings=FuseChat3Settings,
    plan=_plan("lm_fusechat3", FUSECHAT3),
    paper="arXiv:2503.04222",
    needs=("lm-eval", "train"),
)

LM_NANO = Suite(
    name="lm_nano",
    version=1,
    summary="facts and skills of the nano world: 260 choices, 260 answers",
    metrics=_metrics(NANO),
    settings=NanoSettings,
    plan=_plan("lm_nano", NANO),
    needs=("lm-eval", "train"),
)
