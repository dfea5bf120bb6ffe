"""Outcomes and the beat rate."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.judging.records import Game
from harness.suites.domain.metrics import (
    Counts,
    contradicts,
    count,
    first_shown_share,
    outcome,
)
from tests.golden_vectors import vectors

GOLDEN = "explore_instruct/judge_reviews.json"
OUTCOMES = st.lists(st.sampled_from(["win", "tie", "lose", None]), max_size=30)
SWAPPED = {"win": "lose", "lose": "win"}


def test_the_vectors_and_the_published_counts(golden: Callable[[str], Path]) -> None:
    found = vectors(golden(GOLDEN))
    for case in found["aggregation"]:
        rate = Counts(case["win"], case["tie"], case["lose"]).beat_rate
        assert rate == pytest.approx(case["beat_rate_percent"])
    for case in found["published_counts"]:
        rate = Counts(case["win"], case["tie"], case["lose"]).beat_rate
        assert rate is not None
        assert round(rate, 2) == case["beat_rate_percent"], case["comparison"]


@given(OUTCOMES)
def test_exchanged_sides_mirror_the_beat_rate(outcomes: list) -> None:  # type: ignore[type-arg]
    there = count(outcomes)
    back = count([SWAPPED.get(name, name) for name in outcomes])
    assert there.win + there.tie + there.lose + there.failed == len(outcomes)
    if there.beat_rate is None:
        assert back.beat_rate is None
        assert there.win == there.lose == 0
    else:
        assert there.beat_rate + back.beat_rate == pytest.approx(100)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (("B", "A"), "win"),
        (("A", "B"), "lose"),
        (("A", "A"), "tie"),
        (("tie", "A"), "tie"),
        (("tie", "tie"), "tie"),
        ((None, "A"), None),
        (("B",), "win"),
        ((), None),
    ],
)
def test_the_same_winner_twice_wins(verdicts: tuple[str, ...], expected: str | None) -> None:
    games = [Game(first, verdict) for first, verdict in zip(("baseline", "model"), verdicts)]
    assert outcome(games) == expected


def test_the_answer_shown_first() -> None:
    both_first = [Game("baseline", "A"), Game("model", "A")]
    fair = [Game("baseline", "B"), Game("model", "A")]
    assert contradicts(both_first) == 1
    assert contradicts(fair) == 0
    assert contradicts([Game("baseline", "B")]) is None
    assert first_shown_share([*both_first, *fair]) == 0.75
    assert first_shown_share([Game("model", "tie")]) is None
