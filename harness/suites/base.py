"""What a benchmark suite is: data, protocol and metrics, as a plan that ends in cells.

A suite module reads top-down: docstring with the protocol, settings record, `plan`, `SUITE`.
`plan(system, settings, stage)` only describes stages; the last one writes `cells.json`, a list of
`Cell` dumps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from harness.backends.base import Sampling
from harness.hashing import seed_from
from harness.judging.judge import ParserMode, open_judge, protocol
from harness.plan import Handle, StageMaker
from harness.prompts import prompts_identity
from harness.records import Record


class Decode(Record):
    """How the evaluated system answers; the seed comes from the system."""

    temperature: float = Field(default=0.0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    max_tokens: int = Field(default=4096, ge=1)

    @property
    def fingerprint(self) -> str:
        return Sampling(**self.model_dump()).fingerprint


@dataclass(frozen=True)
class System:
    """What a suite evaluates.

    Attributes:
        model: handle of a model artifact.
        scale: "nano", "small", "paper" or "rehearsal"; boards never mix them.
        seed: of the run that made the model; decoding derives its own from it.
        decode: replaces the suite's decoding settings, for models with settings of their own.
    """

    name: str
    model: Handle
    scale: str = "nano"
    seed: int = 0
    decode: Decode | None = None


@dataclass(frozen=True)
class Metric:
    """One metric that a suite's cells carry."""

    name: str
    unit: str
    summary: str
    primary: bool = True


@dataclass(frozen=True)
class Suite:
    """A registered benchmark suite.

    Attributes:
        version: raised when the same answers would give another score.
        settings: the record its settings are validated by; has at least `judge` and `limit`.
        plan: (system, settings, stage) -> handle of the stage that writes cells.json.
        needs: optional extras that the defaults cannot do without.
    """

    name: str
    version: int
    summary: str
    metrics: tuple[Metric, ...]
    settings: type[Record]
    plan: Callable[[System, Any, StageMaker], Handle]
    paper: str = ""
    needs: tuple[str, ...] = ()


class JudgeSuiteSettings(Record):
    """What the suites with a judge have in common.

    Attributes:
        prompts: "nano:<split>" or a prompt file, see `import_prompts`.
        baseline: source of the other side's answers, see `import_answers`.
        limit: use the first prompts only.
        judge: see `open_judge`.
        judge_batch: rows judged together; a hosted judge answers them concurrently.
        rounds: prompt resamples behind every interval.
    """

    prompts: str
    baseline: str = "nano:plain"
    limit: int | None = Field(default=None, ge=1)
    judge: str = "nano:oracle"
    parser: ParserMode = "strict"
    judge_max_tokens: int | None = Field(default=None, ge=1)
    judge_batch: int = Field(default=8, ge=1)
    sample_batch: int = Field(default=16, ge=1)
    rounds: int = Field(default=1000, ge=1)


def judge_arguments(
    settings: JudgeSuiteSettings, kind: str, *, both_orders: bool = False
) -> dict[str, Any]:
    """Parameters of a judging stage; the fingerprint makes its id follow the judge."""
    rules = protocol(
        kind,
        parser=settings.parser,
        max_tokens=settings.judge_max_tokens,
        both_orders=both_orders,
    )
    return {
        "judge": settings.judge,
        "fingerprint": open_judge(settings.judge, rules).fingerprint,
        "parser": settings.parser,
        "max_tokens": settings.judge_max_tokens,
        "batch_size": settings.judge_batch,
    }


def import_prompts(settings: JudgeSuiteSettings, stage: StageMaker) -> Handle:
    """The stage that brings in the questions."""
    identity = prompts_identity(settings.prompts)
    return stage("import_prompts", ref=settings.prompts, limit=settings.limit, digest=identity)


def answers_of(
    system: System,
    prompts: Handle,
    settings: JudgeSuiteSettings,
    decode: Decode,
    stage: StageMaker,
    *parts: object,
) -> Handle:
    """The stage in which the system answers; its seed comes from the system's and `parts`."""
    chosen = system.decode or decode
    return stage(
        "sample",
        prompts=prompts,
        model=system.model,
        system=system.name,
        n=1,
        seed=seed_from(system.seed, *parts) % 2**31,
        batch_size=settings.sample_batch,
        on_error="record",  # one prompt that is too long is a counted failure, not the end
        **chosen.model_dump(),
    )


def cell_arguments(
    suite: str,
    system: System,
    settings: JudgeSuiteSettings,
    judging: dict[str, Any],
    decode: Decode,
) -> dict[str, Any]:
    """Parameters of a scoring stage: what its cells say of where they come from.

    Args:
        judging: the parameters of the judging stage, see `judge_arguments`.
    """
    return {
        "suite": suite,
        "system": system.name,
        "scale": system.scale,
        "seed": system.seed,
        "judge": settings.judge,
        "judge_fingerprint": judging["fingerprint"],
        "decode_fingerprint": (system.decode or decode).fingerprint,
        "rounds": settings.rounds,
    }
