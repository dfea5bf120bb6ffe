"""Hosted models as a backend: OpenAI and every OpenAI-compatible server.

    with Services(CallSettings(responses=Path("responses.sqlite"))) as services:
        judge = OpenAIBackend(Endpoint.parse("gpt-4-1106-preview"), services)
        for response in judge.generate(requests): ...

Stored responses come first and cost nothing; the others are requested concurrently and stored as
soon as they arrive. All backends of a run with the same endpoint share its client: connections,
rate limits and known capabilities. A backend serves one caller at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, cast

from harness.backends.api import wire
from harness.backends.api.client import Client
from harness.backends.api.endings import Unfinished
from harness.backends.api.endpoint import Endpoint
from harness.backends.api.logprobs import BadLogprobs
from harness.backends.api.reach import check_reach
from harness.backends.api.responses import ResponseStore, Stored
from harness.backends.api.wire import Outcome
from harness.backends.base import (
    Backend,
    Completion,
    Next,
    Request,
    Response,
    Sampling,
    Score,
    ScoreRequest,
    check_unique,
)
from harness.core.errors import BadData, StoreProblem, UserError
from harness.core.hashing import digest
from harness.engine.calls import Services
from harness.engine.prices import BATCH_SHARE

Render = Callable[[Request], Sequence[int]]
RenderAnswer = Callable[[ScoreRequest], tuple[Sequence[int], Sequence[int]]]

PARALLEL = 4096  # requests per call; bounded, so that answers are used soon
SCORING = Sampling(max_tokens=1)


def open_judge(options: Mapping[str, str], services: Services) -> OpenAIBackend:
    """The judge `openai:<model>[@<url>][?<options>]`; sends no request yet.

    Raises:
        BadRecord: see `Endpoint.parse`.
    """
    given = dict(options)
    return OpenAIBackend(Endpoint.parse(given.pop("model", ""), given), services)


@dataclass(frozen=True)
class PromptLogprobs:
    """A server's data about each token of a prompt: vLLM's `prompt_logprobs`, or an error."""

    id: str
    tokens: list[dict[str, Any] | None] | None = None
    error: str | None = None


@dataclass
class _Asked:
    """One request and its calls: none if it cannot be sent."""

    id: str
    calls: list[wire.Call]
    answer: Sequence[int] = ()
    error: str | None = None
    found: dict[int, Outcome] = field(default_factory=dict)


@dataclass
class _Waiting:
    """The entries that wait for each call, and the calls that have not been sent."""

    places: dict[str, list[tuple[_Asked, int]]]
    missing: list[wire.Call]
    total: int = 0


class OpenAIBackend(Backend):
    """A hosted model.

    Args:
        services: the run's settings, account and shared objects.
        render: returns the token ids of a request's prompt: /completions is used instead of
            /chat/completions, and answers have token ids (vLLM's `return_token_ids`). It may raise
            BadData for a request that cannot be rendered.
        render_answer: returns the token ids of a prompt and of its answer with the end of turn;
            needed for `score` (vLLM's `prompt_logprobs`).
        connect: opens the client when the first call is sent; None opens one for the endpoint.
    """

    parallel = PARALLEL

    def __init__(
        self,
        endpoint: Endpoint,
        services: Services,
        *,
        render: Render | None = None,
        render_answer: RenderAnswer | None = None,
        connect: Callable[[ResponseStore | None], Client] | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.services = services
        self._render = render
        self._render_answer = render_answer
        self._connect = connect or self._client

    @property
    def fingerprint(self) -> str:
        """Identity, model and the user's options; uses no network and no key."""
        return self.endpoint.fingerprint("chat" if self._render is None else "completions")

    def check_access(self) -> None:
        self.endpoint.api_key()

    def check_reach(self) -> None:
        check_reach(self.endpoint)

    def generate(self, requests: Sequence[Request]) -> Iterator[Response]:
        """Answer requests: stored ones first, the others in order of completion.

        Raises:
            BadData: two requests have one id.
            UserError: a refused key, an unknown model, a missing capability, no stored response
                with --offline, or the limit of --max-cost.
            EnvironmentProblem: no key, or the server cannot be reached.
            StoreProblem: the response store cannot be used.
        """
        yield from self.follow(requests, lambda response: None)

    def follow(self, requests: Sequence[Request], next: Next) -> Iterator[Response]:
        """Answer requests, and at once those that `next` makes of their answers.

        `next` is called in this thread. Ids are unique among the requests in flight.
        """
        check_unique([request.id for request in requests])
        asked = [self._asked(request) for request in requests]
        for entry in self._answers(asked):
            response = _response(entry)
            following = next(response)
            if following is not None:
                asked.append(self._asked(following))
            yield response

    def score(self, requests: Sequence[ScoreRequest]) -> Iterator[Score]:
        """Log-probabilities of given answers.

        Raises:
            UserError: a chat endpoint returns none; otherwise as for `generate`.
        """
        if self._render_answer is None:
            raise UserError(
                f"openai:{self.endpoint.model} is asked with messages, and chat endpoints return "
                "no log-probabilities of given texts; use a local model (a folder, a hub id or "
                "vllm:<model>) for scoring"
            )
        check_unique([request.id for request in requests])
        asked: list[_Asked] = []
        for request in requests:
            try:
                prompt, answer = self._render_answer(request)
            except BadData as error:
                yield Score(id=request.id, logp=None, tokens=0, error=str(error))
                continue
            ids = [*prompt, *answer]
            call = wire.token_call(self.endpoint, request.id, "score", ids, SCORING)
            asked.append(_Asked(request.id, [call], answer))
        for entry in self._answers(asked):
            outcome = entry.found[0]
            if outcome.error is not None or outcome.reply is None:
                yield Score(
                    id=entry.id, logp=None, tokens=len(entry.answer), error=outcome.error or "-"
                )
            else:
                yield wire.score(entry.id, outcome.reply, entry.answer)

    def prompt_logprobs(
        self, prompts: Mapping[str, Sequence[int]], k: int
    ) -> Iterator[PromptLogprobs]:
        """The k most likely ids at each position of prompts, which are token ids by name.

        Raises:
            UserError, EnvironmentProblem, StoreProblem: as for `generate`.
        """
        how = SCORING.model_copy(update={"top_logprobs": k})
        asked = [
            _Asked(id, [wire.token_call(self.endpoint, id, "score", ids, how)])
            for id, ids in prompts.items()
        ]
        for entry in self._answers(asked):
            outcome = entry.found[0]
            if outcome.reply is None:
                yield PromptLogprobs(entry.id, error=outcome.error or "no answer")
            else:
                given = outcome.reply["choices"][0].get("prompt_logprobs")
                yield PromptLogprobs(entry.id, given)

    def _asked(self, request: Request) -> _Asked:
        how = wire.samples(self.endpoint, request.sampling)
        if not request.messages:
            return _Asked(request.id, [], error="the request has no messages")
        if self._render is None:
            calls = [wire.chat_call(self.endpoint, request.id, request.messages, h) for h in how]
        else:
            try:
                ids = self._render(request)
            except BadData as error:
                return _Asked(request.id, [], error=str(error))
            calls = [wire.token_call(self.endpoint, request.id, "completions", ids, h) for h in how]
        return _Asked(request.id, calls)

    def _answers(self, asked: list[_Asked]) -> Iterator[_Asked]:
        """Yield each entry when all its calls are complete, also entries that are added meanwhile.

        Stored answers come first; the list is emptied.
        """
        waiting = _Waiting({}, [])
        yield from self._stored(asked, waiting)
        if not waiting.missing:
            return
        settings = self.services.settings
        store = self._store()
        if settings.offline:
            raise _offline(waiting.missing, waiting.total, store)
        client = self._connect(store)
        ask = client.ask
        if settings.batch and waiting.missing[0].kind == "chat":
            from harness.backends.api import batch

            ask = partial(batch.ask, client)
        for arrived in ask(waiting.missing):
            for outcome in arrived:
                yield from self._arrived(outcome, waiting)
            yield from self._stored(asked, waiting)

    def _stored(self, asked: list[_Asked], waiting: _Waiting) -> Iterator[_Asked]:
        """Yield entries that stored responses answer; other calls are added to the missing."""
        while asked:
            calls: dict[str, wire.Call] = {}
            entries = asked.copy()
            asked.clear()
            store = self._store()
            for entry in entries:
                for number, call in enumerate(entry.calls):
                    if call.key not in waiting.places:
                        calls[call.key] = call
                    waiting.places.setdefault(call.key, []).append((entry, number))
                if not entry.calls:
                    yield entry
            waiting.total += len(calls)
            found = store.get(list(calls)) if store is not None else {}
            if found:
                self.services.account.settle(self.endpoint.model, cached=len(found))
            for key, call in calls.items():
                row = found.pop(key, None)
                outcome = None if row is None else _read(call, row, store)
                if outcome is None:
                    waiting.missing.append(call)
                else:
                    yield from self._arrived(outcome, waiting)

    def _arrived(self, outcome: Outcome, waiting: _Waiting) -> Iterator[_Asked]:
        """Yield the entries that this call completes."""
        for copy, (entry, number) in enumerate(waiting.places.pop(outcome.call.key)):
            entry.found[number] = self._copied(outcome) if copy else outcome
            if len(entry.found) == len(entry.calls):
                yield entry
                entry.found.clear()  # there are thousands; only the caller keeps answers

    def _copied(self, outcome: Outcome) -> Outcome:
        """The answer for a request that is equal to another; it is paid for once."""
        if outcome.error is not None:
            return outcome
        self.services.account.settle(self.endpoint.model, cached=1)
        return replace(outcome, shared=True, cost_usd=0.0)

    def _store(self) -> ResponseStore | None:
        path = self.services.settings.responses
        if path is None or (self.services.settings.offline and not path.exists()):
            return None
        return self.services.get(f"responses:{path}", lambda: ResponseStore(path))

    def _client(self, store: ResponseStore | None) -> Client:
        endpoint, services = self.endpoint, self.services

        def opened() -> Client:
            price = services.prices.of(endpoint.model, endpoint.identity)
            if price is not None and services.settings.batch:
                price = price.share(BATCH_SHARE)
            key = endpoint.api_key()
            return Client(
                endpoint, services.settings, services.account, store, key=key, price=price
            )

        return services.get("openai:" + digest(endpoint.model_dump()), opened)


def _offline(missing: list[wire.Call], total: int, store: ResponseStore | None) -> UserError:
    where = store.path if store is not None else "no file of responses"
    return UserError(
        f"offline, and {len(missing)} of {total} responses are not stored in {where}, the first "
        f"for row {missing[0].id}; run once without --offline to request them"
    )


def _read(call: wire.Call, row: Stored, store: ResponseStore | None) -> Outcome | None:
    """A stored response as an outcome that costs nothing; None if it must be requested again."""
    try:
        reply: dict[str, Any] = wire.parse(row.body)
        completions = wire.read(call, reply)
    except (BadLogprobs, Unfinished):  # stored by a version that did not look
        if store is not None:
            store.drop([call.key])
        return None
    except ValueError as error:
        where = store.path if store is not None else "the store"
        raise StoreProblem(
            f"{where}: the stored response of row {call.id} (key {row.key[:16]}) cannot be read: "
            f"{error}"
        ) from None
    tokens = (row.tokens_in or 0, row.tokens_out or 0)
    kept = reply if call.kind == "score" else None
    return Outcome(call, completions, kept, *tokens, cost_usd=0.0, shared=True)


def _response(entry: _Asked) -> Response:
    """The response to a request, from the outcomes of its calls."""
    if entry.error is not None:
        return Response(id=entry.id, error=entry.error)
    outcomes = [entry.found[number] for number in range(len(entry.calls))]
    error = next((o.error for o in outcomes if o.error is not None), None)
    completions: tuple[Completion, ...] = outcomes[0].completions
    if len(outcomes) > 1:
        completions = tuple(c for outcome in outcomes for c in outcome.completions)
    paid = [outcome for outcome in outcomes if not outcome.shared]
    costs = [outcome.cost_usd for outcome in paid]
    counted = paid or outcomes
    asked = outcomes[0].call
    prompt = cast("tuple[int, ...]", asked.prompt) if asked.kind == "completions" else None
    # Built without validation, because thousands are read at once; every field is set here.
    return Response.model_construct(
        id=entry.id,
        completions=() if error else completions,
        tokens_in=sum(outcome.tokens_in for outcome in counted),
        tokens_out=sum(outcome.tokens_out for outcome in counted),
        prompt_ids=prompt,
        error=error,
        cached=not paid,
        cost_usd=None if None in costs else sum(cost for cost in costs if cost),
    )
