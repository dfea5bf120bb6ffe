"""Right and wrong answers to items, for a text whose evidence is known."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from harness.core.records import Cell, parse
from harness.data.traits import SCHEMES
from harness.data.truths import truth_identity
from harness.engine.operations import Artifact, Row
from harness.nano import authors
from harness.suites.personality.questionnaires import Item, load
from harness.suites.preconditions.ratings import label_of, said_by

CHOICE = Item(trait="ei", number=1, text="?", options=("a", "b", "c"), labels=(1, 0, 1))
ABOUT = {"suite": "preconditions", "scale": "nano", "rounds": 50, "system": "asked", "of": "essays"}


@pytest.mark.parametrize(
    ("keyed", "value", "label"),
    [(1, 5, 1), (1, 4, 1), (1, 3, None), (1, 1, 0), (-1, 5, 0), (-1, 2, 1), (1, None, None)],
)
def test_ratings_speak_for_a_label_by_their_key(
    keyed: int, value: int | None, label: int | None
) -> None:
    item = Item(trait="ext", number=1, text="is", keyed=keyed)  # type: ignore[arg-type]
    assert label_of(item, value) == label


@pytest.mark.parametrize(
    ("letter", "label"), [("A", 1), ("B", 0), ("C", 1), ("D", None), (None, None)]
)
def test_options_speak_for_their_label_and_not_sure_for_none(
    letter: str | None, label: int | None
) -> None:
    assert label_of(CHOICE, letter) == label


def test_a_dialogue_without_answers_is_not_answered() -> None:
    row = {"dialogues": {"ei": {"items": [1]}}}
    (said,) = said_by(row, {("ei", 1): CHOICE}, {}, {"ei": 1})
    assert (said.label, said.answered, said.shown) == (None, False, None)
    assert said.right(1) is None


def answers(trait: str, evidence: dict[int, int]) -> tuple[list[int], list[int | None], list[int]]:
    """Numbers of a trait's items, an author's values, and the places of two items.

    Values are as the text says, 3 where it says nothing; of the two items the first is wrong, the
    second has no value.
    """
    items = load("bfi44").of(trait)
    values: list[int | None] = []
    for item in items:
        shown = evidence.get(item.number)
        values.append(3 if shown is None else 5 if (shown == 1) == (item.keyed > 0) else 1)
    first, second = [slot for slot, item in enumerate(items) if item.number in evidence][:2]
    values[first] = 6 - (values[first] or 0)
    values[second] = None
    return [item.number for item in items], values, [first, second]


def test_answers_are_compared_with_text_and_trait(
    run_operation: Callable[..., Artifact], rows_artifact: Callable[[list[Row]], Artifact]
) -> None:
    written = authors.rows("essays")[:2]
    trait = "ext"
    evidence = {(e.number): e.label for e in authors.evidence(written[0]) if e.trait == trait}
    numbers, values, (first, second) = answers(trait, evidence)
    rows = [
        {"id": written[0]["id"], "dialogues": {trait: {"items": numbers, "values": values}}},
        {"id": written[1]["id"], "dialogues": {trait: {"items": numbers}}},
    ]
    people = rows_artifact(written)
    dumps = [found.model_dump() for found in SCHEMES["big_five"]]
    (people.path / "traits.json").write_text(json.dumps(dumps))
    known = {"signs": "nano:essays", "signs_digest": truth_identity("nano:essays", "signs")}
    made = run_operation(
        "score_ratings", {**ABOUT, **known}, authors=people, interviews=rows_artifact(rows)
    )
    cells = {c["metric"]: parse(Cell, c, "cells") for c in made.read_json("cells.json")}
    rated = cells["rating_accuracy:essays"]
    told = len(evidence)
    others = sum(e.trait == trait for e in authors.evidence(written[1]))
    assert (rated.n_expected, rated.n_scored) == (told + others, told - 1)
    assert rated.value == pytest.approx(100 * (told - 2) / (told - 1))
    by_trait = cells["trait_accuracy:essays"]
    assert (by_trait.n_expected, by_trait.n_scored) == (told - 1, told - 1)  # clear answers
    spoken = {**evidence, numbers[first]: 1 - evidence[numbers[first]]}
    del spoken[numbers[second]]
    agreeing = sum(label == written[0]["labels"][trait] for label in spoken.values())
    assert by_trait.value == pytest.approx(100 * agreeing / len(spoken))
    unknown = run_operation("score_ratings", ABOUT, authors=people, interviews=rows_artifact(rows))
    (only,) = unknown.read_json("cells.json")
    assert only["metric"] == "trait_accuracy:essays"
    assert only["value"] == by_trait.value
