"""Number of attempts in flight at one server, and the rate at which they are sent.

Two token buckets, of requests and of tokens per minute, learn from the server's x-ratelimit
headers; a user-set limit overrides the server's. The number in flight adapts between 1 and the
user's `concurrency`: it is halved after a rate limit (429), at most once per round trip, and grows
by one after each window of successes.
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_LOG = logging.getLogger(__name__)

LONGEST_S = 120.0  # without an attempt in this time, one is sent whatever the headers say
TOLD_S = 10.0  # waits above it are reported, and at most one in `TOLD_EVERY_S`
TOLD_EVERY_S = 30.0

_DURATION = re.compile(
    r"(\d+(?:\.\d+)?)\s*(milliseconds?|ms|us|\u00b5s|ns|seconds?|secs?|s|minutes?|mins?|m|hours?"
    r"|hrs?|h|days?|d)\s*",
    re.IGNORECASE,
)
_SECONDS = {"ms": 1e-3, "us": 1e-6, "\u00b5s": 1e-6, "ns": 1e-9}
_BY_LETTER = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_AGAIN_IN = re.compile(
    r"(?:try again|retry|available again|resets?|wait)\b[^.\d]{0,30}((?:\d+(?:\.\d+)?\s*"
    r"(?:ms|[a-z]{0,12})\s*){1,4})",
    re.IGNORECASE,
)
# A number above the first is no duration but seconds since 1970, and so on.
_EPOCHS = ((1e17, 1e-9), (1e14, 1e-6), (1e11, 1e-3), (1e9, 1.0))


def seconds(text: str, now: float | None = None) -> float | None:
    """The seconds until the time that a header states; None if its form is unknown.

    Durations, numbers, seconds or milliseconds since 1970, and dates of HTTP or ISO 8601; what is
    past is 0.

    >>> seconds("6m0s"), seconds("20ms"), seconds("1.5"), seconds("soon")
    (360.0, 0.02, 1.5, None)
    >>> seconds("1700000030", now=1.7e9), seconds("1700000030000", now=1.7e9)
    (30.0, 30.0)
    """
    text = text.strip().split(",")[0].split(";")[0].strip() if "GMT" not in text else text.strip()
    duration = _duration(text.removeprefix("PT"))
    if duration is not None:
        return duration
    now = time.time() if now is None else now
    try:
        value = float(text)
    except ValueError:
        moment = _moment(text)
        return None if moment is None else max(0.0, moment - now)
    if not math.isfinite(value):
        return None
    for least, unit in _EPOCHS:
        if value >= least:
            value = value * unit - now
            break
    return max(0.0, value)


def _duration(text: str) -> float | None:
    parts = list(_DURATION.finditer(text))
    if not parts or "".join(part[0] for part in parts) != text:
        return None
    units = [(float(part[1]), part[2].lower()) for part in parts]
    return sum(
        number * (_SECONDS.get(unit) or (1e-3 if unit.startswith("mil") else _BY_LETTER[unit[0]]))
        for number, unit in units
    )


def _moment(text: str) -> float | None:
    """Seconds since 1970 of a date."""
    for read in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            found = read(text)
            return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
        except (ValueError, TypeError, OverflowError, IndexError):
            continue
    return None


def retry_after(headers: Mapping[str, str], said: str = "") -> float | None:
    """The seconds that a refused request should wait, by its headers or else by its message."""
    thousandths = _amount(headers.get("retry-after-ms"))
    if thousandths is not None:
        return thousandths / 1000
    given = headers.get("retry-after")
    wait = seconds(given) if given else None
    if wait is None and (found := _AGAIN_IN.search(said)):
        wait = _duration(found[1].strip()) or None
    return wait


def _amount(text: str | None) -> float | None:
    """The number in a header such as "60" or "60, 60;w=60"; None if it is none."""
    try:
        value = float(re.split(r"[,;\s]", text.strip(), maxsplit=1)[0]) if text else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


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

    def observe(
        self,
        limit: str | None,
        remaining: str | None,
        reset: str | None,
        outstanding: float = 0.0,
    ) -> None:
        """Learn from one response's headers.

        Args:
            outstanding: taken by attempts in flight, which the server may not have counted.
        """
        most, left = _amount(limit), _amount(remaining)
        if most and not self._fixed:
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
            self._level = min(self._level, left)
            if not self._fixed:  # a new period began on the server
                self._level = max(self._level, min(self._capacity, left - max(0.0, outstanding)))

    @property
    def is_learned(self) -> bool:
        """Whether the rate is the server's, not the user's."""
        return not self._fixed

    def overdraw(self, cost: float) -> None:
        """Take an amount that is not there."""
        self._level -= cost

    def _fill(self) -> None:
        now = self._clock()
        self._level = min(self._capacity, self._level + (now - self._then) * self._rate)
        self._then = now


class Limits:
    """Limits of one server; used inside one event loop.

    Call `enter` before an attempt, `answered` and `observe` when its reply arrives, and `leave`
    after it. A wait that follows from the server's headers is cut off, because headers may be odd:
    after `LONGEST_S` without any attempt one is sent. The user's own rates always hold.
    """

    def __init__(
        self,
        most: int,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        clock: Callable[[], float] = time.monotonic,
        name: str = "the server",
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
        self._name = name
        self._sent = [0.0, 0.0]  # requests and tokens of attempts in flight
        self._last = self._told = -math.inf  # times: an attempt was allowed, a wait was reported

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
            await self._allowed(self._requests, 1, "requests")
            await self._allowed(self._tokens, tokens, "tokens")
        except asyncio.CancelledError:
            self.leave()
            raise
        self._sent[0] += 1
        self._sent[1] += tokens
        self._last = self._clock()
        return self._last

    async def _allowed(self, bucket: Bucket, cost: float, name: str) -> None:
        """Wait for an allowance, as long as others get theirs or `LONGEST_S` has not passed."""
        begun = self._clock()
        while (pause := bucket.wait_s(cost)) > 0:
            if bucket.is_learned:
                patience = max(begun, self._last) + LONGEST_S - self._clock()
                if patience <= 0:
                    bucket.overdraw(cost)
                    self._last = self._clock()
                    return
                self._tell(min(pause, patience), f"its headers allow no more {name} now")
                pause = min(pause, patience, 1.0)  # a reply may bring news
            await asyncio.sleep(pause)

    def _tell(self, pause: float, why: str) -> None:
        """Report a long wait to the user."""
        if pause >= TOLD_S and self._clock() - self._told >= TOLD_EVERY_S:
            self._told = self._clock()
            _LOG.warning("%s: waiting %.0f s: %s", self._name, pause, why)

    def told_to_wait(self, pause: float, said: str) -> None:
        """Report a wait that the server asks for."""
        self._tell(pause, f'the server says "{said}"')

    def answered(self, tokens: float) -> None:
        """Note that the reply to an attempt has arrived, or that it is lost."""
        self._sent[0] -= 1
        self._sent[1] -= tokens

    def leave(self) -> None:
        """Give the place to the attempt that has waited longest."""
        self.in_flight -= 1
        self._wake()

    def observe(self, headers: Mapping[str, str], tokens: float = 0.0) -> None:
        """Learn the server's limits from the reply to an attempt of so many tokens."""
        buckets = (("requests", self._requests), ("tokens", self._tokens))
        for (name, bucket), outstanding in zip(
            buckets, (self._sent[0] - 1, self._sent[1] - tokens), strict=True
        ):
            limit = headers.get(f"x-ratelimit-limit-{name}")
            remaining = headers.get(f"x-ratelimit-remaining-{name}")
            if limit is not None or remaining is not None:
                reset = headers.get(f"x-ratelimit-reset-{name}")
                bucket.observe(limit, remaining, reset, outstanding)

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
