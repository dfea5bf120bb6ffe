"""Many calls to one endpoint at once: workers, capabilities, stored responses and cost.

    for arrived in client.ask(calls):      # in order of completion; calls that are not yet stored
        for outcome in arrived:
            outcome.completions or outcome.error
            calls.append(...)              # a following call

`ask` is an ordinary generator. Worker tasks take calls from a queue inside one background event
loop, which runs as long as the client is open. A response is on disk before it is yielded. Leaving
the generator, or Ctrl-C, cancels calls in flight and keeps what has arrived. Calls with equal keys
that are in flight at the same time share one request. One `ask` at a time is expected; concurrent
ones in several threads share limits and connections and are only slower.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from harness.backends.api import faults, wire
from harness.backends.api.arrivals import Arrivals
from harness.backends.api.background import Background
from harness.backends.api.budget import Budget
from harness.backends.api.capabilities import Capabilities
from harness.backends.api.endpoint import Endpoint, forbid_logprobs
from harness.backends.api.limits import Limits
from harness.backends.api.patience import GIVE_UP, Patience
from harness.backends.api.responses import ResponseStore, Stored
from harness.backends.api.wire import Outcome
from harness.backends.base import Completion
from harness.core.errors import CrucibleError
from harness.engine.calls import Account, CallSettings
from harness.engine.prices import Price

if TYPE_CHECKING:
    from harness.backends.api.transport import Exchange, Lane

_LOG = logging.getLogger(__name__)

PROBE_TOKENS = 16  # a call of at most this length serves as the probe

Put = Callable[[Outcome], None]


class Client:
    """All traffic to one endpoint, see `Services.get`.

    Args:
        store: file of stored responses; None stores none.
        key: API key; None sends none.
        price: price of the model; None if it is unpriced.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        settings: CallSettings,
        account: Account,
        store: ResponseStore | None,
        *,
        key: str | None,
        price: Price | None,
    ) -> None:
        from harness.backends.api.transport import Lane

        self.endpoint = endpoint
        self.settings = settings
        self.account = account
        self.store = store
        self.price = price
        self.lanes: list[Lane] = []
        for url in endpoint.base_urls:
            limits = Limits(
                settings.concurrency,
                settings.requests_per_minute,
                settings.tokens_per_minute,
                name=url,
            )
            lane = Lane(endpoint, url, key, limits, settings)
            self.lanes.append(lane)
        self.capabilities = Capabilities(endpoint, store)
        self._flying: dict[str, asyncio.Future[Outcome]] = {}
        self._arrivals = Arrivals(store)
        self._budget = Budget(account, endpoint.model)
        self._patience = Patience()
        self._probing = asyncio.Lock()
        self._probed = False  # in vain: the calls find out for themselves
        self._background = Background(f"calls to {endpoint.model}")

    def ask(self, calls: list[wire.Call]) -> Iterator[list[Outcome]]:
        """Send all calls; yields each outcome once, in groups, in order of completion.

        The list is emptied. Calls that the caller appends to it meanwhile are sent before those
        that wait, so that a dialogue continues while the server still caches its beginning.

        Raises:
            CrucibleError: the run cannot continue; what has arrived is stored.
        """
        first, waiting = deque(calls), asyncio.LifoQueue[wire.Call]()
        under_way = len(calls)
        calls.clear()

        def add(more: list[wire.Call]) -> None:
            for call in more:
                waiting.put_nowait(call)

        for arrived in self.run(lambda put: self._serve(first, waiting, put)) if first else ():
            yield arrived
            under_way += len(calls) - len(arrived)
            if not under_way:
                return
            if calls:
                with suppress(RuntimeError):  # the loop was closed: `run` reports it next
                    self._background.loop.call_soon_threadsafe(add, calls.copy())
                calls.clear()

    def run(self, work: Callable[[Put], Coroutine[Any, Any, None]]) -> Iterator[list[Outcome]]:
        """Run a coroutine in the background and yield the outcomes that it puts, until it ends."""
        return self._background.stream(work)

    def close(self) -> None:
        async def close_lanes() -> None:
            for lane in self.lanes:
                await lane.close()

        if not self._background.loop.is_closed():
            self._background.call(close_lanes())
        self._background.close()
        self._arrivals.close()

    # Inside the loop from here on

    async def _serve(
        self, first: deque[wire.Call], waiting: asyncio.LifoQueue[wire.Call], put: Put
    ) -> None:
        """Let workers answer calls until cancelled; an error that is not a row's ends all."""
        await self.probe(first, put)
        while first:
            waiting.put_nowait(first.pop())

        async def work() -> None:
            while True:
                calls = deque([await waiting.get()])
                await self.probe(calls, put)  # it may need a capability that no earlier call did
                if calls:
                    put(await self.answer(calls.popleft()))

        width = self.settings.concurrency * len(self.lanes)
        workers = [asyncio.create_task(work()) for _ in range(width)]
        try:
            await asyncio.wait(workers, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            for worker in workers:
                worker.cancel()
            ended = await asyncio.gather(*workers, return_exceptions=True)
        for end in ended:
            if isinstance(end, BaseException) and not isinstance(end, asyncio.CancelledError):
                raise end

    async def probe(self, calls: deque[wire.Call], put: Put | None) -> None:
        """Find out once what the server supports, with the cheapest of the calls.

        A call of a few tokens serves as the probe: it is answered and leaves the queue. Otherwise,
        and without `put`, one token is requested and all calls stay.
        """
        if self._probed or not self.capabilities.missing(calls):
            return
        async with self._probing:
            if self._probed or not self.capabilities.missing(calls):
                return
            wanted = next((c.sampling.top_logprobs for c in calls if c.sampling.top_logprobs), None)
            first = min(
                calls,
                key=lambda c: (
                    bool(wanted) and not c.sampling.top_logprobs,
                    c.sampling.n > 1,
                    c.tokens_in,
                ),
            )
            short = first.sampling.n == 1 and first.sampling.max_tokens <= PROBE_TOKENS
            if short and put is not None:
                calls.remove(first)
                put(await self.answer(first))
                return
            how = first.sampling.model_copy(
                update={"max_tokens": 1, "n": 1, "top_logprobs": wanted}
            )
            call = wire.chat_call(self.endpoint, first.id, first.prompt, how)  # type: ignore[arg-type]
            try:
                await self._paid(call)
            except (faults.RowFault, faults.Refused) as fault:
                self._probed = True
                _LOG.info("the probe of %s failed: %s", self.endpoint.model, fault)

    async def answer(self, call: wire.Call) -> Outcome:
        """Send a call, or share the answer of one with an equal key that is in flight.

        Raises:
            CrucibleError: the run ends.
        """
        while (other := self._flying.get(call.key)) is not None:
            await asyncio.wait([other])
            if not other.cancelled() and other.exception() is None:
                done = other.result()
                if done.error is None:
                    self.account.settle(self.endpoint.model, cached=1)
                return replace(done, call=call, shared=done.error is None, cost_usd=0.0)
            if self._flying.get(call.key) is other:
                del self._flying[call.key]
        mine: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._flying[call.key] = mine
        try:
            outcome = await self._asked(call)
            mine.set_result(outcome)
            return outcome
        finally:
            if not mine.done():
                mine.cancel()
            if self._flying.get(call.key) is mine:
                del self._flying[call.key]

    async def _asked(self, call: wire.Call) -> Outcome:
        try:
            exchange, outcome = await self._paid(call)
        except faults.RowFault as fault:
            return Outcome(call, error=str(fault))
        if call.kind != "score" and len(outcome.completions) < call.sampling.n:
            found = f"{len(outcome.completions)} of {call.sampling.n} samples"
            error = f"the server returned {found}; ?n=false asks for them one by one"
            return Outcome(call, error=error)
        read, written = wire.usage(exchange.reply or {}) or (None, None)
        model, text, now = self.endpoint.model, exchange.text, time.time()
        row = Stored(call.key, model, text, read, written, exchange.latency_s, now)
        await self._arrivals.keep(row)
        return outcome

    async def _paid(self, call: wire.Call) -> tuple[Exchange, Outcome]:
        """Send a call with its maximum cost reserved, and record its actual cost."""
        async with self._budget.spending(self.most(call)) as booked:
            exchange = await self._sent(call)
            outcome = self.outcome(call, exchange.reply or {}, exchange.completions)
            booked |= outcome.booked
        self.check_logprobs(outcome)
        return exchange, outcome

    def most(self, call: wire.Call) -> float | None:
        """Maximum cost of a call in USD; None without a price."""
        return self.price.cost(call.tokens_in, call.tokens - call.tokens_in) if self.price else None

    def outcome(
        self, call: wire.Call, reply: dict[str, Any], completions: tuple[Completion, ...]
    ) -> Outcome:
        """Answers with their tokens and cost.

        If the server counts no tokens, the cost is the maximum cost of the call.
        """
        counted = wire.usage(reply)
        cost = self.price.cost(*counted) if self.price and counted else self.most(call)
        kept = reply if call.kind == "score" else None
        return Outcome(call, completions, kept, *(counted or (0, 0)), cost_usd=cost)

    async def _sent(self, call: wire.Call) -> Exchange:
        from harness.backends.api.transport import Exchange

        lane = min(self.lanes, key=lambda lane: lane.assigned)
        for _ in range(2):
            begun = time.monotonic()
            exchange = Exchange(call, self.capabilities.has_logprobs)
            field = self.capabilities.token_field
            lane.assigned += 1
            try:
                await lane.post(exchange, wire.body(call, self.endpoint, field))
            except faults.NeedsOtherField:
                self.capabilities.other_field(field)
                continue
            except faults.RowFault as fault:
                if exchange.fault == wire.NO_LOGPROBS and not self.capabilities.has_logprobs:
                    raise forbid_logprobs(self.endpoint) from None
                if fault.temporary:
                    await self._failed(lane, exchange, begun, str(fault))
                raise
            except faults.Refused as error:
                await self._refused(lane, call, begun, error)
                raise faults.RowFault(error.reason) from None
            finally:
                lane.assigned -= 1
            self._patience.answered()
            self.capabilities.answered(call, exchange.completions)
            return exchange
        message = (
            f"{self.endpoint.model} at {lane.url} takes neither max_tokens nor "
            f"max_completion_tokens (row {call.id})"
        )
        await self._refused(lane, call, begun, faults.Refused(message, exchange.fault, True))
        raise faults.RowFault(exchange.fault)

    async def _failed(self, lane: Lane, exchange: Exchange, begun: float, said: str) -> None:
        """Count a failure that may pass; no connection, or many in a row, ends the run."""

        def problem() -> CrucibleError:
            times = f"{self._patience.failures} requests in a row failed, the last: {said}"
            if exchange.fault.startswith("status 429"):
                return faults.used_up(lane.url, times, exchange.call.id, None)
            found = faults.unusable if exchange.answered else faults.unreachable
            return found(lane.url, times)

        if exchange.fault.startswith(faults.NO_CONNECTION) and not self.capabilities.reached:
            raise faults.unreachable(lane.url, said)
        control = partial(self._control, lane, exchange.call, wire.CONTROLS[:1])
        await self._patience.spend(begun, GIVE_UP, control, problem)

    async def _refused(
        self, lane: Lane, call: wire.Call, begun: float, error: faults.Refused
    ) -> None:
        """Look into many refusals in a row, into one of a server that has answered nothing yet, and
        into one whose words are about a setting.

        Raises:
            CrucibleError: the error, because every request would meet it.
        """
        most = GIVE_UP if self.capabilities.reached and not error.shared else 1
        control = partial(self._control, lane, call, wire.CONTROLS)
        try:
            await self._patience.spend(begun, most, control, lambda: error)
        except faults.UnknownModel:
            raise await lane.with_names(error) from None

    async def _control(self, lane: Lane, call: wire.Call, texts: Sequence[str]) -> bool:
        """Whether the server answers one of some harmless calls with the call's settings.

        Raises:
            UserError: the cost limit is reached.
        """
        from harness.backends.api.transport import Exchange

        for text in texts:
            control = wire.control_call(call, self.endpoint, text)
            exchange = Exchange(control)
            body = wire.body(control, self.endpoint, self.capabilities.token_field)
            try:
                async with self._budget.spending(self.most(control)) as booked:
                    await lane.post(exchange, body)
                    found = self.outcome(control, exchange.reply or {}, exchange.completions)
                    booked |= found.booked
            except (faults.RowFault, faults.NeedsOtherField, CrucibleError) as fault:
                _LOG.info("the control of %s failed: %s", self.endpoint.model, fault)
                continue
            self.capabilities.answered(control, exchange.completions)
            return True
        return False

    def check_logprobs(self, outcome: Outcome) -> None:
        """Refuse answers without requested log-probabilities.

        Raises:
            RowFault: other replies have had some.
            UserError: names the alternatives.
        """
        if wire.lacks_logprobs(outcome.call, outcome.completions):
            if self.capabilities.has_logprobs:
                raise faults.RowFault(wire.NO_LOGPROBS)
            raise forbid_logprobs(self.endpoint)
