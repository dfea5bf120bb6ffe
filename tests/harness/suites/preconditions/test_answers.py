"""True grades of answers and pairs, on rows whose figures can be counted by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import UserError
from harness.core.records import Cell, parse
from harness.engine.operations import Artifact, Row
from harness.nano import world
from harness.suites.preconditions.answers import BEST, PAIRS, truth_arguments

ITEMS = world.items("train", 6)
KNOWN = {**truth_arguments("nano:train"), "suite": "preconditions", "scale": "nano", "rounds": 50}
Cells = dict[tuple[str, str], Cell]


def of(item: world.Item, quality: str) -> str:
    """Right, right without its form, or nothing right."""
    return {
        "right": world.reference_answer(item),
        "formless": item.truths[0].main,
        "wrong_form": world.answer_line("zzz", "zzz", item.format),
        "bad": "I cannot say.",
    }[quality]


def answers(system: str, *qualities: tuple[str, ...]) -> list[Row]:
    return [
        {
            "id": item.id,
            "messages": [{"role": "user", "content": item.turns[0]}],
            "system": system,
            "responses": [of(item, quality) for quality in own],
        }
        for item, own in zip(ITEMS, qualities)
    ]


def pair(item: world.Item, qualities: dict[str, str], rewards: dict[str, float] | None) -> Row:
    return {
        "id": item.id,
        "messages": [{"role": "user", "content": item.turns[0]}],
        "responses": {name: of(item, quality) for name, quality in qualities.items()},
        **({} if rewards is None else {"rewards": rewards}),
    }


def cells_of(folder: Path) -> Cells:
    found = [parse(Cell, c, "cells") for c in Artifact("x", folder).read_json("cells.json")]
    assert not any(cell.primary for cell in found)
    return {(cell.system, cell.metric): cell for cell in found}


@pytest.fixture
def run(run_operation: Callable[..., Artifact], rows_artifact: Callable[..., Artifact]) -> Any:
    def run(name: str, params: dict[str, Any], **rows: Any) -> tuple[Cells, list[Row]]:
        inputs = {
            key: tuple(map(rows_artifact, value)) if isinstance(value[0], list)
            else rows_artifact(value)
            for key, value in rows.items()
        }  # fmt: skip
        made = run_operation(name, {**KNOWN, **params}, **inputs)
        return cells_of(made.path), made.rows()

    return run


def test_the_best_of_n_decides_who_is_better(run: Any) -> None:
    own = answers("any", ("bad", "formless"), ("right", "bad"), ("bad", "bad"))
    one = answers("one", ("right", "bad"), ("right", "right"), ("bad", "bad"))
    two = answers("two", ("bad", "bad"), ("formless", "bad"), ("right", "bad"))
    cells, rows = run("compare_answers", {"system": "own"}, own=[own], answered=[one, two])
    third = pytest.approx(100 / 3)
    assert (cells["one", "above"].value, cells["one", "below"].value) == (third, 0)
    assert cells["two", "above"].value == third
    assert cells["two", "below"].value == pytest.approx(200 / 3)
    assert cells[BEST, "above"].value == pytest.approx(200 / 3)
    assert cells[BEST, "below"].value == 0
    formless = [world.grade(item, of(item, "formless")).total for item in ITEMS]
    best = (formless[0] + 1 + 0) / 3
    assert cells["own", "best_grade"].value == pytest.approx(best, abs=0.01)
    assert cells["own", "mean_grade"].value == pytest.approx(best / 2, abs=0.01)
    assert cells["one", "mean_grade"].value == pytest.approx((0.5 + 1 + 0) / 3)
    assert cells[BEST, "best_grade"].value == 1
    cell = cells[BEST, "above"]
    assert (cell.n_expected, cell.n_scored, cell.unit) == (3, 3, "%")
    assert cell.interval is not None
    assert rows[0]["best_grades"] == {"own": formless[0], "one": 1.0, "two": 0.0}


def test_one_source_has_no_best_and_missing_answers_are_failed(run: Any) -> None:
    own = answers("own", ("bad",), ("bad",), ("bad",))
    one = answers("one", ("right",), ())
    cells, _ = run("compare_answers", {"system": "own"}, own=[own], answered=[one])
    assert not any(system == BEST for system, _ in cells)
    above = cells["one", "above"]
    assert (above.value, above.n_expected, above.n_scored, above.n_failed) == (100, 3, 1, 2)
    assert above.bounds == (pytest.approx(100 / 3), 100)


def test_prompts_of_several_sets_are_pooled(run: Any) -> None:
    own = answers("own", ("bad",), ("bad",))
    one = answers("one", ("right",), ("bad",))
    cells, _ = run(
        "compare_answers", {"system": "own"}, own=[own[:1], own[1:]], answered=[one[:1], one[1:]]
    )
    assert (cells["one", "above"].value, cells["one", "above"].n_scored) == (50, 2)


def test_without_a_truth_answers_cannot_be_compared(run: Any) -> None:
    own = answers("own", ("bad",))
    with pytest.raises(UserError, match="no truth about"):
        run(
            "compare_answers",
            {"system": "own", "truth": "org/prompts", "truth_digest": ""},
            own=[own],
            answered=[own],
        )


PREFERENCES = [
    # rewards right, both formed or not, and one tie of truth
    ({"source": "right", "target": "wrong_form", "rejected": "bad"}, (3.0, 2.0, 1.0)),
    ({"source": "right", "target": "right", "rejected": "wrong_form"}, (1.0, 2.0, 3.0)),
    ({"source": "bad", "target": "right", "rejected": "bad"}, (1.0, 1.0, 1.0)),
]
BOTH = {"comparisons": (("source", "rejected"), ("target", "rejected"))}


def preferences(with_rewards: bool = True) -> list[Row]:
    names = ("source", "target", "rejected")
    return [
        pair(item, qualities, dict(zip(names, rewards)) if with_rewards else None)
        for item, (qualities, rewards) in zip(ITEMS, PREFERENCES)
    ]


def test_pairs_are_right_if_rewards_and_truth_agree(run: Any) -> None:
    cells, rows = run("grade_pairs", {"system": "rm", **BOTH}, pairs=preferences())
    # Of six pairs, source and rejected of the third row are equal. Of the other five the rewards
    # are right in two, wrong in two and equal in one. Two have both forms; both are wrong.
    assert cells[PAIRS, "pairs_differ"].value == pytest.approx(100 * 5 / 6)
    accuracy = cells["rm", "reward_accuracy"]
    assert (accuracy.value, accuracy.n_expected) == (50, 5)
    formed = cells["rm", "reward_accuracy_formed"]
    assert (formed.value, formed.n_expected) == (0, 2)
    assert cells["rm", "reward_margin"].value == pytest.approx((2 + 1 - 2 - 1 + 0 + 0) / 6)
    assert cells["rm", "reward_margin"].unit == "reward"
    assert cells[PAIRS, "source_above"].value == pytest.approx(100 / 3)
    assert cells[PAIRS, "source_rewarded"].value == pytest.approx(100 / 3)
    assert cells[PAIRS, "grade:source"].value == pytest.approx(2 / 3)
    assert rows[0]["true_grades"]["source"] == 1.0


def test_pairs_without_rewards_are_ordered_as_given(run: Any) -> None:
    cells, _ = run("grade_pairs", {"system": "given", **BOTH}, pairs=preferences(False))
    assert cells["given", "reward_accuracy"].value == 100
    assert ("given", "reward_margin") not in cells
    assert cells[PAIRS, "source_rewarded"].value is None


def test_without_a_truth_there_are_margins_alone(run: Any) -> None:
    unknown = {"truth": "", "truth_digest": "", "judge_fingerprint": None}
    cells, _ = run("grade_pairs", {"system": "rm", **BOTH, **unknown}, pairs=preferences())
    assert set(cells) == {("rm", "reward_margin"), (PAIRS, "source_rewarded")}


def test_the_first_rows_are_read(run: Any) -> None:
    two = {"system": "rm", **BOTH, "most": 2}
    cells, rows = run("grade_pairs", two, pairs=preferences())
    assert len(rows) == cells[PAIRS, "grade:source"].n_expected == 2


def test_pairs_of_one_source_have_no_figure_about_sources(run: Any) -> None:
    rows = [pair(ITEMS[0], {"chosen": "right", "rejected": "bad"}, {"chosen": 2, "rejected": 1})]
    one = {"system": "rm", "comparisons": (("chosen", "rejected"),)}
    cells, _ = run("grade_pairs", one, pairs=rows)
    assert cells["rm", "reward_accuracy"].value == 100
    assert not any(metric.startswith("source_") for _, metric in cells)
