"""Scripted faults of the nano server: which request meets which failure, decided in advance.

    FaultScript(faults=(fault("429=0.05"), fault("slow=0.1:0.5"), fault("hang@7")))

A fault hits a share of the requests ("429=0.05") or given ones ("hang@7": the seventh to arrive,
"500@1,2,3": the first three). Shares are drawn from the seed and the number of arrival, so the same
script gives the same run of faults and a request that is asked again gets a new draw; with
`sticky` the draw comes from the request's body, and asking again never helps.
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
    "429",  # rate limited, without a hint when to come back
    "429-retry-after",  # rate limited, with Retry-After (seconds; default 1)
    "500",  # server error
    "503",  # overloaded
    "hang",  # no reply for the given seconds (default: until the client leaves), then none at all
    "slow",  # a good reply after the given seconds (default 1)
    "drop",  # the connection is closed without a reply
    "cut",  # the connection is closed in the middle of the body
    "malformed",  # a complete reply of half a JSON document
    "no_logprobs",  # a good reply without log-probabilities
    "empty",  # a reply with an empty text
    "wrong_label",  # a reply whose verdict is none of those asked for
]
KINDS: tuple[Kind, ...] = get_args(Kind)


class Fault(Record):
    """One kind of failure and whom it hits: a share of the requests, or those numbers (from 1)."""

    kind: Kind
    share: float = Field(default=0.0, ge=0, le=1)
    arrivals: tuple[PositiveInt, ...] = ()
    seconds: float | None = Field(default=None, ge=0)


class FaultScript(Record):
    """The faults of a server, and the rate it grants.

    Attributes:
        faults: given arrivals first, in this order; the shares of the others add up to 1 at most.
        seed: another seed hits other requests.
        sticky: the same request body always meets the same fate.
        requests_per_minute, tokens_per_minute: announced in x-ratelimit headers and enforced with
            429 and Retry-After; None for no limit.
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
            raise ValueError(f"shares that add up to 1 at most, not {total:g}")
        return self

    def decide(self, arrival: int, body: str) -> Fault | None:
        """What happens to a request; None: it is answered.

        Args:
            arrival: its number, from 1.
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
    """A fault from its short form: KIND=SHARE or KIND@NUMBER[,NUMBER...], and :SECONDS.

    >>> fault("slow=0.1:0.5").seconds
    0.5
    >>> fault("hang@3,4").arrivals
    (3, 4)

    Raises:
        UnknownName: no such kind.
        BadRecord: the text has another form.
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
    """What is left of a rate: full at the start, refilled evenly over a minute."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_minute = per_minute
        self._clock = clock
        self._left = float(per_minute)
        self._seen = clock()

    @property
    def left(self) -> int:
        self._refill()
        return int(self._left)

    @property
    def full_in_s(self) -> float:
        """Seconds until all of it is back."""
        self._refill()
        return 60 * (self.per_minute - self._left) / self.per_minute

    def missing_s(self, amount: int) -> float:
        """Seconds until `amount` (or all there can be) may be taken; 0: now."""
        self._refill()
        missing = min(amount, self.per_minute) - self._left
        return max(0.0, 60 * missing / self.per_minute)

    def take(self, amount: int) -> None:
        self._refill()
        self._left = max(0.0, self._left - amount)

    def _refill(self) -> None:
        now = self._clock()
        self._left = min(self.per_minute, self._left + (now - self._seen) * self.per_minute / 60)
        self._seen = now


def rate_headers(name: str, allowance: Allowance) -> dict[str, str]:
    """The x-ratelimit headers of the allowance of requests or tokens, spelt as OpenAI's.

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
