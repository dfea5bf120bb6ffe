"""A judge: a backend bound to a protocol, with one retry policy and honest failures.

    judge = open_judge("nano:oracle", protocol("arena"))
    judgments = judge.ask([Question("q1/0", arena_frame(prompt, a, b))])

`stream` gives one judgment per question, always; `ask` collects them. A reply that holds no
verdict is asked for again, alone, at most `RETRIES` times, with a request to give only the verdict;
the attempt's number is part of the request's id and seed, so stored replies of different attempts
never mix. What still has no verdict is a failed judgment: verdict None and a reason, recorded and
counted.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from harness.backends.asking import Query
from harness.backends.base import Backend, Completion, Sampling, messages_of
from harness.backends.conversing import NO_ANSWER, Turn, converse
from harness.backends.hosted import open_backend
from harness.backends.prompting import Unreadable
from harness.core.hashing import digest
from harness.engine.calls import Services
from harness.judging import verdicts
from harness.judging.frames import REPAIR, Message, alpaca_frame, prompt_hash
from harness.judging.injection import suspicion

_LOG = logging.getLogger(__name__)

RETRIES = 2
OWN = "crucible"  # the annotator whose prompt is ours
ParserMode = verdicts.Mode
Verdict = float | str


def _holds_marks(answer: str) -> str | None:
    """Our own frames cannot be imitated; verdicts and chat marks in an answer are still odd."""
    return suspicion((), answer)


@dataclass(frozen=True)
class Protocol:
    """What is asked and how the reply is read.

    Attributes:
        kind: of frame, see `frames.KINDS`.
        order_rule: who is shown where; part of the fingerprint, the operations act on it.
        sampling: how the judge decodes.
        parser: name, mode and version of the parser.
        read: a completion -> verdict, or None when it holds none.
        prompt: digest of the wording; part of the fingerprint.
        frame: alpaca only: (instruction, first answer, second answer) -> messages.
        suspicion: an answer -> why it looks like an attack on the prompt, or None. Our own frames
            cannot be imitated, see `frames`; published ones can.
        repair: an unreadable reply is asked for again with a request for the verdict alone; else
            the question is repeated as it was, for published prompts have no such request.
    """

    kind: str
    order_rule: str
    sampling: Sampling
    parser: str
    read: Callable[[Completion], Verdict | None]
    prompt: str
    frame: Callable[[str, str, str], list[Message]] = alpaca_frame
    suspicion: Callable[[str], str | None] = _holds_marks
    repair: bool = True


@dataclass(frozen=True)
class Question:
    """One thing to judge: a rendered frame under an id."""

    id: str
    messages: list[Message]


@dataclass(frozen=True)
class Judgment:
    """The judge's last reply to a question and what was read from it.

    `failure` says why `verdict` is None; `logprobs` are those of the first token where asked for.
    """

    id: str
    reply: str
    verdict: Verdict | None
    attempts: int
    failure: str | None = None
    logprobs: tuple[tuple[str, float], ...] | None = None

    def row(self) -> dict[str, Any]:
        """What is stored of a judgment, beside the question it answers."""
        stored: dict[str, Any] = {
            "reply": self.reply,
            "verdict": self.verdict,
            "attempts": self.attempts,
            "failure": self.failure,
        }
        if self.logprobs is not None:
            stored["logprobs"] = [list(entry) for entry in self.logprobs]
        return stored


@dataclass(frozen=True)
class Judge:
    """A backend that answers in a protocol."""

    backend: Backend
    protocol: Protocol

    @property
    def fingerprint(self) -> str:
        """Model, prompt hash, parser, decode settings, order rule and retries, as one digest."""
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
        """Judge every question, in order of completion; failures are among the results.

        A question is asked again when its reply holds no verdict. An error of the backend is
        final: it has had its own retries.

        Args:
            count: told of requests and tokens, see `Context.count`.
        """
        queries = [self._query(question) for question in questions]
        for id, turns in converse(self.backend, queries, count=count):
            judgment = self._judgment(id, turns)
            if judgment.verdict is None:
                _LOG.warning("no verdict on %s: %s", judgment.id, judgment.failure)
            yield judgment

    def _query(self, question: Question) -> Query:
        rules = self.protocol
        repair = REPAIR[rules.kind] if rules.repair else ""
        shown = messages_of(question.messages)
        return Query(question.id, shown, rules.sampling, self._verdict, RETRIES, repair)

    def _verdict(self, turn: Turn) -> Verdict:
        verdict = self.protocol.read(turn.completion)
        if verdict is None:
            raise Unreadable(_why_unreadable(self.protocol, turn.completion))
        return verdict

    def _judgment(self, id: str, turns: Sequence[Turn]) -> Judgment:
        last, attempts = turns[-1], len(turns)
        if last.error is not None:
            lost = last.error == NO_ANSWER
            failure = "the judge said nothing" if lost else f"the judge failed: {last.error}"
            return Judgment(id, "", None, attempts, failure)
        first = last.top_logprobs[0] if last.top_logprobs else None
        try:
            return Judgment(id, last.text, self._verdict(last), attempts, None, first)
        except Unreadable as problem:
            return Judgment(id, last.text, None, attempts, str(problem), first)


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
    """The protocol of a frame kind at its paper's settings.

    Args:
        parser: "strict" reads the last legal verdict outside reasoning blocks; "compat" reads what
            the original code reads. A reply that makes the original crash is a failure in both.
        max_tokens: of explanations; None for the paper's.
        both_orders: alpaca only: ask in both orders instead of one; the others always do, or have
            one answer to show.
        annotator: alpaca only: "crucible" for our own frame, else a configuration of the installed
            alpaca-eval, see `harness.judging.annotators`.

    Raises:
        UnknownName, MissingExtra: there is no such annotator here.
    """
    if kind == "alpaca":
        rule = "both orders" if both_orders else "one order, switched by the instruction (seed 0)"
        return _own_alpaca(rule) if annotator == OWN else _published_alpaca(rule, annotator)
    rule, paper_tokens, read = _EXPLAINED[kind]
    return Protocol(
        kind,
        rule,
        Sampling(temperature=0.0, max_tokens=max_tokens or paper_tokens),
        f"{kind}-{parser}/{verdicts.VERSION}",
        partial(read, parser),
        prompt_hash(kind),
    )


def _own_alpaca(rule: str) -> Protocol:
    # Temperature 1 as published; it moves nothing, for only the log-probabilities are read.
    sampling = Sampling(temperature=1.0, max_tokens=1, top_logprobs=5)
    parser = f"logprobs/{verdicts.VERSION}"
    return Protocol("alpaca", rule, sampling, parser, _read_identifier, prompt_hash("alpaca"))


def _published_alpaca(rule: str, name: str) -> Protocol:
    from harness.judging import annotators

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
        repair=False,
    )


def _read_identifier(completion: Completion) -> float | None:
    """P(the answer shown first is better), from the log-probabilities of the only token."""
    if not completion.top_logprobs:
        return None
    preference = verdicts.preference_from_logprobs(completion.top_logprobs[0], switched=True)
    return None if preference is None else preference - 1


def _read_label(mode: ParserMode, completion: Completion) -> str | None:
    label = verdicts.parse_arena_label(completion.text, mode)
    return label if label in _LABELS else None


def _read_rating(mode: ParserMode, completion: Completion) -> float | None:
    try:
        points = verdicts.parse_rating(completion.text, mode)
    except SyntaxError:  # compat: "[[08]]" kills the original's worker
        return None
    return None if points == verdicts.COMPAT_MISSING else points


def _read_choice(mode: ParserMode, completion: Completion) -> str | None:
    choice = verdicts.parse_pairwise(completion.text, mode)
    return None if choice == "error" else choice


_LABELS = frozenset(verdicts.ARENA_LABELS) | frozenset(verdicts.ARENA_SYNONYMS)
# Kind -> order rule, tokens of the explanation, reader.
_EXPLAINED: dict[str, tuple[str, int, Callable[[ParserMode, Completion], Verdict | None]]] = {
    "arena": ("two games: baseline first, then model first", 4096, _read_label),
    "rating": ("one answer at a time", 2048, _read_rating),
    "pairwise": ("two games: model first, then baseline first", 2048, _read_choice),
}


def open_judge(ref: str, rules: Protocol, services: Services | None = None) -> Judge:
    """The judge `ref` under a protocol; see `open_backend`."""
    return Judge(open_backend(ref, services or Services()), rules)
