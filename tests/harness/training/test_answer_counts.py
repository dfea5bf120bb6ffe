"""Counts of the answers that a training reads, and what is said of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from harness.training.answer_counts import AnswerCounts

Make = Callable[..., Any]
# Which answers of a row were cut, whether one is empty, and whether the row is trained.
ROWS = [
    ({"target": True, "rejected": False}, False, {"no_end": 1, "end": 1, "leave_out": 0}),
    ({"target": True, "rejected": True}, False, {"no_end": 1, "end": 1, "leave_out": 0}),
    ({"target": False, "rejected": False}, False, {"no_end": 1, "end": 1, "leave_out": 1}),
    ({"target": False, "rejected": False}, True, {"no_end": 0, "end": 0, "leave_out": 0}),
    ({"target": True, "rejected": False}, False, {"no_end": 1, "end": 1, "leave_out": 0}),
]
TAUGHT = {
    "no_end": "trained without an end of turn",
    "end": "trained to end where they were cut",
    "leave_out": "left out with their rows",
}


@pytest.mark.parametrize("rule", TAUGHT)
def test_rows_are_kept_by_the_rule_and_counted(rule: Any, context: Make) -> None:
    counts, run = AnswerCounts(rule), context("run")
    for cut, empty, kept in ROWS:
        assert counts.keep(cut, empty=empty) == kept[rule]
    counts.report(run)
    trained = sum(kept[rule] for _, _, kept in ROWS)
    text = (run.directory / "summary.json").read_text()
    assert json.loads(text) == {
        "rows": trained,
        "left_out": 5 - trained,
        "answers": {"target": 5, "rejected": 5},
        "cut": {"target": 3, "rejected": 1},
    }
    assert text.endswith("}")  # as summaries of earlier versions
    assert run.notes == [
        f"4 of 10 answers reached their token limit (target 3, rejected 1): {TAUGHT[rule]}",
        f"{5 - trained} of 5 rows left out",
    ]


def test_nothing_is_said_where_nothing_was_cut_or_left_out(context: Make) -> None:
    counts, run = AnswerCounts("no_end"), context("run")
    assert counts.keep({"answer": False}, empty=False)
    counts.report(run)
    assert run.notes == []
    found = json.loads((run.directory / "summary.json").read_text())
    assert found == {"rows": 1, "left_out": 0, "answers": {"answer": 1}, "cut": {"answer": 0}}


def test_a_single_kind_of_answer_is_not_named(context: Make) -> None:
    counts, run = AnswerCounts("end"), context("run")
    counts.keep({"answer": True}, empty=False)
    counts.report(run)
    assert run.notes == [f"1 of 1 answers reached their token limit: {TAUGHT['end']}"]


def test_why_there_is_nothing_to_train_on() -> None:
    counts = AnswerCounts("leave_out")
    assert counts.nothing("pairs") == "there are no pairs to train on"
    counts.keep({"answer": True}, empty=False)
    assert counts.nothing().startswith("all 1 rows are left out: their answers reached")
