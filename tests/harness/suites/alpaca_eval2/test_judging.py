"""The judge operation of AlpacaEval 2: draws and orders."""

from __future__ import annotations

from collections.abc import Callable

from harness.engine.operations import Artifact
from tests.judging_runs import judging

Run = Callable[..., Artifact]


def test_equal_answers_are_a_draw_without_a_call(
    pair: tuple[Artifact, Artifact], run_operation: Run
) -> None:
    _, baseline = pair
    rows = run_operation(
        "judge_alpaca", judging("alpaca"), generations=baseline, baseline=baseline
    ).rows()
    assert all(row["preference"] == 0.5 and row["games"] == [] for row in rows)


def test_the_order_depends_on_the_instruction_alone(
    pair: tuple[Artifact, Artifact], run_operation: Run
) -> None:
    good, baseline = pair
    there, back = (
        run_operation("judge_alpaca", judging("alpaca"), generations=a, baseline=b).rows()
        for a, b in ((good, baseline), (baseline, good))
    )
    orders = [[row["games"][0]["first"] for row in rows if row["games"]] for rows in (there, back)]
    assert orders[0] == orders[1]
