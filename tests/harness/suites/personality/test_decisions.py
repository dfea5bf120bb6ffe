"""Decisions from answered items, against golden vectors, and their laws."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.data.traits import BIG_FIVE, MBTI
from harness.suites.personality.decisions import Decision, decide, keyed, keys
from harness.suites.personality.questionnaires import load
from tests.golden_vectors import vectors

TRAITS = {trait.name: trait for trait in (*BIG_FIVE, *MBTI)}
LABELS = {"tie": (None, "tie"), "abstain": (None, "few"), 0: (0, "ok"), 1: (1, "ok")}


def test_golden_ratings(golden: Callable[[str], Path]) -> None:
    form = load("bfi44")
    for case in vectors(golden("psycot/decisions.json"))["bfi"]:
        trait = TRAITS[case["trait"]]
        items = form.of(trait.name)
        signs = keys(form, trait, items)
        assert keyed(case["ratings"], signs) == case["keyed"], case
        found = decide(items, case["ratings"], signs)
        assert (found.label, found.status) == LABELS[case["label"]], case
        assert found.keyed_mean == case["keyed_mean"], case
        if "label_with_released_note" in case:
            found = decide(items, case["ratings"], keys(form, trait, items, released=True))
            assert (found.label, found.status) == LABELS[case["label_with_released_note"]], case
            assert found.keyed_mean == case["keyed_mean_with_released_note"], case


def test_golden_votes(golden: Callable[[str], Path]) -> None:
    form = load("mbti50")
    for case in vectors(golden("psycot/decisions.json"))["mbti"]:
        items = form.of(case["dimension"])
        values = [case["answers"][f"S{item.number}"] for item in items]
        found = decide(items, values, [1] * len(items))
        assert (found.label, found.status) == LABELS[case["label"]], case
        votes = [count for name, count in case.items() if name.startswith("votes_")]
        assert found.votes == tuple(reversed(votes)), case


def test_golden_poles_of_choices(golden: Callable[[str], Path]) -> None:
    for case in vectors(golden("psycot/choice_to_label.json"))["rows"]:
        trait, reverse = TRAITS[case["task"]], case["rev_label"]
        assert trait.options(reverse) == (case["A_means"], case["B_means"])
        assert trait.label("A", reverse) == case["label_if_A"]
        assert trait.label("B", reverse) == case["label_if_B"]


RATINGS = st.lists(st.sampled_from([1, 2, 3, 4, 5, None]), min_size=8, max_size=8)


@given(RATINGS, st.integers(0, 1000))
def test_permuting_items_with_their_ratings_changes_nothing(
    ratings: list[int | None], seed: int
) -> None:
    form, trait = load("bfi44"), TRAITS["ext"]
    items, shuffled = form.of("ext"), form.of("ext", seed=seed)
    for released in (False, True):
        other = decide(
            shuffled,
            [ratings[items.index(item)] for item in shuffled],
            keys(form, trait, shuffled, released),
        )
        assert other == decide(items, ratings, keys(form, trait, items, released))


@given(RATINGS)
def test_opposite_ratings_give_the_opposite_label(ratings: list[int | None]) -> None:
    form, trait = load("bfi44"), TRAITS["ext"]
    items = form.of("ext")
    signs = keys(form, trait, items)
    found = decide(items, ratings, signs)
    other = decide(items, [None if r is None else 6 - r for r in ratings], signs)
    assert other.status == found.status
    assert other.label == (None if found.label is None else 1 - found.label)


@pytest.mark.parametrize("trait", BIG_FIVE, ids=lambda trait: trait.name)
def test_agreeing_with_the_key_is_label_one(trait: object) -> None:
    form = load("bfi44")
    items = form.of(trait.name)  # type: ignore[attr-defined]
    signs = keys(form, trait, items)  # type: ignore[arg-type]
    found = decide(items, [5 if sign > 0 else 1 for sign in signs], signs)
    assert found == Decision(1, "ok", keyed_mean=5.0)


def test_no_items_decide_nothing() -> None:
    assert decide([], [], []) == Decision(None, "few")
