"""Decisions as the released code takes them (examination/hallucination): instances get mixed up.

The suffix of a question's id is removed only for the numbers 0 to 2: a fourth question becomes an
instance of its own, and an eleventh ("_test10") counts for another instance.
"""

from __future__ import annotations

from collections.abc import Mapping


def behaviour(correct: Mapping[str, bool], tau: float) -> dict[str, bool]:
    """Instance id as released -> whether its share of correct answers exceeds tau."""
    found: dict[str, list[bool]] = {}
    for idx, right in correct.items():
        for number in range(3):
            idx = idx.replace(f"_test{number}", "")
        found.setdefault(idx, []).append(right)
    return {name: sum(each) / len(each) > tau for name, each in found.items()}


def consistent_share(decisions: Mapping[str, bool]) -> float | None:
    """Share of consistent instances, as in the released metric files; None without any."""
    return sum(decisions.values()) / len(decisions) if decisions else None
