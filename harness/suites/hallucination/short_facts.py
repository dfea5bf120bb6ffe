"""The operation `score_short_facts`: SimpleQA's three grades as cells.

    correct                   share of the questions with grade A
    correct_given_attempted   the same among the attempted (A or B)
    f_score                   harmonic mean of the two: 2 A / (A + B + all)
    incorrect, not_attempted  shares of B and C

All in %. An empty answer is not attempted. An answer without a grade is a failed row.
Source: Wei et al. 2024, Measuring short-form factuality in large language models, section 3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.core.records import Cell
from harness.engine.operations import Artifact, Context, Row, operation
from harness.suites.hallucination.cells import question_cells
from harness.suites.hallucination.prompts import answer_of
from harness.suites.ratios import ratio_cell
from harness.suites.scoring import CellMaker, CellParams, write_cells


@operation("score_short_facts", version=1, params=CellParams)
def score_short_facts(
    context: Context,
    params: CellParams,
    *,
    judgments: Artifact,
    generations: Artifact,
    questions: Artifact,
    model: Artifact | None = None,
) -> None:
    """Write the cells of one system."""
    rows = sorted(judgments.rows(), key=lambda row: str(row["id"]))
    links = {"judgments": judgments, "generations": generations, "checkpoint": model}
    maker = question_cells(params, rows, questions, **links)
    lacking = sum(not row.get("references") for row in rows)
    details = {"n_without_reference": lacking} if lacking else {}
    ids = [row["id"] for row in rows]
    write_cells(context, short_fact_cells(maker, ids, grades(rows), details))


def grades(rows: Sequence[Row]) -> list[str | None]:
    """Grade of each judged row; None without one."""
    found = []
    for row in rows:
        text = answer_of(row)
        empty = text is not None and not text.strip() and not row.get("error")
        found.append("C" if empty else (row.get("grade") or {}).get("value"))
    return found


def short_fact_cells(
    maker: CellMaker,
    ids: Sequence[str],
    graded: Sequence[str | None],
    details: Mapping[str, int],
) -> list[Cell]:
    """Cells from grades A, B, C or None, one per id."""

    def shares(grade: str) -> list[float | None]:
        return [None if found is None else float(found == grade) for found in graded]

    attempted = [found != "C" for found in graded]
    right = [None if found is None else 2.0 * (found == "A") for found in graded]
    weights = [1.0 + (found in ("A", "B")) for found in graded]
    more: dict[str, Any] = {"factor": 100, "details": details}
    lower: dict[str, Any] = {**more, "primary": False, "higher_is_better": False}
    return [
        maker.mean_cell("correct", shares("A"), ids, **more),
        maker.mean_cell("correct_given_attempted", shares("A"), ids, attempted, **more),
        ratio_cell(maker, "f_score", ids, right, weights, details=details),
        maker.mean_cell("incorrect", shares("B"), ids, **lower),
        maker.mean_cell("not_attempted", shares("C"), ids, **lower),
    ]
