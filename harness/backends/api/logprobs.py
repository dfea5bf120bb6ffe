"""Log-probabilities in replies: sound numbers, or a reply that cannot be used.

A log-probability is at most 0; one above by a rounding error is 0. Servers write null, -infinity or
-9999 for a token outside their list: it counts as absent. Anything else (not a number, infinite,
positive) means that the server's numbers are wrong, and a verdict must not be read from them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from harness.backends.base import TopLogprobs

IMPOSSIBLE = -9000.0  # at most this is a mark for "outside the list"
ROUNDING = 1e-4  # most that a number format can add to 0


class BadLogprobs(ValueError):
    """A reply contains a number that is no log-probability."""


def logprob(value: Any) -> float | None:
    """A server's number as a log-probability; None for an absent token.

    Raises:
        BadLogprobs: it is none.

    >>> logprob(-0.5), logprob("-0.5"), logprob(1e-7), logprob(-9999.0), logprob(None)
    (-0.5, -0.5, 0.0, None, None)
    """
    if value is None:
        return None
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if isinstance(value, bool) or math.isnan(found) or found > ROUNDING:
        raise BadLogprobs(f"the reply contains {value!r:.40}, which is no log-probability")
    return min(0.0, found) if found > IMPOSSIBLE else None


def likeliest(pairs: Iterable[tuple[str, Any]], wanted: int) -> tuple[tuple[str, float], ...]:
    """Pairs of present tokens, most likely first."""
    found = [(token, value) for token, given in pairs if (value := logprob(given)) is not None]
    found.sort(key=lambda pair: -pair[1])
    return tuple(found[:wanted])


def chat_tops(given: dict[str, Any], wanted: int) -> TopLogprobs | None:
    """The alternatives of each token in a choice's "logprobs"; None without any.

    Some servers write the older form of /completions.
    """
    entries = given.get("content")
    if not entries:
        tops, older = given.get("top_logprobs"), given.get("tokens")
        if not tops or not older:
            return None
        return tuple(likeliest((entry or {}).items(), wanted) for entry in tops)
    found = []
    for entry in entries:
        own = (entry["token"], entry.get("logprob"))
        logprob(own[1])
        tops = [(top["token"], top["logprob"]) for top in entry.get("top_logprobs") or ()]
        found.append(likeliest(tops or [own], wanted))
    return tuple(found)
