"""How many attempts are in flight at one server, and how fast they go out.

Two token buckets, one of requests and one of tokens a minute, are fed by the server's
x-ratelimit headers; a number of the user's goes before the server's. The number in flight adapts:
halved after a rate limit (429), at most once per round trip, and one more after each window of
successes, between 1 and the user's `concurrency`.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections import deque
from collections.abc import Callable, Mapping

_LOG = logging.getLogger(__name__)

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds(text: str) -> float | None:
    """The seconds of a reset header; None for another form.

    >>> seconds("6m0s"), seconds("20ms"), seconds("1.5"), seconds("soon")
    (360.0, 0.02, 1.5, None)
    """
    text = text.strip()
    parts = _DURATION.findall(text)
    if parts and "".join(number + unit for number, unit in parts) == text:
        return float(sum(float(number) * _SECONDS[unit] for number, unit in parts))
    try:
        return float(text)
    except ValueError:
        return None


class Bucket:
    """An allowance that fills steadily; without a known rate it lets everything through.

    Args:
        per_minute: the user's limit. It goes out evenly, one second's worth at a time; a limit
            learned from headers starts at what the server says is left of it.
    """

    def __init__(
        self, per_minute: int | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._fixed = per_minute is not None
        self._clock = clock
        self._rate = (per_minute or 0) / 60
        self._capacity = max(1.0, self._rate)
        self._level = self._capacity
        self._then = clock()

    def wait_s(self, cost: float) -> float:
        """Seconds until `cost` may be taken; 0 takes it.

        A cost above the capacity is taken from a full bucket and leaves a debt.
        """
        if not self._rate:
            return 0.0
        self._fill()
        missing = min(cost, self._capacity) - self._level
        if missing > 1e-9:
            return missing / self._rate
        self._level -= cost
        return 0.0

    def give_back(self, amount: float) -> None:
        """Return what a finished call did not use."""
        if self._rate:
            self._level = min(self._capacity, self._level + amount)

    def observe(self, limit: str | None, remaining: str | None, reset: str | None) -> None:
        """Learn from one response's headers."""
        try:
            most = float(limit) if limit is not None else None
            left = float(remaining) if remaining is not None else None
        except ValueError:
            return
        if most is not None and most > 0 and not self._fixed:
            fresh = not self._rate
            # The time to a full allowance gives the rate whatever span the limit is for: small
            # accounts have limits per day.
            full_s = seconds(reset) if reset else None
            if full_s and left is not None and left < most:
                self._rate = (most - left) / full_s
            elif fresh:
                self._rate = most / 60
            self._capacity = most
            if fresh:
                self._level, self._then = most, self._clock()
        if left is not None and self._rate:
            self._level = min(self._level, max(0.0, left))

    def _fill(self) -> None:
        now = self._clock()
        self._level = min(self._capacity, self._level + (now - self._then) * self._rate)
        self._then = now


class Limits:
    """The gate in front of one server; used inside one event loop.

    `enter` before an attempt, `leave` after it; in between, `observe` what came back.
    """

    def __init__(
        self,
        most: int,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.most = most
        self.window = float(most)  # attempts that may be in flight now
        self.in_flight = 0
        self._requests = Bucket(requests_per_minute, clock)
        self._tokens = Bucket(tokens_per_minute, clock)
        self._clock = clock
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._successes = 0
        self._halved = -1.0

    async def enter(self, tokens: int) -> float:
        """Wait for a place and for the allowances; returns when the attempt started."""
        if self.in_flight >= int(self.window) or self._waiting:
            place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(place)
            try:
                await place
            except asyncio.CancelledError:
                if place.done() and not place.cancelled():
                    self.leave()  # the place was given in the same moment
                raise
        else:
            self.in_flight += 1
        try:
            while (pause := self._requests.wait_s(1)) > 0:
                await asyncio.sleep(pause)
            while (pause := self._tokens.wait_s(tokens)) > 0:
                await asyncio.sleep(pause)
        except asyncio.CancelledError:
            self.leave()
            raise
        return self._clock()

    def leave(self) -> None:
        """Give the place to whoever waits longest."""
        self.in_flight -= 1
        self._wake()

    def observe(self, headers: Mapping[str, str]) -> None:
        """Learn the server's limits."""
        for name, bucket in (("requests", self._requests), ("tokens", self._tokens)):
            limit = headers.get(f"x-ratelimit-limit-{name}")
            remaining = headers.get(f"x-ratelimit-remaining-{name}")
            if limit is not None or remaining is not None:
                bucket.observe(limit, remaining, headers.get(f"x-ratelimit-reset-{name}"))

    def unused(self, tokens: float) -> None:
        """Tokens that an attempt had set aside and did not use."""
        self._tokens.give_back(tokens)

    def succeeded(self) -> None:
        self._successes += 1
        if self.window < self.most and self._successes >= self.window:
            self._successes = 0
            self.window = min(float(self.most), self.window + 1)
            self._wake()

    def rate_limited(self, started: float) -> None:
        """An attempt that started at `started` was told to slow down."""
        if started <= self._halved:
            return  # sent before the last halving: the same news once more
        self._halved = self._clock()
        self._successes = 0
        self.window = max(1.0, self.window / 2)
        _LOG.info("rate limited: at most %d requests in flight", int(self.window))

    def _wake(self) -> None:
        while self._waiting and self.in_flight < int(self.window):
            place = self._waiting.popleft()
            if not place.done():
                self.in_flight += 1
                place.set_result(None)
