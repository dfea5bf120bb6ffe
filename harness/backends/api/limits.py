"""Number of attempts in flight at one server, and the rate at which they are sent.

Two token buckets, of requests and of tokens per minute, learn from the server's x-ratelimit
headers; a user-set limit overrides the server's. The number in flight adapts between 1 and the
user's `concurrency`: it is halved after a rate limit (429), at most once per round trip, and grows
by one after each window of successes.
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
    """The seconds in a reset header; None if its form is unknown.

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
    """An allowance that refills steadily; without a known rate it never waits.

    Args:
        per_minute: the user's limit, spread evenly in portions of one second; a limit learned from
            headers starts at the remaining amount that the server states.
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
        """Seconds until `cost` may be taken; 0 means that it has been taken.

        A cost above the capacity is taken from a full bucket, which leaves a debt.
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
        """Return an amount that a finished call did not use."""
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
            # The time to a full allowance gives the rate for limits of any period: those of small
            # accounts are per day.
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
    """Limits of one server; used inside one event loop.

    Call `enter` before an attempt, `observe` with the reply's headers, and `leave` after it.
    """

    def __init__(
        self,
        most: int,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.most = most
        self.window = float(most)  # maximum number of attempts in flight now
        self.in_flight = 0
        self._requests = Bucket(requests_per_minute, clock)
        self._tokens = Bucket(tokens_per_minute, clock)
        self._clock = clock
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._successes = 0
        self._halved = -1.0

    async def enter(self, tokens: int) -> float:
        """Wait for a place and for the allowances; returns the time at which the attempt starts."""
        if self.in_flight >= int(self.window) or self._waiting:
            place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(place)
            try:
                await place
            except asyncio.CancelledError:
                if place.done() and not place.cancelled():
                    self.leave()  # the place was given at the same moment
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
        """Give the place to the attempt that has waited longest."""
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
        """Return tokens that an attempt reserved and did not use."""
        self._tokens.give_back(tokens)

    def succeeded(self) -> None:
        self._successes += 1
        if self.window < self.most and self._successes >= self.window:
            self._successes = 0
            self.window = min(float(self.most), self.window + 1)
            self._wake()

    def rate_limited(self, started: float) -> None:
        """Note a rate limit for an attempt that started at `started`."""
        if started <= self._halved:
            return  # sent before the last halving, which covers it
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
