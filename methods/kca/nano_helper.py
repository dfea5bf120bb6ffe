"""The helper model of the nano world: knows all planted facts, and errs as often as it is told.

It answers the three prompts of `methods.kca.prompts` about instructions of the nano world, in
process as the judge `nano:helper`, and over HTTP by `crucible nano serve --judge nano:helper`. The
draw of an error depends only on prompt, sampling seed and `seed`, not on the order of requests.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence

from pydantic import Field

from harness.backends.base import Backend, Completion, Request, Response
from harness.core.hashing import digest, seed_from
from harness.core.records import Record, parse
from harness.engine.calls import Services
from harness.nano import planted
from harness.nano.knowledge import Fact
from methods.kca import prompts
from methods.kca.parsing import Question, render_exam

VERSION = 1


class HelperSettings(Record):
    """errors: share of wrong or unreadable replies, at every stage; seed: of all draws."""

    errors: float = Field(default=0.0, ge=0, le=1)
    seed: int = 0


def open_helper(options: Mapping[str, str], services: Services) -> HelperBackend:
    """Open `nano:helper`, with options as in "nano:helper?errors=0.1"."""
    return HelperBackend(parse(HelperSettings, options, "nano:helper"))


class HelperBackend(Backend):
    """Answers the prompts of KCA's three stages and nothing else."""

    def __init__(self, settings: HelperSettings | None = None) -> None:
        self.settings = settings or HelperSettings()

    @property
    def fingerprint(self) -> str:
        """Digest of settings, version of the rules and the planted facts."""
        facts = [fact.statement for fact in planted.listed(list(planted.entities()))]
        parts = ["helper", VERSION, self.settings.model_dump(), facts]
        return "nano:helper/" + digest(parts)[:16]

    def generate(self, requests: Sequence[Request]) -> Iterator[Response]:
        """The reply to each request; one that is no prompt of KCA gets an error."""
        for request in requests:
            text = request.messages[-1].content if request.messages else ""
            reply = self._reply(text, request.sampling.seed)
            if reply is None:
                error = "nano:helper answers the prompts of KCA only; this is none of them"
                yield Response(id=request.id, error=error)
                continue
            n = request.sampling.n
            yield Response(
                id=request.id,
                completions=(Completion(text=reply, finish="stop"),) * n,
                tokens_in=len(text.split()),
                tokens_out=n * len(reply.split()),
            )

    def _reply(self, text: str, seed: int) -> str | None:
        rng = random.Random(seed_from("helper", self.settings.seed, seed, text))
        errs = rng.random() < self.settings.errors
        for template, answer in _ANSWERS:
            start, _, _ = template.partition("{")
            if text.startswith(start):
                return answer(text[len(start) :], errs, rng)
        return None


def _requirement(rest: str, errs: bool, rng: random.Random) -> str:
    fact = planted.find(rest)
    tag, query = "<no need>", ""
    if fact is not None:
        tag, query = "<need>", f'\n#Search Query:\n"{fact.attribute} of {fact.name}"'
    if errs:
        return rng.choice(["", "I cannot tell.", f"It depends.\n#Prediction:\n<maybe>{query}"])
    analysis = "The command asks for a fact." if fact else "The command needs no facts."
    return f"{analysis}\n#Prediction:\n{tag}{query}"


def _knowledge(rest: str, errs: bool, rng: random.Random) -> str:
    """All facts of the entity, the one that is asked for first; an error makes it wrong."""
    command, _, _ = rest.partition("\n#Analysis:")
    fact = planted.find(command)
    if fact is None:
        return "Nothing is known about this."
    text = planted.knowledge(fact)
    if errs:
        wrong = [value for value in fact.pool if value != fact.value]
        text = text.replace(fact.statement, planted.claim(fact, rng.choice(wrong)))
    return text


def _exam(rest: str, errs: bool, rng: random.Random) -> str:
    """Questions about the first three facts of the knowledge; an error spoils the reply."""
    text, _, _ = rest.partition("\n\n")
    facts = planted.read(text)[:3]
    if not facts:
        return "There is nothing to ask about."
    reply = render_exam([_question(fact, rng) for fact in facts])
    if not errs:
        return reply
    spoiled = [
        reply[: len(reply) // 2],
        reply.replace("\n\n#Analysis", "\n(E) none of these\n\n#Analysis"),
        reply.replace("(B)", "(A)"),
        re.sub(r"#Answer:\n\(\w\)", "#Answer:\n(A) or (B)", reply),
        "",
    ]
    return rng.choice(spoiled)


def _question(fact: Fact, rng: random.Random) -> Question:
    options, letter = planted.options(fact, rng)
    return Question.model_validate(
        {
            "question": fact.question,
            "options": tuple(options),
            "answer": letter,
            "analysis": fact.statement,
        }
    )


# The last slots of the prompts follow the demonstrations, so that each starts with its own text.
_ANSWERS = (
    (prompts.REQUIREMENT, _requirement),
    (prompts.KNOWLEDGE, _knowledge),
    (prompts.EXAM, _exam),
)
