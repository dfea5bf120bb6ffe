"""Thousands of dialogues at once through any backend, resumable at the turn.

    for id, turns in converse(backend, dialogues, log=Log(context.scratch / "turns.jsonl")): ...

A dialogue is a pure function of its turns so far, so none of its state is stored: the log holds
every successful turn from the moment it arrives, and after an interruption a dialogue continues
from its logged turns. A backend that overrides `follow` sends the next turn of a dialogue as soon
as it has answered the one before; any other works in rounds, one turn of every dialogue per round.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from itertools import chain, islice
from typing import NamedTuple, Protocol

from pydantic import Field, ValidationError

from harness.backends.base import (
    Backend,
    Completion,
    Finish,
    Request,
    Response,
    TopLogprobs,
    check_unique,
    count_response,
)
from harness.backends.saying import Said, Thoughts, begun_in_prompt, said_in
from harness.backends.windows import in_windows
from harness.core.hashing import canonical_json, digest
from harness.core.records import Record
from harness.engine.operations import Context, Row
from harness.engine.store import Log

WINDOW = 10_000  # dialogues under way of a model that answers many requests at once
NO_ANSWER = "the backend returned no answer"


class Turn(Record):
    """One reply, or the error that ended its dialogue.

    Attributes:
        thought, raw: the thought, and the whole text, of a reply that has a thought.
    """

    text: str = ""
    finish: Finish = "stop"
    tokens_in: int = 0
    tokens_out: int = 0
    top_logprobs: TopLogprobs | None = Field(default=None, exclude_if=lambda value: value is None)
    thought: str = Field(default="", exclude_if=lambda value: not value)
    raw: str = Field(default="", exclude_if=lambda value: not value)
    served_by: str | None = Field(default=None, exclude_if=lambda value: value is None)
    error: str | None = None

    @property
    def completion(self) -> Completion:
        return Completion(text=self.text, finish=self.finish, top_logprobs=self.top_logprobs)


class Dialogue(Protocol):
    """A conversation whose next request depends on nothing but the turns so far."""

    @property
    def id(self) -> str: ...

    def ask(self, turns: Sequence[Turn]) -> Request | None:
        """The request for one more turn, with the whole conversation; None at the end.

        Its id is unique among all requests of all dialogues.
        """


class Ended(NamedTuple):
    """The id of a dialogue and all its turns."""

    id: str
    turns: list[Turn]


def converse(
    backend: Backend,
    dialogues: Sequence[Dialogue],
    *,
    log: Log | None = None,
    count: Callable[..., None] | None = None,
    thoughts: Thoughts = "keep",
) -> Iterator[Ended]:
    """Yield each dialogue when it is complete, or when one of its turns has failed.

    Args:
        log: successful turns; a turn is taken from it when the same backend was sent the same
            request before. The caller closes it.
        count: see `harness.engine.operations.Context`.
        thoughts: "split" makes the text of a turn its answer alone.

    Raises:
        BadData: two dialogues have one id; and whatever ends the backend's `generate`.
    """
    check_unique([dialogue.id for dialogue in dialogues])
    known = _TurnLog(log, backend.fingerprint) if log is not None else None

    def split(response: Response, completion: Completion) -> Said:
        opened = begun_in_prompt(backend.tokenizer, response.prompt_ids)
        return said_in(completion, thoughts, opened=opened)

    fresh = (_Talk(dialogue, known, count, split) for dialogue in dialogues)
    under_way: dict[str, _Talk] = {}
    ended: deque[_Talk] = deque()

    def send(talk: _Talk) -> Request | None:
        request = talk.next()
        if request is None:
            ended.append(talk)
        else:
            under_way[request.id] = talk
        return request

    def start() -> Request | None:
        """The first request of the next dialogue that is not yet complete."""
        return next((request for talk in fresh if (request := send(talk)) is not None), None)

    def go_on(response: Response) -> Request | None:
        talk = under_way.pop(response.id)
        talk.take(response)
        return send(talk) or start()

    # A hosted model's dialogues start gradually, because each may contain a long text.
    width = len(dialogues) if backend.parallel == 1 else backend.parallel
    requests = list(islice(iter(start, None), width))
    for _ in chain([None], backend.follow(requests, go_on)):
        while ended:
            talk = ended.popleft()
            yield Ended(talk.dialogue.id, talk.turns)
    for talk in under_way.values():
        yield Ended(talk.dialogue.id, [*talk.turns, Turn(error=NO_ANSWER)])


def converse_about_rows(
    context: Context,
    backend: Backend,
    batches: Iterable[list[Row]],
    dialogues: Callable[[list[Row]], Sequence[Dialogue]],
) -> Iterator[tuple[list[Row], dict[str, list[Turn]]]]:
    """Yield each batch of a row operation with the turns of its dialogues, by dialogue id.

    Args:
        dialogues: those of a batch; ids are unique within the operation.
    """

    def ended(asked: Sequence[Dialogue]) -> Iterator[Ended]:
        return converse(backend, asked, log=log, count=context.count, thoughts="split")

    size = 1 if backend.parallel == 1 else max(WINDOW, backend.parallel)
    with (
        closing(Log(context.scratch / "turns.jsonl", ("key", "turn"))) as log,
        backend.keeping_prefixes(),
    ):
        for batch, found in in_windows(batches, dialogues, ended, size):
            yield batch, dict(found.values())


class _Talk:
    """One dialogue and its turns so far."""

    def __init__(
        self,
        dialogue: Dialogue,
        known: _TurnLog | None,
        count: Callable[..., None] | None,
        split: Callable[[Response, Completion], Said],
    ) -> None:
        self.dialogue = dialogue
        self.turns: list[Turn] = []
        self._known = known
        self._count = count
        self._split = split
        self._key = ""

    def next(self) -> Request | None:
        """Add the logged turns; the request for the first other one, None at the end."""
        if self.turns and self.turns[-1].error is not None:
            return None
        while (request := self.dialogue.ask(self.turns)) is not None:
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

    def take(self, response: Response) -> None:
        """Add the answer to the last request."""
        if self._count is not None:
            count_response(self._count, response)
        if response.error is not None or not response.completions:
            self.turns.append(Turn(error=response.error or NO_ANSWER))
            return
        completion = response.completions[0]
        said = self._split(response, completion)
        turn = Turn(
            text=said.text,
            thought=said.thought,
            raw=said.raw if said.raw != said.text else "",
            finish=completion.finish,
            tokens_in=response.tokens_in,
            tokens_out=response.tokens_out,
            top_logprobs=completion.top_logprobs,
            served_by=completion.served_by,
        )
        self.turns.append(turn)
        if self._known is not None:
            self._known.append(self._key, turn)


class _TurnLog:
    """Successful turns of earlier attempts, and the file for new ones.

    A turn's key is made from the whole request and the backend's fingerprint: nothing is found in a
    log that was written with other settings.
    """

    def __init__(self, log: Log, fingerprint: str) -> None:
        self._log = log
        self._fingerprint = fingerprint
        self._found = {str(entry["key"]): entry["turn"] for entry in log.found}

    def find(self, key: str) -> Turn | None:
        found = self._found.get(key)
        try:
            return None if found is None else Turn.model_validate(found)
        except ValidationError:  # a damaged line of an earlier version; asked again
            return None

    def key(self, request: Request) -> str:
        shown = [[message.role, message.content] for message in request.messages]
        return digest([self._fingerprint, request.id, shown, request.sampling.model_dump()])

    def append(self, key: str, turn: Turn) -> None:
        self._log.append(canonical_json({"key": key, "turn": turn.model_dump(exclude={"error"})}))
