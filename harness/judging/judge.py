"""A judge: a backend bound to a protocol, with one retry policy and counted failures.

    judge = open_judge("nano:oracle", protocol("arena"))
    judgments = judge.ask([Question("q1/0", arena_frame(prompt, a, b))])

`stream` always yields one judgment per question; `ask` collects them. A question whose reply
contains no verdict is asked again at most `RETRIES` times, with a request to give only the verdict;
the attempt's number is part of the request's id and seed, so stored replies of different attempts
never mix. Without a verdict after the last attempt the judgment has failed: its verdict is None and
its reason is recorded and counted.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from harness.backends.asking import Query
from harness.backends.base import Backend, Completion, Sampling, messages_of
from harness.backends.conversing import NO_ANSWER, Turn, converse
from harness.backends.hosted import open_backend
from harness.backends.prompting import Unreadable
from harness.core.hashing import digest
from harness.engine.calls import Services
from harness.judging import annotators, verdicts
from harness.judging.annotators import OWN
from harness.judging.frames import REPAIR, Message, alpaca_frame, prompt_hash
from harness.judging.injection import suspicion
from harness.judging.labels import LABEL_STATES

_LOG = logging.getLogger(__name__)

RETRIES = 2
ParserMode = verdicts.Mode
Verdict = float | str


def _contains_marks(answer: str) -> str | None:
    """Crucible's frames cannot be imitated; a verdict or a chat mark in an answer is still odd."""
    return suspicion((), answer)


@dataclass(frozen=True)
class Protocol:
    """The questions to a judge and the reader of its replies.

    Attributes:
        kind: kind of frame, see `frames.KINDS`.
        order_rule: order in which answers are shown; part of the fingerprint, implemented by the
            operations.
        sampling: decoding settings of the judge.
        parser: name, mode and version of the parser.
        read: completion -> verdict, or None if it contains none.
        prompt: digest of the wording; part of the fingerprint.
        frame: alpaca only: (instruction, first answer, second answer) -> messages.
        suspicion: answer -> why it looks like an attack on the prompt, or None. Crucible's frames
            cannot be imitated, see `frames`; published ones can.
        repair: request for the verdict alone, after an unreadable reply; "" repeats the question
            unchanged, because published prompts have no such request.
        mass: alpaca only: completion -> probability of the two identifiers together.
        least_mass: a verdict needs this mass.
    """

    kind: str
    order_rule: str
    sampling: Sampling
    parser: str
    read: Callable[[Completion], Verdict | None]
    prompt: str
    frame: Callable[[str, str, str], list[Message]] = alpaca_frame
    suspicion: Callable[[str], str | None] = _contains_marks
    repair: str = ""
    mass: Callable[[Completion], float | None] | None = None
    least_mass: float = 0.0

    def mass_of(self, completion: Completion) -> float | None:
        """The probability of the two identifiers together; None where none are weighed."""
        return self.mass(completion) if self.mass is not None else None


@dataclass(frozen=True)
class Question:
    """A rendered frame and its id."""

    id: str
    messages: list[Message]


@dataclass(frozen=True)
class Judgment:
    """The judge's last reply to a question and the verdict read from it.

    `failure` is the reason for a missing verdict; `logprobs` are those of the reply's first token,
    where requested, and `mass` is the probability of the two identifiers together. `served_by` is
    the model that replied, if it is not the judge.
    """

    id: str
    reply: str
    verdict: Verdict | None
    attempts: int
    failure: str | None = None
    logprobs: tuple[tuple[str, float], ...] | None = None
    mass: float | None = None
    served_by: str | None = None


@dataclass(frozen=True)
class Judge:
    """A backend with the protocol it is asked in."""

    backend: Backend
    protocol: Protocol

    @property
    def fingerprint(self) -> str:
        """Digest of model, prompt hash, parser, decoding settings, order rule and retries."""
        rules = self.protocol
        return digest(
            {
                "model": self.backend.fingerprint,
                "prompt": rules.prompt,
                "parser": rules.parser,
                "decode": rules.sampling.fingerprint,
                "order": rules.order_rule,
                "retries": RETRIES,
            }
        )[:16]

    def ask(
        self, questions: Sequence[Question], count: Callable[..., None] | None = None
    ) -> dict[str, Judgment]:
        """Judge every question; see `stream`."""
        return {judgment.id: judgment for judgment in self.stream(questions, count)}

    def stream(
        self, questions: Sequence[Question], count: Callable[..., None] | None = None
    ) -> Iterator[Judgment]:
        """Judge every question; yield judgments, failed ones included, in order of completion.

        A question is asked again if its reply contains no verdict. A backend error is final,
        because the backend has its own retries.

        Args:
            count: callback that records requests and tokens, see `Context.count`.
        """
        queries = [self._query(question) for question in questions]
        for id, turns in converse(self.backend, queries, count=count):
            judgment = self._judgment(id, turns)
            if judgment.verdict is None:
                _LOG.warning("no verdict on %s: %s", judgment.id, judgment.failure)
            yield judgment

    def _query(self, question: Question) -> Query:
        rules = self.protocol
        shown = messages_of(question.messages)
        return Query(question.id, shown, rules.sampling, self._verdict, RETRIES, rules.repair)

    def _verdict(self, turn: Turn) -> Verdict:
        rules, completion = self.protocol, turn.completion
        verdict, mass = rules.read(completion), rules.mass_of(completion)
        if verdict is None:
            raise Unreadable(_why_unreadable(rules, completion))
        if mass is not None and mass < rules.least_mass:
            raise Unreadable(
                f"the judge said something else: its identifiers have less than {rules.least_mass} "
                "of the probability"
            )
        return verdict

    def _judgment(self, id: str, turns: Sequence[Turn]) -> Judgment:
        last, attempts = turns[-1], len(turns)
        if last.error is not None:
            lost = last.error == NO_ANSWER
            failure = "the judge said nothing" if lost else f"the judge failed: {last.error}"
            return Judgment(id, "", None, attempts, failure)
        first = last.top_logprobs[0] if last.top_logprobs else None
        mass = self.protocol.mass_of(last.completion)
        read = partial(Judgment, id, last.text, attempts=attempts, logprobs=first, mass=mass)
        try:
            return read(verdict=self._verdict(last), served_by=last.served_by)
        except Unreadable as problem:
            return read(verdict=None, failure=str(problem), served_by=last.served_by)


