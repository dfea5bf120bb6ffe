"""Definition of a benchmark suite: data, protocol and metrics, as a plan that ends in cells.

Each suite has a folder: README.md with the protocol, suite.py with the settings record, `plan` and
`SUITE`, and everything else that is particular to it. `plan(system, settings, stage)` only
describes stages; the last one writes `cells.json`, a list of `Cell` dumps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field

from harness.backends.base import Sampling
from harness.backends.saying import Thoughts
from harness.core.errors import UserError, unknown
from harness.core.hashing import digest, seed_from
from harness.core.records import Record
from harness.data.answers import answers_identity
from harness.data.prompts import prompts_identity
from harness.engine.plan import Handle, StageMaker
from harness.engine.recipe import Refers
from harness.judging.judge import ParserMode, open_judge
from harness.judging.operations import JudgeOperation

STORED = digest("stored outputs")[:16]  # decode fingerprint of answers generated elsewhere
NANO = "nano:"
SYSTEM = "system:"  # a baseline that is another system of the same run


class Decode(Record):
    """Decoding settings of the evaluated system; the seed is derived from the system's.

    Attributes:
        thoughts: "split" keeps a model's thought apart from the answer that is judged; "keep"
            leaves it in the answer.
    """

    temperature: float = Field(default=0.0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    max_tokens: int = Field(default=4096, ge=1)
    thoughts: Thoughts = Field(default="split", exclude_if=lambda value: value == "split")

    @property
    def fingerprint(self) -> str:
        own = Sampling(**self.model_dump(exclude={"thoughts"})).fingerprint
        return self.with_rule(own)

    def with_rule(self, fingerprint: str) -> str:
        """A decode fingerprint with the rule for thoughts; splitting them is left out."""
        if self.thoughts == "split":
            return fingerprint
        return digest([fingerprint, "thoughts", self.thoughts])[:16]


@dataclass(frozen=True)
class Program:
    """A system that is more than one call of a model; a method's plan may return one.

    Attributes:
        task: "respond" (answer prompts) or "label_authors".
        answer: (rows, stage, ...) -> handle of answer rows with the same ids. Keywords of respond:
            `decode`, `seed`; of label_authors: see `harness.suites.personality.suite`.
        model: handle of the underlying model, if there is one.
        fingerprint: digest of the procedure.
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
    """The subject of an evaluation.

    Attributes:
        model: handle of a model artifact; None for a program that needs none.
        scale: "nano", "small", "paper" or "rehearsal"; boards never mix scales.
        seed: seed of the run that made the model; decoding seeds are derived from it.
        decode: decoding settings that replace the suite's.
        stored: the model is a file of stored outputs; recorded on its cells.
        template: arguments of its chat template; part of the decode fingerprint.
        program: procedure that answers in place of the model alone.
    """

    name: str
    model: Handle | None
    scale: str = "nano"
    seed: int = 0
    decode: Decode | None = None
    stored: bool = False
    program: Program | None = None
    template: str = ""
    peers: Mapping[str, System] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def of(cls, name: str, made: Handle | Program, **more: Any) -> System:
        """The system for the handle or program that a method's plan returned."""
        if isinstance(made, Program):
            return cls(name, made.model, program=made, **more)
        return cls(name, made, **more)

    def decode_fingerprint(self, decode: Decode) -> str:
        """Fingerprint of its decoding in a suite whose settings are `decode`."""
        if self.stored:
            return decode.with_rule(STORED)
        own = (self.decode or decode).fingerprint
        if self.template:
            own = digest([own, self.template])[:16]
        return own if self.program is None else digest([own, self.program.fingerprint])[:16]

    def peer(self, name: str) -> System:
        """Another system of the run.

        Raises:
            UnknownName: there is none of this name.
        """
        if name not in self.peers:
            raise unknown("system of this run", name, self.peers)
        return self.peers[name]

    def links(self) -> dict[str, Handle]:
        """The model as an input of a scoring stage; {} without a model."""
        return {} if self.model is None else {"model": self.model}

    def program_for(self, task: str, suite: str) -> Program | None:
        """The program, or None, after checking that it performs the suite's task.

        Raises:
            UserError: it performs another task.
        """
        if self.program is not None and self.program.task != task:
            raise UserError(
                f'system "{self.name}" answers the task "{self.program.task}"; suite {suite} asks '
                f'for "{task}" (crucible methods, crucible suites)'
            )
        return self.program


@dataclass(frozen=True)
class Metric:
    """One metric of a suite's cells."""

    name: str
    unit: str
    summary: str
    primary: bool = True


