"""Diversity filter of instruction data: drop a text that repeats an earlier kept one.

Texts are taken in order; one is dropped if its ROUGE-L F against any kept text is above the
threshold (Wang et al. 2022, Self-Instruct, section 2.2; Explore-Instruct keeps at 0.7). The first
text is always kept, and the result depends on the order.

    decisions = diversity_filter(instructions, 0.7)
    kept = [text for text, decision in zip(instructions, decisions) if decision.kept]

Comparing every pair costs minutes for 1,000 texts. `harness.data.instructions.cascade` finds the
few kept texts whose tokens overlap enough, and only these are compared; decisions are the same.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

from harness.core.errors import BadData
from harness.data.instructions.cascade import Kept, encode
from harness.data.instructions.nearest import Nearest
from harness.data.instructions.rouge_l import (
    Compare,
    Threshold,
    Tokenize,
    rouge_tokens,
    tokens_of,
)


@dataclass(frozen=True)
class Decision:
    """Whether a text is kept, and how near it is to the texts kept before it.

    Attributes:
        max_rouge_l: highest F against these; None without one, or without `details`.
        most_similar: index of the first of them that reaches it.
    """

    kept: bool
    max_rouge_l: float | None = None
    most_similar: int | None = None


def diversity_filter(
    texts: Sequence[str],
    threshold: float = 0.7,
    *,
    compare: Compare = "float_compat",
    groups: Sequence[Hashable] | None = None,
    tokenize: Tokenize = rouge_tokens,
    details: bool = False,
) -> list[Decision]:
    """One decision per text, in order.

    Args:
        threshold: 1 or more keeps everything, repeats included; below 0, only the first text.
        compare: "float_compat" compares the floating-point F of rouge-score, "exact" integers; they
            differ for some pairs whose F equals the threshold.
        groups: label of each text, such as its task; texts of different groups are not compared.
            None compares all.
        tokenize: tokens of a text. The default finds none in scripts other than Latin, so that such
            texts are always kept; give your own for them.
        details: also find the nearest kept text of each, which takes about eight times as long.

    Raises:
        BadData: an element is no text, or there is not one group per text.
        BadRecord: the threshold is no finite number.
    """
    limit = Threshold(threshold, compare)
    rows = tokens_of(texts, tokenize)
    decisions: list[Decision] = [Decision(True)] * len(rows)
    for members in _parts(len(rows), groups):
        own = [rows[index] for index in members]
        found = _detailed(own, limit, members) if details else _plain(own, limit)
        for index, decision in zip(members, found, strict=True):
            decisions[index] = decision
    return decisions


def _parts(n: int, groups: Sequence[Hashable] | None) -> list[Sequence[int]]:
    """Indexes of the texts of each group."""
    if groups is None:
        return [range(n)]
    if len(groups) != n:
        raise BadData(f"{len(groups)} groups for {n} texts; expected one per text")
    parts: dict[Hashable, list[int]] = {}
    for index, label in enumerate(groups):
        parts.setdefault(label, []).append(index)
    return list(parts.values())


def _plain(rows: Sequence[Sequence[str]], limit: Threshold) -> Iterator[Decision]:
    """Decisions without the nearest text."""
    keep, drop = Decision(True), Decision(False)
    if limit.value < 0:  # even texts without a common token are too near
        yield from (keep if index == 0 else drop for index in range(len(rows)))
        return
    kept = Kept(encode(rows, limit.value), limit)
    for index in range(len(rows)):
        if kept.is_near(index):
            yield drop
        else:
            kept.add(index)
            yield keep


def _detailed(
    rows: Sequence[Sequence[str]], limit: Threshold, members: Sequence[int]
) -> Iterator[Decision]:
    """Decisions with the nearest text; its index is that in the whole input."""
    nearest = Nearest(rows)
    for index in range(len(rows)):
        found = nearest.of(index)
        near = found is not None and limit.exceeded(*found.counts)
        if not near:
            nearest.add(index)
        if found is None:
            yield Decision(True)
        else:
            yield Decision(not near, found.rouge_l, members[found.index])
