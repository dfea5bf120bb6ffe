"""Scripted faults of the nano server: a deterministic choice of the failure of each request.

    FaultScript(faults=(fault("429=0.05"), fault("slow=0.1:0.5"), fault("hang@7")))

A fault applies to a share of the requests ("429=0.05") or to given ones ("hang@7": the seventh to
arrive, "500@1,2,3": the first three). Shares are drawn from the seed and the arrival number, so the
same script gives the same sequence of faults, and a repeated request gets a new draw. With `sticky`
the draw depends on the request's body instead, so retrying never helps.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Literal, get_args

from pydantic import Field, PositiveInt, model_validator

from harness.core.errors import BadRecord, unknown
from harness.core.hashing import seed_from
from harness.core.records import Record, parse

Kind = Literal[
    "429",  # rate limited, without Retry-After
    "429-retry-after",  # rate limited, with Retry-After (seconds; default 1)
    "500",  # server error
    "503",  # overloaded
    "hang",  # no reply; the connection is closed after the given seconds (default: by the client)
    "slow",  # a valid reply after the given seconds (default 1)
    "drop",  # the connection is closed without a reply
    "cut",  # the connection is closed in the middle of the body
    "malformed",  # a complete reply whose body is half a JSON document
    "no_logprobs",  # a valid reply without log-probabilities
    "empty",  # a reply with an empty text
    "wrong_label",  # a reply with an invalid verdict
]
KINDS: tuple[Kind, ...] = get_args(Kind)


class Fault(Record):
    """One kind of failure and the requests to which it applies.

    Attributes:
        share: share of the requests.
        arrivals: numbers of requests, from 1.
        seconds: duration of the kinds that have one.
    """

    kind: Kind
    share: float = Field(default=0.0, ge=0, le=1)
    arrivals: tuple[PositiveInt, ...] = ()
    seconds: float | None = Field(default=None, ge=0)


class FaultScript(Record):
    """Faults and rate limits of a server.

    Attributes:
        faults: faults for given arrivals have priority, in this order; the sum of shares is at
            most 1.
        seed: seed of the draws.
        sticky: the same request body always gets the same fault, or none.
        requests_per_minute, tokens_per_minute: rate limits, announced in x-ratelimit headers and
            enforced with 429 and Retry-After; None for no limit.
    """

    faults: tuple[Fault, ...] = ()
    seed: int = 0
    sticky: bool = False
    requests_per_minute: int | None = Field(default=None, ge=1)
    tokens_per_minute: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _at_most_every_request(self) -> FaultScript:
        total = sum(fault.share for fault in self.faults)
        if total > 1 + 1e-9:
            raise ValueError(f"shares with a sum of at most 1, not {total:g}")
        return self

    def decide(self, arrival: int, body: str) -> Fault | None:
        """The fault of a request, or None.

        Args:
            arrival: number of the request, from 1.
            body: digest of its body.
        """
        for fault in self.faults:
            if arrival in fault.arrivals:
                return fault
        draw = seed_from("fault", self.seed, body if self.sticky else arrival) / 2**63
        for fault in self.faults:
            if draw < fault.share:
                return fault
            draw -= fault.share
        return None


def fault(text: str) -> Fault:
    """Parse the short form of a fault: KIND=SHARE or KIND@NUMBER[,NUMBER...], then [:SECONDS].

    >>> fault("slow=0.1:0.5").seconds
    0.5
    >>> fault("hang@3,4").arrivals
    (3, 4)

    Raises:
        UnknownName: unknown kind.
        BadRecord: the text is not of this form.
    """
    head, _, seconds = text.partition(":")
    kind, mark, whom = head.partition("@") if "@" in head else head.partition("=")
    if not mark:
        raise BadRecord(
            f'fault "{text}": expected KIND=SHARE as in 429=0.05, KIND@NUMBER as in hang@7, or '
            "either with :SECONDS as in slow=0.1:0.5"
        )
    if kind not in KINDS:
        raise unknown("fault", kind, KINDS)
    data: dict[str, object] = {"kind": kind}
    data["arrivals" if mark == "@" else "share"] = whom.split(",") if mark == "@" else whom
    if seconds:
        data["seconds"] = seconds
    return parse(Fault, data, f'fault "{text}"')


class Allowance:
    """Token bucket of a rate limit: full at the start, refilled evenly over a minute."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_minute = per_minute
        self._clock = clock
        self._left = float(per_minute)
        self._seen = clock()

    @property
    def left(self) -> int:
        """Amount that may be taken now."""
        self._refill()
        return int(self._left)

    @property
    def full_in_s(self) -> float:
        """Seconds until the bucket is full."""
        self._refill()
        return 60 * (self.per_minute - self._left) / self.per_minute

    def missing_s(self, amount: int) -> float:
        """Seconds until `amount`, or at most a full bucket, may be taken."""
        self._refill()
        missing = min(amount, self.per_minute) - self._left
        return max(0.0, 60 * missing / self.per_minute)

    def take(self, amount: int) -> None:
        """Take an amount, at most what is left."""
        self._refill()
        self._left = max(0.0, self._left - amount)

    def _refill(self) -> None:
        now = self._clock()
        self._left = min(self.per_minute, self._left + (now - self._seen) * self.per_minute / 60)
        self._seen = now


def rate_headers(name: str, allowance: Allowance) -> dict[str, str]:
    """The x-ratelimit headers of an allowance of "requests" or "tokens", in OpenAI's format.

    >>> rate_headers("requests", Allowance(60))["x-ratelimit-reset-requests"]
    '0ms'
    """
    milliseconds = math.ceil(1000 * allowance.full_in_s)
    reset = f"{milliseconds}ms" if milliseconds < 1000 else f"{milliseconds / 1000:g}s"
    return {
        f"x-ratelimit-limit-{name}": str(allowance.per_minute),
        f"x-ratelimit-remaining-{name}": str(allowance.left),
        f"x-ratelimit-reset-{name}": reset,
    }
