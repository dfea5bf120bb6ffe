"""Training rows of the baselines, made from rated answers without a reviser."""

from __future__ import annotations

from collections.abc import Sequence

from harness.core.errors import BadData
from harness.core.records import Record
from harness.engine import costs
from harness.engine.io import write_rows
from harness.engine.operations import Artifact, Context, Row, operation


class RatedRowsParams(Record):
    """No settings."""


def quality(row: Row) -> Sequence[float]:
    """A number per answer that grows with quality."""
    return [-rank for rank in row["ranks"]] if "ranks" in row else row["scores"]


@operation(
    "rated_targets", version=1, params=RatedRowsParams, estimate=costs.rows_of("rated", responses=1)
)
def rated_targets(context: Context, params: RatedRowsParams, *, rated: Artifact) -> None:
    """SFT rows {"id", "messages", "response"}: the best answer of each prompt."""
    rows = []
    for row in rated.rows():
        values = quality(row)
        best = row["responses"][values.index(max(values))]
        if best.strip():
            rows.append({"id": row["id"], "messages": row["messages"], "response": best})
    write_rows(context.directory / "rows.jsonl", rows)


@operation(
    "rated_preferences",
    version=1,
    params=RatedRowsParams,
    estimate=costs.rows_of("rated", responses=2),
)
def rated_preferences(context: Context, params: RatedRowsParams, *, rated: Artifact) -> None:
    """Preference rows: the best and the worst answer of each prompt; ties are dropped.

    Raises:
        BadData: all prompts are tied.
    """
    rows = []
    for row in rated.rows():
        values, texts = quality(row), row["responses"]
        best, worst = texts[values.index(max(values))], texts[values.index(min(values))]
        if max(values) > min(values) and best.strip() and worst.strip():
            responses = {"target": best, "rejected": worst}
            rows.append({"id": row["id"], "messages": row["messages"], "responses": responses})
    if not rows:
        raise BadData("all rated answers are tied; expected a better and a worse one")
    write_rows(context.directory / "rows.jsonl", rows)
