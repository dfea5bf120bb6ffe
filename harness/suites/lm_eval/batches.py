"""Assignment of requests to batches, i.e. forward passes.

For transformers models the batches equal those that lm-eval makes of all requests at once, so that
results are equal to the last bit whether or not a run was interrupted. Source: lm_eval 0.4.13,
`Collator` and its callers in `models/huggingface.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from harness.core.hashing import canonical_json

Encoded = tuple[list[int], list[int]]  # ids of context and continuation
Batches = list[list[int]]  # indexes into the list of requests


def plain(count: int, size: int) -> Batches:
    """Batches of `size` requests in their order."""
    return [list(range(start, min(start + size, count))) for start in range(0, count, size)]


def by_context(pairs: Sequence[Encoded], size: int) -> Batches:
    """Batches of log-likelihood requests.

    Requests that are equal except for the last token share one row, that of the longest
    continuation; rows are sorted longest first, `size` rows per batch.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for place, (context, continuation) in enumerate(pairs):
        groups.setdefault(tuple(context + continuation[:-1]), []).append(place)

    def key(members: list[int]) -> tuple[int, tuple[int, ...]]:
        context, continuation = pairs[max(members, key=lambda place: len(pairs[place][1]))]
        tokens = context + continuation
        return -len(tokens), tuple(tokens)

    ordered = sorted(groups.values(), key=key)
    return [
        sorted(place for members in ordered[start : start + size] for place in members)
        for start in range(0, len(ordered), size)
    ]


def by_options(
    requests: Sequence[tuple[str, Any]], size: int, length: Callable[[str], int]
) -> Batches:
    """Batches of generation requests: equal options together, longest prompts first.

    Args:
        requests: (prompt, generation options) of each request.
        size: requests per batch.
        length: number of tokens of a prompt.
    """
    groups: dict[bytes, list[int]] = {}
    for place, (_, options) in enumerate(requests):
        groups.setdefault(canonical_json(options), []).append(place)
    batches: Batches = []
    for members in groups.values():
        members.sort(key=lambda place: (-length(requests[place][0]), requests[place][0]))
        batches += [members[start : start + size] for start in range(0, len(members), size)]
    return batches
