"""What a benchmark suite is: data, protocol and metrics, as a plan that ends in cells.

A suite module reads top-down: docstring with the protocol, settings record, `plan`, `SUITE`.
`plan(system, settings, stage)` only describes stages; the last one writes `cells.json`, a list of
`Cell` dumps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field

from harness.backends.base import Sampling
from harness.core.errors import UserError
from harness.core.hashing import digest, seed_from
from harness.core.records import Record
from harness.data.answers import source_digest
from harness.data.prompts import prompts_identity
from harness.engine.plan import Handle, StageMaker
from harness.engine.recipe import Refers
from harness.judging.judge import OWN, ParserMode, open_judge, protocol

STORED = digest("stored outputs")[:16]  # decode fingerprint of answers made elsewhere
NANO = "nano:"


class Decode(Record):
    """How the evaluated system answers; the seed comes from the system."""

    temperature: float = Field(default=0.0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    max_tokens: int = Field(default=4096, ge=1)

    @property
    def fingerprint(self) -> str:
        return Sampling(**self.model_dump()).fingerprint


@dataclass(frozen=True)
class Program:
    """A system that is more than a model asked once; a method's plan may return one.

    Attributes:
        task: what it answers: "respond" to prompts, or "label_authors".
        answer: (rows, stage, ...) -> handle of answer rows with the same ids; its keywords are the
            task's. respond: `decode`, `seed`. label_authors: see
            `harness.suites.personality.suite`.
        model: handle of the model behind it, if there is one.
        fingerprint: digest of how it answers.
        sensitive_to: fields of `harness.suites.personality.orders.Orders` that can change its
            answers.
    """

    task: str
    answer: Callable[..., Handle]
    model: Handle | None = None
    fingerprint: str = ""
    sensitive_to: frozenset[str] = frozenset()


@dataclass(frozen=True)
class System:
    """What a suite evaluates.

    Attributes:
        model: handle of a model artifact; None where a program needs none.
        program: answers instead of the model alone.
        scale: "nano", "small", "paper" or "rehearsal"; boards never mix them.
        seed: of the run that made the model; decoding derives its own from it.
        decode: replaces the suite's decoding settings, for models with settings of their own.
        stored: the model is a file of stored outputs; its cells say so.
    """

    name: str
    model: Handle | None
    scale: str = "nano"
    seed: int = 0
    decode: Decode | None = None
    stored: bool = False
    program: Program | None = None

    @classmethod
    def of(cls, name: str, made: Handle | Program, **more: Any) -> System:
        """The system that a method's plan made."""
        if isinstance(made, Program):
            return cls(name, made.model, program=made, **more)
        return cls(name, made, **more)

    def decode_fingerprint(self, decode: Decode) -> str:
        """Of its answers in a suite that decodes by `decode`."""
        if self.stored:
            return STORED
        own = (self.decode or decode).fingerprint
        return own if self.program is None else digest([own, self.program.fingerprint])[:16]

    def links(self) -> dict[str, Handle]:
        """The model as an input of a scoring stage; nothing where there is none."""
        return {} if self.model is None else {"model": self.model}

    def program_for(self, task: str, suite: str) -> Program | None:
        """The program, if there is one, checked to answer what the suite asks.

        Raises:
            UserError: it answers something else, or the suite asks the system for something that a
                model alone cannot give and there is no model.
        """
        if self.program is not None and self.program.task != task:
            raise UserError(
                f'system "{self.name}" answers the task "{self.program.task}"; suite {suite} asks '
                f'for "{task}" (crucible methods, crucible suites)'
            )
        return self.program


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
        settings: the record its settings are validated by; has at least `limit`.
        plan: (system, settings, stage) -> handle of the stage that writes cells.json.
        needs: optional extras that the defaults cannot do without.
        editions: name -> settings over the defaults; "official" is the published question set with
            its judge, "nano" the nano world's.
    """

    name: str
    version: int
    summary: str
    metrics: tuple[Metric, ...]
    settings: type[Record]
    plan: Callable[[System, Any, StageMaker], Handle]
    paper: str = ""
    needs: tuple[str, ...] = ()
    editions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


class PromptSuiteSettings(Record):
    """What the suites that put prompts to a system have in common.

    Attributes:
        prompts: "nano:<split>", "official:<set>" or a prompt file, see `harness.data.prompts`.
        limit: use the first prompts only.
        too_long: what happens to prompts that leave the model no room, see
            `harness.backends.sampling`.
        rounds: prompt resamples behind every interval.
    """

    prompts: Annotated[str, Refers("prompts")]
    limit: int | None = Field(default=None, ge=1)
    sample_batch: int = Field(default=16, ge=1)
    too_long: Literal["fail", "cut"] = "fail"
    rounds: int = Field(default=1000, ge=1)


class JudgeSuiteSettings(PromptSuiteSettings):
    """What the suites with a judge have in common.

    Attributes:
        baseline: source of the other side's answers, see `import_answers`.
        judge: see `open_judge`.
        judge_batch: rows judged together; a hosted judge answers them concurrently.
    """

    baseline: Annotated[str, Refers("answers")] = "nano:plain"
    judge: Annotated[str, Refers("judge")] = "nano:oracle"
    parser: ParserMode = "strict"
    judge_max_tokens: int | None = Field(default=None, ge=1)
    judge_batch: int = Field(default=8, ge=1)


def judge_arguments(
    settings: JudgeSuiteSettings, kind: str, *, both_orders: bool = False, annotator: str = OWN
) -> dict[str, Any]:
    """Parameters of a judging stage; the fingerprint makes its id follow the judge."""
    rules = protocol(
        kind,
        parser=settings.parser,
        max_tokens=settings.judge_max_tokens,
        both_orders=both_orders,
        annotator=annotator,
    )
    published = {} if annotator == OWN else {"annotator": annotator}
    return {
        **published,
        "judge": settings.judge,
        "fingerprint": open_judge(settings.judge, rules).fingerprint,
        "parser": settings.parser,
        "max_tokens": settings.judge_max_tokens,
        "batch_size": settings.judge_batch,
    }


def import_prompts(
    settings: PromptSuiteSettings, stage: StageMaker, categories: Sequence[str] = ()
) -> Handle:
    """The stage that brings in the questions, of some categories or of all."""
    identity = prompts_identity(settings.prompts)
    chosen = {"categories": tuple(categories)} if categories else {}
    return stage(
        "import_prompts", ref=settings.prompts, limit=settings.limit, digest=identity, **chosen
    )


def import_answers(source: str, prompts: Handle, stage: StageMaker, **more: Any) -> Handle:
    """The stage that brings in answers from elsewhere: a baseline or references."""
    identity = source_digest(source)
    return stage("import_answers", prompts=prompts, source=source, digest=identity, **more)


def contents(settings: PromptSuiteSettings, *sources: str, tables: str = "") -> str:
    """What the questions and the answers beside them are, by content, for cells to carry.

    "" where all of it is of the nano world, whose version is part of the judge's fingerprint.

    Args:
        sources: of answers, see `import_answers`.
        tables: identity of published tables, if any.
    """
    refs = [settings.prompts, *sources]
    if not tables and all(ref.startswith(NANO) for ref in refs):
        return ""
    found = [prompts_identity(settings.prompts), *(source_digest(source) for source in sources)]
    found += [tables] if tables else []
    return ", ".join(part if "@" in part else f"file@{part}" for part in found)


def answers_of(
    system: System,
    prompts: Handle,
    settings: PromptSuiteSettings,
    decode: Decode,
    stage: StageMaker,
    *parts: object,
) -> Handle:
    """The stage in which the system answers; its seed comes from the system's and `parts`."""
    # Stored outputs are what they are: no setting makes another stage of them.
    chosen = Decode() if system.stored else system.decode or decode
    program = system.program_for("respond", str(parts[0]) if parts else "")
    if program is not None:
        seed = seed_from(system.seed, *parts) % 2**31
        return program.answer(prompts, stage, decode=chosen, seed=seed)
    return stage(
        "sample",
        prompts=prompts,
        model=system.model,
        system=system.name,
        n=1,
        seed=0 if system.stored else seed_from(system.seed, *parts) % 2**31,
        batch_size=settings.sample_batch,
        too_long=settings.too_long,
        on_error="record",  # one prompt that cannot be answered is a counted failure, not the end
        **chosen.model_dump(),
    )


def cell_arguments(
    suite: str,
    system: System,
    settings: PromptSuiteSettings,
    judging: dict[str, Any],
    decode: Decode,
    data: str = "",
) -> dict[str, Any]:
    """Parameters of a scoring stage: what its cells say of where they come from.

    Args:
        judging: "judge" and "fingerprint", as `judge_arguments` gives them.
        data: see `contents`.
    """
    known: dict[str, Any] = {"data": data} if data else {}
    if system.stored:
        known["stored"] = True
    if settings.too_long == "cut":
        known["cut"] = True
    return {
        **known,
        "suite": suite,
        "system": system.name,
        "scale": system.scale,
        "seed": system.seed,
        "judge": judging["judge"],
        "judge_fingerprint": judging["fingerprint"],
        "decode_fingerprint": system.decode_fingerprint(decode),
        "rounds": settings.rounds,
    }
