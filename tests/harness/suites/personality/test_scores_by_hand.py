"""Decisions at their limits, and the cells of four authors with two traits, computed by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from harness.core.errors import BadData
from harness.core.records import Cell
from harness.engine.operations import Artifact
from harness.stats.bootstrap import percentile_interval, resample_counts
from harness.stats.mcnemar import OUTCOMES, pack
from harness.suites.personality.cells import read_answers
from harness.suites.personality.decisions import Decision, decide, keyed
from harness.suites.personality.questionnaires import Item

Run = Callable[..., Artifact]
RATINGS = [Item(trait="ext", number=n, text="x") for n in range(4)]
CHOICES = [
    Item(trait="ext", number=n, text="x", options=("yes", "so", "no"), labels=(1, 0, 0))
    for n in range(4)
]


@pytest.mark.parametrize(
    ("values", "signs", "expected"),
    [
        ([3, 3, 3, 4], [1, 1, 1, 1], Decision(1, "ok", 3.25)),
        ([3, 3, 3, 2], [1, 1, 1, 1], Decision(0, "ok", 2.75)),
        ([3, 3, 3, 3], [1, -1, 1, -1], Decision(None, "tie", 3.0)),
        ([5, 1, 4, 2], [1, 1, 1, 1], Decision(None, "tie", 3.0)),
        ([5, 1, 4, 2], [1, -1, 1, -1], Decision(1, "ok", 4.5)),  # 5, 5, 4, 4
        ([5, 1, 4, 2], [-1, 1, -1, 1], Decision(0, "ok", 1.5)),
        ([None, 4, None, 4], [1, 1, 1, 1], Decision(1, "ok", 4.0)),  # half of them
        ([None, None, None, 4], [1, 1, 1, 1], Decision(None, "few")),
        ([None] * 4, [1] * 4, Decision(None, "few")),
    ],
)
def test_a_mean_of_ratings_above_three_is_label_one(
    values: list[int | None], signs: list[int], expected: Decision
) -> None:
    assert decide(RATINGS, values, signs) == expected


@pytest.mark.parametrize(
    ("letters", "expected"),
    [
        ("AABC", Decision(None, "tie", votes=(2, 2))),
        ("AAAB", Decision(1, "ok", votes=(1, 3))),
        ("BCAC", Decision(0, "ok", votes=(3, 1))),
        ("ADDD", Decision(1, "ok", votes=(0, 1))),  # "not sure" is an answer and no vote
        ("DDDD", Decision(None, "tie", votes=(0, 0))),
        ("A-B-", Decision(None, "tie", votes=(1, 1))),
        ("A---", Decision(None, "few")),
    ],
)
def test_the_majority_of_votes_is_the_label(letters: str, expected: Decision) -> None:
    values = [None if letter == "-" else letter for letter in letters]
    assert decide(CHOICES, values, [1] * 4) == expected


def test_reverse_keyed_ratings_are_mirrored_at_three() -> None:
    assert keyed([1, 2, 3, 4, 5, None, "A"], [-1] * 7) == [5, 4, 3, 2, 1, None, None]
    assert keyed([1, 5], [1, 1]) == [1, 5]


GOLD = {"ext": [1, 1, 0, 0], "neu": [1, 0, 1, 1]}
GIVEN = {"ext": [1, None, 0, 1], "neu": [1, 0, 0, 1]}
OTHER = {"ext": [1, 1, 0, 1], "neu": [1, 0, 1, 1]}
# Macro-F1 of the traits: F1 of label 0 and 1 are 1/2, 1/2 and 2/3, 4/5.
EXT, NEU = 1 / 2, (2 / 3 + 4 / 5) / 2


def labelled(labels: dict[str, list[Any]], key: str = "labels") -> list[dict[str, Any]]:
    return [
        {"id": f"a{n}", "text": f"text {n}", key: {t: values[n] for t, values in labels.items()}}
        for n in (2, 0, 3, 1)
    ]


@pytest.fixture
def cells(run_operation: Run, rows_artifact: Callable[..., Artifact]) -> Any:
    authors = rows_artifact(labelled(GOLD))
    (authors.path / "traits.json").write_text(json.dumps([{"name": name} for name in GOLD]))
    (authors.path / "summary.json").write_text('{"masked_posts": 0}')
    params = {
        "suite": "essays", "system": "m", "scale": "nano", "rounds": 40, "level": 0.9,
        "orders": ("reversed",),
    }  # fmt: skip

    def run(**more: Any) -> dict[str, Cell]:
        labels, other = rows_artifact(labelled(GIVEN)), rows_artifact(labelled(OTHER))
        made = run_operation(
            "score_labels", params | more, authors=authors, labels=labels, perturbed=(other,)
        )
        found = [Cell.model_validate(cell) for cell in made.read_json("cells.json")]
        return {cell.metric: cell for cell in found}

    return run


def test_scores_are_means_over_traits_with_an_abstention_counted_wrong(cells: Any) -> None:
    found = cells()
    assert found["macro_f1"].value == pytest.approx(100 * (EXT + NEU) / 2)
    assert found["accuracy"].value == pytest.approx(62.5)
    assert found["macro_f1:ext"].value == pytest.approx(100 * EXT)
    assert found["macro_f1:neu"].value == pytest.approx(100 * NEU)
    assert (found["accuracy:ext"].value, found["accuracy:neu"].value) == (50, 75)
    assert found["abstained"].value == 12.5
    # Without the author's opposite label: F1 of label 0 is 2/3; without the author: both 2/3.
    third = (1 / 2 + 2 / 3) / 2
    assert found["macro_f1_third_class"].value == pytest.approx(100 * (third + NEU) / 2)
    assert found["macro_f1_drop"].value == pytest.approx(100 * (2 / 3 + NEU) / 2)
    details = found["macro_f1"].details
    assert details["balanced_accuracy"] == pytest.approx(100 * (1 / 2 + (1 + 2 / 3) / 2) / 2)
    assert details["abstentions"] == "wrong"
    assert found["macro_f1:neu"].details["f1 of 1"] == pytest.approx(80)
    assert found["macro_f1:neu"].details["recall of 0"] == pytest.approx(100)
    assert found["macro_f1:neu"].details["share of 1"] == pytest.approx(75)


def test_an_abstention_is_counted_and_bounded_by_both_of_its_labels(cells: Any) -> None:
    found = cells()
    for metric, low, high in (
        ("macro_f1", (EXT + NEU) / 2, ((4 / 5 + 2 / 3) / 2 + NEU) / 2),
        ("accuracy", 5 / 8, 6 / 8),
        ("accuracy:ext", 2 / 4, 3 / 4),
    ):
        assert found[metric].bounds == pytest.approx((100 * low, 100 * high)), metric
        assert found[metric].n_failed == 1
    assert found["macro_f1"].n_expected == 8
    assert (found["accuracy:neu"].n_expected, found["accuracy:neu"].bounds) == (4, None)


def test_authors_are_resampled_and_their_outcomes_kept_in_order_of_id(cells: Any) -> None:
    accuracy = cells()["accuracy"]
    drawn = resample_counts(accuracy.prompt_set, 4, 40)
    expected = 100 * drawn @ np.array([1, 0.5, 0.5, 0.5]) / 4
    assert accuracy.replicates == pytest.approx(expected)
    interval = percentile_interval(expected, 0.9, point=62.5, units=4, span=(0.0, 100.0))
    assert (accuracy.interval.low, accuracy.interval.high) == pytest.approx(
        (interval.low, interval.high)
    )
    assert (accuracy.interval.level, accuracy.interval.kind) == (0.9, "bootstrap over authors")
    by_trait = cells()["accuracy:ext"].details[OUTCOMES]
    assert by_trait == pack([True, False, True, False])


def test_another_order_gives_the_worst_score_their_spread_and_the_flips(cells: Any) -> None:
    found = cells()
    base, other = 100 * (EXT + NEU) / 2, 100 * ((4 / 5 + 2 / 3) / 2 + 1) / 2
    assert found["macro_f1_worst"].value == pytest.approx(min(base, other))
    assert found["macro_f1_sd"].value == pytest.approx((other - base) / np.sqrt(2))
    assert found["flip_rate:reversed"].value == 25  # one label of each trait
    assert found["flip_rate"].value == 25
    assert found["macro_f1_worst"].higher_is_better
    assert not found["macro_f1_sd"].higher_is_better
    undesired = [found[name] for name in ("abstained", "flip_rate", "flip_rate:reversed")]
    assert [(cell.primary, cell.higher_is_better) for cell in undesired] == [(False, False)] * 3


def test_of_several_strange_authors_the_first_is_named(
    rows_artifact: Callable[..., Artifact],
) -> None:
    labels = rows_artifact([{"id": id, "labels": {}} for id in ("a", "zz", "b")])
    with pytest.raises(BadData, match='"c" is in only one of the two'):
        read_answers(labels, ["a", "b", "c"], ["ext"])
