"""The explorer: any model or judge reference, asked in rounds of independent calls.

    explorer = Explorer(context, backend, sampling)
    turns = explorer.ask([Call("enrich/root#1", prompt), Call("enrich/root#2", prompt)])

Every answer is stored before it is used (`harness.backends.conversing`), and so is every call that
was given up, so that a search that is killed and started again takes the same way and asks nothing
twice. What is asked next must depend on the answers alone, not on their order of arrival.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from types import TracebackType

from harness.backends.base import Backend, Message, Request, Sampling
from harness.backends.conversing import Turn, converse
from harness.core.errors import EnvironmentProblem
from harness.core.hashing import canonical_json, digest, seed_from
from harness.engine.operations import Context
from harness.engine.store import Log

GIVE_UP = 20  # failed calls in a row after which the explorer counts as unavailable


@dataclass(frozen=True)
class Call:
    """One prompt; its id is unique within the search and determines its seed."""

    id: str
    prompt: str


@dataclass(frozen=True)
class _Once:
    """A dialogue of one turn."""

    id: str
    request: Request

    def ask(self, turns: Sequence[Turn]) -> Request | None:
        return None if turns else self.request


class Explorer:
    """A context manager around a backend, with the log of its answers.

    Args:
        sampling: `seed` is that of the search.
    """

    def __init__(self, context: Context, backend: Backend, sampling: Sampling) -> None:
        self._context, self._backend, self._sampling = context, backend, sampling
        self._open = ExitStack()
        self._log = self._open.enter_context(closing(Log(context.scratch / "turns.jsonl")))
        self._given_up = self._open.enter_context(closing(Log(context.scratch / "failed.jsonl")))
        self._failed: dict[str, str] = {e["key"]: e["error"] for e in self._given_up.found}
        self._unsaved: dict[str, str] = {}
        self._in_a_row = 0

    def __enter__(self) -> Explorer:
        self._open.enter_context(self._backend.keeping_prefixes())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()

    def ask(self, calls: Sequence[Call]) -> list[Turn]:
        """The answers in the order of the calls; a call that failed has an `error`.

        Raises:
            EnvironmentProblem: `GIVE_UP` calls in a row failed; what was answered is stored.
        """
        requests = {call.id: self._request(call) for call in calls}
        keys = {id: self._key(request) for id, request in requests.items()}
        known = {
            id: Turn(error=self._failed[key]) for id, key in keys.items() if key in self._failed
        }
        asked = [_Once(id, request) for id, request in requests.items() if id not in known]
        ended = converse(
            self._backend, asked, log=self._log, count=self._context.count, thoughts="split"
        )
        found = {**known, **{id: turns[-1] for id, turns in ended}}
        turns = [found[call.id] for call in calls]
        self._note_failures(turns, [keys[call.id] for call in calls])
        return turns

    def _request(self, call: Call) -> Request:
        seed = seed_from("explorer", self._sampling.seed, call.id) % 2**31
        return Request(
            id=call.id,
            messages=(Message(role="user", content=call.prompt),),
            sampling=self._sampling.model_copy(update={"seed": seed}),
        )

    def _key(self, request: Request) -> str:
        return digest([self._backend.fingerprint, request.model_dump(mode="json")])

    def _note_failures(self, turns: Sequence[Turn], keys: Sequence[str]) -> None:
        """Store failures once a later call was answered: an outage must not become a result."""
        for turn, key in zip(turns, keys, strict=True):
            if turn.error is None:
                self._in_a_row = 0
            elif key not in self._failed:
                self._in_a_row += 1
                self._unsaved[key] = turn.error
        if self._in_a_row >= GIVE_UP:
            error = next(turn.error for turn in reversed(turns) if turn.error is not None)
            raise EnvironmentProblem(
                f"the explorer failed {self._in_a_row} times in a row, last with: {error}; the "
                "answers so far are stored: run again when it is available"
            )
        if self._unsaved and any(turn.error is None for turn in turns):
            for key, error in self._unsaved.items():
                self._given_up.append(canonical_json({"key": key, "error": error}))
            self._failed |= self._unsaved
            self._unsaved = {}
