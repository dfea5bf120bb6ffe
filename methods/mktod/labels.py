"""Distant labels for pre-training the retriever (appendix D): the record with the most values.

A value counts if it occurs in context and reply as a whole run of tokens. The paper names no rule
for ties, for a least count or for turns without a value: `distant_label` has them as settings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from harness.suites.dialogue.records import values_in
from harness.suites.dialogue.text import contains_run, plain_tokens


class DistantLabel(NamedTuple):
    """Number of values of each record; index of the label, None for none; whether others tie."""

    counts: list[int]
    label: int | None
    tie: bool


def distant_label(
    context: str,
    reply: str,
    records: Sequence[Mapping[str, str]],
    min_count: int = 1,
    unique: bool = False,
) -> DistantLabel:
    """The label of one turn.

    Args:
        min_count: least number of values of a label.
        unique: give no label if several records share the largest count; else the first of them.

    >>> distant_label("thai food", "try sala_thong", [{"name": "sala_thong", "food": "thai"}])
    DistantLabel(counts=[2], label=0, tie=False)
    """
    tokens = plain_tokens(f"{context} {reply}")
    counts = [sum(contains_run(tokens, run) for _, run in values_in(record)) for record in records]
    most = max(counts, default=0)
    tie = counts.count(most) > 1
    found = most >= max(1, min_count) and not (unique and tie)
    return DistantLabel(counts, counts.index(most) if found else None, tie)