@dataclass(frozen=True)
class Suite:
    """A registered benchmark suite.

    Attributes:
        version: raise it when the same answers would get another score.
        settings: record that validates its settings; has at least the field `limit`.
        plan: (system, settings, stage) -> handle of the stage that writes cells.json.
        needs: optional extras that the default settings require.
        editions: name -> settings that override the defaults; "official" is the published question
            set with its judge, "nano" that of the nano world.
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
    """Settings of every suite with prompts.

    Attributes:
        prompts: "nano:<split>", "official:<set>" or a prompt file, see `harness.data.prompts`.
        limit: number of prompts to use, from the first; None for all.
        sample_batch: prompts answered together.
        too_long: treatment of prompts that leave the model no room for an answer, see
            `harness.backends.sampling`.
        rounds: number of prompt resamples per interval.
    """

    prompts: Annotated[str, Refers("prompts")]
    limit: int | None = Field(default=None, ge=1)
    sample_batch: int = Field(default=16, ge=1)
    too_long: Literal["fail", "cut"] = "fail"
    rounds: int = Field(default=1000, ge=1)


class JudgeSuiteSettings(PromptSuiteSettings):
    """Settings of every suite with a judge.

    Attributes:
        baseline: source of the other side's answers, see `import_answers`; "system:<name>" is
            another system of the same recipe and seed.
        judge: reference of the judge, see `open_judge`.
        parser: reader of its replies, see `harness.judging.judge.protocol`.
        judge_max_tokens: limit of its explanations; None for the paper's.
        judge_batch: rows judged together; a hosted judge answers them concurrently.
    """

    baseline: Annotated[str, Refers("answers")] = "nano:plain"
    judge: Annotated[str, Refers("judge")] = "nano:oracle"
    parser: ParserMode = "strict"
    judge_max_tokens: int | None = Field(default=None, ge=1)
    judge_batch: int = Field(default=8, ge=1)


def judge_arguments(
    settings: JudgeSuiteSettings, operation: JudgeOperation, **own: Any
) -> dict[str, Any]:
    """Parameters of a judging stage; the fingerprint makes its id depend on the judge.

    Args:
        own: parameters that this operation has beside the common ones.
    """
    chosen = {
        "judge": settings.judge,
        "parser": settings.parser,
        "max_tokens": settings.judge_max_tokens,
        "batch_size": settings.judge_batch,
        **own,
    }
    rules = operation.rules(operation.params(fingerprint="", **chosen))
    return {**chosen, "fingerprint": open_judge(settings.judge, rules).fingerprint}


def import_prompts(
    settings: PromptSuiteSettings, stage: StageMaker, categories: Sequence[str] = ()
) -> Handle:
    """The stage that imports the prompts, of some categories or of all."""
    identity = prompts_identity(settings.prompts)
    chosen = {"categories": tuple(categories)} if categories else {}
    return stage(
        "import_prompts", ref=settings.prompts, limit=settings.limit, digest=identity, **chosen
    )


def import_answers(source: str, prompts: Handle, stage: StageMaker, **more: Any) -> Handle:
    """The stage that imports answers from a source: a baseline or references."""
    identity = answers_identity(source)
    return stage("import_answers", prompts=prompts, source=source, digest=identity, **more)


def baseline_answers(
    system: System,
    source: str,
    prompts: Handle,
    settings: PromptSuiteSettings,
    decode: Decode,
    stage: StageMaker,
    *parts: object,
) -> Handle:
    """The other side's answers: imported, or another system's own, in the stage that samples it.

    Args:
        decode, parts: as for `answers_of`.
    """
    if not source.startswith(SYSTEM):
        return import_answers(source, prompts, stage)
    peer = system.peer(source.removeprefix(SYSTEM))
    return answers_of(peer, prompts, settings, decode, stage, *parts)


def contents(settings: PromptSuiteSettings, *sources: str, tables: str = "") -> str:
    """Content identity of the prompts and imported answers, which cells record.

    "" if all of them are from the nano world, whose version is part of the judge's fingerprint.

    Args:
        sources: sources of answers, see `import_answers`.
        tables: identity of published tables, if any.
    """
    refs = [settings.prompts, *sources]
    if not tables and all(ref.startswith(NANO) for ref in refs):
        return ""
    found = [prompts_identity(settings.prompts)]
    for source in sources:
        own = source.startswith(SYSTEM)
        found.append(source.replace(":", "@", 1) if own else answers_identity(source))
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
    """The stage in which the system answers; its seed is derived from the system's and `parts`."""
    # Settings do not change stored outputs, hence must not change the stage's id.
    chosen = system.decode or decode
    if system.stored:
        chosen = Decode(thoughts=decode.thoughts)
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
        on_error="record",  # a prompt that cannot be answered is a counted failure
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
    """Parameters of a scoring stage that its cells record as their origin.

    Args:
        judging: "judge" and "fingerprint", as in `judge_arguments`.
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
