"""Thousands of dialogues at once through any backend, resumable at the turn.

    for id, turns in converse(backend, dialogues, log=Log(context.scratch / "turns.jsonl")): ...

A dialogue is a pure function of the replies so far, so none of its state is kept: the log holds
every good turn from the moment it arrives, and a dialogue goes on after an interruption by being
shown its replies again. A backend with a method `follow` asks for the next turn as soon as it has
answered the one before; any other is asked in rounds, each for the next turn of every dialogue.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from typing import Protocol

from harness.backends.base import (
    Backend,
    Finish,
    Message,
    Request,
    Response,
    Sampling,
    check_unique,
    count_response,
)
from harness.core.hashing import canonical_json, digest
from harness.core.records import Record
from harness.engine.store import Log


class Dialogue(Protocol):
    """A conversation whose next turn depends on nothing but the replies so far."""

    @property
    def id(self) -> str: ...

    def ask(self, replies: Sequence[str]) -> tuple[list[Message], Sampling] | None:
        """The whole conversation to send now, for one answer; None when nothing is left to ask."""


class Turn(Record):
    """One reply, or the error that ended its dialogue."""

    text: str = ""
    finish: Finish = "stop"
    tokens_in: int = 0
    tokens_out: int = 0
    error: str | None = None


def converse(
    backend: Backend,
    dialogues: Sequence[Dialogue],
    *,
    log: Log | None = None,
    count: Callable[..., None] | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> Iterator[tuple[str, list[Turn]]]:
    """Yield each dialogue's id and turns when it is complete, or a turn of it has failed.

    Args:
        log: of good turns; one that the same backend was asked in the same words, with the same
            settings, is taken from it. The caller closes it.
        count, progress: see `harness.engine.operations.Context`.

    Raises:
        BadData: two dialogues of one id; and whatever ends the backend's `generate`.
    """
    check_unique([dialogue.id for dialogue in dialogues])
    known = _TurnLog(log, backend.fingerprint) if log is not None else None
    fresh = iter(dialogues)
    talks: dict[str, _Talk] = {}
    ended: deque[_Talk] = deque()

    def start() -> Request | None:
        """The first request of the next dialogue that has something left to ask."""
        for dialogue in fresh:
            talk = _Talk(dialogue, known, count)
            request = talk.next()
            if request is not None:
                talks[dialogue.id] = talk
                return request
            ended.append(talk)
        return None

    def go_on(response: Response) -> Request | None:
        id = response.id.rpartition("/")[0]
        request = talks[id].take(response)
        if request is None:
            ended.append(talks.pop(id))
        return request or start()

    # A hosted model's dialogues start one after another, for each holds its author's whole text.
    width = len(dialogues) if backend.parallel == 1 else backend.parallel
    requests = list(islice(iter(start, None), width))
    done = 0
    for _ in chain([None], backend.follow(requests, go_on)):
        while ended:
            talk = ended.popleft()
            done += 1
            if progress is not None:
                progress(done, len(dialogues), "dialogues")
            yield talk.dialogue.id, talk.turns


class _Talk:
    """One dialogue and its turns so far."""

    def __init__(
        self, dialogue: Dialogue, known: _TurnLog | None, count: Callable[..., None] | None
    ) -> None:
        self.dialogue = dialogue
        self.turns: list[Turn] = []
        self._known = known
        self._count = count
        self._key = ""

    def next(self) -> Request | None:
        """Take what turns are known; the request for the first that is not, None at the end."""
        while (asked := self.dialogue.ask([turn.text for turn in self.turns])) is not None:
            messages, how = asked
            request = Request(
                id=f"{self.dialogue.id}/{len(self.turns)}", messages=tuple(messages), sampling=how
            )
            turn = None
            if self._known is not None:
                self._key = self._known.key(request)
                turn = self._known.find(self._key)
            if turn is None:
                return request
            self.turns.append(turn)
            if self._count is not None:
                self._count(cached=1)
        return None

    def take(self, response: Response) -> Request | None:
        """Add the answer to the last request, and go on."""
        if self._count is not None:
            count_response(self._count, response)
        if response.error is not None:
            self.turns.append(Turn(error=response.error))
            return None
        turn = Turn(
            text=response.completions[0].text,
            finish=response.completions[0].finish,
            tokens_in=response.tokens_in,
            tokens_out=response.tokens_out,
        )
        self.turns.append(turn)
        if self._known is not None:
            self._known.append(self._key, turn)
        return self.next()


class _TurnLog:
    """Good turns of earlier attempts, and the place for new ones.

    A turn's key is made of everything that was sent, its dialogue and number, and the backend's
    fingerprint: a log that was written with other settings holds nothing that could be found.
    """

    def __init__(self, log: Log, fingerprint: str) -> None:
        self._log = log
        self._fingerprint = fingerprint
        self._found = {entry["key"]: entry["turn"] for entry in log.found}

    def find(self, key: str) -> Turn | None:
        found = self._found.get(key)
        return None if found is None else Turn.model_validate(found)

    def key(self, request: Request) -> str:
        shown = [[message.role, message.content] for message in request.messages]
        return digest([self._fingerprint, request.id, shown, request.sampling.model_dump()])

    def append(self, key: str, turn: Turn) -> None:
        self._log.append(canonical_json({"key": key, "turn": turn.model_dump(exclude={"error"})}))
