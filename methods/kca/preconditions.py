"""What KCA needs: instructions on facts that the base model lacks, and an exam that finds them.

examined instances --check_exam--> % that the base model has the facts for, and
                                   % that the exam judges rightly
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from harness.core.errors import UserError
from harness.core.records import Cell
from harness.data.truths import facts_known_by, truth_identity
from harness.engine.io import write_rows
from harness.engine.operations import Artifact, Context, operation
from harness.engine.plan import Handle
from harness.engine.preconditions import Precondition
from harness.suites.scoring import CellParams, cell_maker, write_cells
from methods.kca.decisions import Decision
from methods.kca.operations import part_of

LISTED = (
    Precondition(
        text="instructions on facts that the base model has seen",
        needs="neither 0 nor 100 %: there is something to withhold, and something to keep",
        metric="known",
    ),
    Precondition(
        text="instructions that the exam judges rightly",
        needs="far above 50 %",
        metric="exam_right",
    ),
    Precondition(text="of those on unknown facts, found by the exam", metric="unknown_found"),
)


class CheckExamParams(CellParams, Decision):
    """Parameters of `check_exam`; `base` is the reference of the base model."""

    base: str
    base_digest: str = ""


@operation("check_exam", version=1, params=CheckExamParams)
def check_exam(context: Context, params: CheckExamParams, *, examined: Artifact) -> None:
    """Compare the decisions of the exam with what the base model has seen.

    known           % of the instructions that need facts whose facts it has seen
    exam_right      % of the decided ones whose decision is right
    unknown_found   % of the decided ones on unseen facts that are judged inconsistent

    Raises:
        UserError: it is unknown what the base model has seen.
    """
    knows = facts_known_by(params.base, params.base_digest)
    if knows is None:
        raise UserError(f"it is unknown which facts {params.base} has seen")
    rows = examined.rows()
    truth = [knows(row) for row in rows]
    parts = [part_of(row, params.tau, params.min_questions, params.rule) for row in rows]
    decided = [part in ("consistent", "inconsistent") for part in parts]
    right = [float((part == "consistent") == seen) for part, seen in zip(parts, truth)]
    needing = [seen is not None for seen in truth]
    asked = [a and b for a, b in zip(needing, decided, strict=True)]
    unseen = [a and seen is False for a, seen in zip(asked, truth, strict=True)]
    texts = {row["id"]: [message["content"] for message in row["messages"]] for row in rows}
    maker = cell_maker(params, texts, examined=examined)

    def cell(name: str, values: list[float], among: list[bool]) -> Cell:
        return maker.mean_cell(name, values, list(texts), among, factor=100, primary=False)

    write_cells(
        context,
        [
            cell("known", [float(bool(seen)) for seen in truth], needing),
            cell("exam_right", right, asked),
            cell("unknown_found", right, unseen),
        ],
    )
    told = zip(rows, truth, parts, strict=True)
    write_rows(
        context.directory / "rows.jsonl",
        [
            {"id": row["id"], "messages": row["messages"], "seen": seen, "decision": part}
            for row, seen, part in told
        ],
    )


def exam_checked(
    recipe: Any, stage: Any, examined: Callable[[], Handle], about: dict[str, Any]
) -> tuple[Handle, ...]:
    """The exam against the truth; () where it is unknown what the base model has seen."""
    base = recipe.models.base
    known = truth_identity(base.ref, "facts")
    if not known:
        return ()
    made: Handle = stage(
        "check_exam",
        examined=examined(),
        base=base.ref,
        base_digest=known,
        system=base.display_name(),
        **recipe.decision.model_dump(),
        **about,
    )
    return (made,)
