"""Dialogues of known length, models that answer them, and the transcripts to expect."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.backends.base import Backend, Completion, Message, Request, Response, Sampling, Score
from harness.backends.conversing import Turn, converse
from harness.engine.store import Log
from tests.harness.backends.api.fake_server import Asked, Reply, answer

GREEDY = Sampling(max_tokens=8)
OPTIONS = {"max_tokens_field": "max_tokens"}  # no probe


@dataclass(frozen=True)
class Interview:
    """Asks `length` questions, each with all the replies before it."""

    id: str
    length: int
    how: Sampling = GREEDY

    def ask(self, turns: Sequence[Turn]) -> Request | None:
        if len(turns) == self.length:
            return None
        said = [Message(role="user", content=f"text of {self.id}")]
        for number, turn in enumerate(turns):
            said.append(Message(role="assistant", content=turn.text))
            said.append(Message(role="user", content=f"question {number}"))
        return Request(id=f"{self.id}/{len(turns)}", messages=tuple(said), sampling=self.how)


INTERVIEWS = [Interview(f"author/{n}", n % 5) for n in range(12)]
TURNS = sum(talk.length for talk in INTERVIEWS)


def reply_to(contents: Sequence[str]) -> str:
    """What any of the scripted models says: it depends on all that was said before."""
    return "said " + hashlib.sha256("\n".join(contents).encode()).hexdigest()[:8]


def expected(talk: Interview) -> list[str]:
    turns: list[Turn] = []
    while (asked := talk.ask(turns)) is not None:
        turns.append(Turn(text=reply_to([message.content for message in asked.messages])))
    return [turn.text for turn in turns]


@dataclass
class Local(Backend):
    """A model in this process; `rounds` has the ids of each call."""

    fingerprint: str = "local"
    refuses: str = "nothing"
    stops_after: int = 10**9
    rounds: list[list[str]] = field(default_factory=list)

    @property
    def asked(self) -> int:
        return sum(map(len, self.rounds))

    def generate(self, requests: Sequence[Request]) -> Iterator[Response]:
        self.rounds.append([])
        for request in reversed(requests):
            if self.asked >= self.stops_after:
                raise KeyboardInterrupt
            self.rounds[-1].append(request.id)
            if request.id == self.refuses:
                yield Response(id=request.id, error="too long")
                continue
            text = reply_to([message.content for message in request.messages])
            yield Response(id=request.id, completions=(Completion(text=text, finish="stop"),))

    def score(self, requests: Sequence[Any]) -> Iterator[Score]:
        raise NotImplementedError


def good(asked: Asked) -> Reply:
    said = [message["content"] for message in asked.body["messages"]]
    return Reply(body=answer(asked, reply_to(said)))


def questions(asked: Asked) -> list[str]:
    """The author and how many questions came before."""
    messages = asked.body["messages"]
    return [messages[0]["content"], str(len(messages) // 2)]


def texts(ended: Iterator[tuple[str, list[Turn]]]) -> dict[str, list[str]]:
    found = {}
    for id, turns in ended:
        assert id not in found
        assert all(turn.error is None for turn in turns)
        found[id] = [turn.text for turn in turns]
    return found


WANTED = {talk.id: expected(talk) for talk in INTERVIEWS}


def run(backend: Any, path: Path, talks: Sequence[Interview] = INTERVIEWS) -> dict[str, list[str]]:
    log = Log(path)
    try:
        return texts(converse(backend, talks, log=log))
    finally:
        log.close()