def _why_unreadable(rules: Protocol, completion: Completion) -> str:
    if rules.sampling.top_logprobs is not None and completion.top_logprobs is None:
        return "the judge's server returned no log-probabilities"
    if not completion.text.strip():
        return "the reply is empty"
    if completion.finish == "length" and rules.sampling.max_tokens > 1:
        return f"the reply was cut at {rules.sampling.max_tokens} tokens without a verdict"
    return f"no verdict found in the reply ({rules.parser})"


def protocol(
    kind: str,
    *,
    parser: ParserMode = "strict",
    max_tokens: int | None = None,
    both_orders: bool = False,
    annotator: str = OWN,
) -> Protocol:
    """The protocol of a frame kind with its paper's settings.

    Args:
        parser: "strict" reads the verdict that the judge concludes, outside its thoughts; "compat"
            reads what the original code reads. A reply that crashes the original is a failure in
            both.
        max_tokens: limit of explanations; None for the paper's.
        both_orders: alpaca only: ask in both orders instead of one; the other kinds always do, or
            show a single answer.
        annotator: alpaca only: "crucible" for Crucible's frame, else a configuration of the
            installed alpaca-eval, see `harness.judging.annotators`.

    Raises:
        UnknownName, MissingExtra: the annotator is unknown or not installed.
    """
    if kind == "alpaca":
        rule = "both orders" if both_orders else "one order, switched by the instruction (seed 0)"
        return _alpaca(rule, annotator)
    rule, paper_tokens, read = _EXPLAINED[kind]
    return Protocol(
        kind,
        rule,
        Sampling(temperature=0.0, max_tokens=max_tokens or paper_tokens),
        f"{kind}-{parser}/{verdicts.VERSION}",
        partial(read, parser),
        prompt_hash(kind),
        repair=REPAIR[kind],
    )


def _alpaca(rule: str, name: str) -> Protocol:
    found = annotators.load(name)
    return Protocol(
        "alpaca",
        rule,
        found.sampling,
        found.parser,
        found.read,
        found.prompt_hash,
        found.frame,
        found.injection,
        repair=REPAIR["alpaca"] if name == OWN else "",
        mass=found.mass,
        least_mass=found.least_mass,
    )


def _is_cut(completion: Completion) -> bool:
    return completion.finish in ("length", "content_filter")


def _read_label(mode: ParserMode, completion: Completion) -> str | None:
    label = verdicts.parse_arena_label(completion.text, mode, cut=_is_cut(completion))
    return label if label in LABEL_STATES else None


def _read_rating(mode: ParserMode, completion: Completion) -> float | None:
    try:
        points = verdicts.parse_rating(completion.text, mode, cut=_is_cut(completion))
    except SyntaxError:  # compat: "[[08]]" kills the original's worker
        return None
    return None if points == verdicts.COMPAT_MISSING else points


def _read_choice(mode: ParserMode, completion: Completion) -> str | None:
    choice = verdicts.parse_pairwise(completion.text, mode, cut=_is_cut(completion))
    return None if choice == "error" else choice


# Kind -> order rule, tokens of the explanation, reader.
_EXPLAINED: dict[str, tuple[str, int, Callable[[ParserMode, Completion], Verdict | None]]] = {
    "arena": ("two games: baseline first, then model first", 4096, _read_label),
    "rating": ("one answer at a time", 2048, _read_rating),
    "pairwise": ("two games: model first, then baseline first", 2048, _read_choice),
}


def open_judge(ref: str, rules: Protocol, services: Services | None = None) -> Judge:
    """The judge `ref` under a protocol; see `open_backend`."""
    return Judge(open_backend(ref, services or Services()), rules)
