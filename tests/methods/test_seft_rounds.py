"""What happened in each round: measures of a few prompts by hand, and their cells."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from harness.core.records import Cell, parse
from harness.engine.io import write_rows
from harness.engine.operations import Artifact, Row
from methods.seft.rounds import ROUNDS, coarse, round_table
from tests.operation_runs import rows_artifact, run_operation

__all__ = ["rows_artifact", "run_operation"]

ABOUT = {"suite": "seft_rounds", "system": "seft", "scale": "nano", "rounds": 20}


def row(id: str, number: int = 1, **told: Any) -> Row:
    return {"id": id, "round": number, "messages": [{"role": "user", "content": id}], **told}


def answer(id: str, label: str, source: float, revised: float, **told: Any) -> Row:
    """An answer of two tokens; a revision is accepted, has four, and is the target."""
    left = label == "no_revise"
    made = {
        "label": label, "source_score": source, "revised_score": None if left else revised,
        "target_score": source if left else revised, "accepted": not left,
        "source_tokens": 2, "target_tokens": 2 if left else 4, "decoded_tokens": 0 if left else 4,
        "source_logp": -3.0, "source_logp_tokens": 2,
    }  # fmt: skip
    return row(id, **{**made, **told})


ROWS = [
    answer("a", "no_revise", 4.0, 0.0),
    answer("b", "minor_revise", 1.0, 3.0),
    answer("c", "major_revise", 2.0, 1.0, accepted=False, target_tokens=None),
    row("d"),  # no usable answer
    answer("e", "major_revise", 1.0, 6.0, number=2, source_logp=-1.0),
]


def test_measures_of_a_round_are_sums_over_its_answers() -> None:
    first, second = round_table(ROWS)
    assert first == {
        "round": 1, "prompts": 4,
        "no_revise": 100 / 3, "minor_revise": 100 / 3, "major_revise": 100 / 3,
        "accepted": 50.0, "worse": 50.0, "source_score": 7 / 3, "target_score": 3.5,
        "source_tokens": 2.0, "target_tokens": 3.0, "entropy": 1.5,
        "decoded": 8 / 3, "decoded_without": 10 / 3,
    }  # fmt: skip
    assert (second["prompts"], second["entropy"], second["target_score"]) == (1, 0.5, 6.0)


def test_cells_are_those_of_the_table_with_what_is_missing(
    run_operation: Callable[..., Artifact], rows_artifact: Callable[..., Artifact]
) -> None:
    model = rows_artifact([])
    write_rows(model.path / ROUNDS, ROWS)
    made = run_operation("score_seft_rounds", ABOUT, model=model).read_json("cells.json")
    found = {cell["metric"]: parse(Cell, cell, "cells") for cell in made}
    for number, line in enumerate(round_table(ROWS), start=1):
        for measure in line.keys() - {"round", "prompts"}:
            value = found[f"{measure}:{number}"].value
            assert value == (None if line[measure] is None else pytest.approx(line[measure]))
    left = found["no_revise:1"]
    assert (left.n_expected, left.n_scored, left.n_failed) == (4, 3, 1), "d has no answer"
    worse = found["worse:1"]
    assert (worse.n_expected, worse.n_scored) == (2, 2), "of revisions alone"
    assert not worse.higher_is_better
    assert left.higher_is_better


def test_scores_are_rounded_below_a_hundredth_of_their_range() -> None:
    assert coarse(np.array([0.0, 0.1234, 3.0])).tolist() == [0.0, 0.12, 3.0]
    assert coarse(np.array([-4000.0, 4000.0, 123.0])).tolist() == [-4000.0, 4000.0, 120.0]
    assert coarse(np.array([1.2345, 1.2345])).tolist() == [1.2345, 1.2345]
    assert coarse(np.array([])).size == 0
    drawn = np.random.default_rng(0).normal(3.0, 2.0, 3000)
    assert np.ptp(coarse(drawn)) / 0.1 <= 1000
    assert coarse(drawn).mean() == pytest.approx(drawn.mean(), abs=0.005)
