"""Rows made from rated answers without a reviser: baselines' training sets, and what to exclude."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from harness.core.errors import BadData
from harness.core.records import Record
from harness.engine import costs
from harness.engine.io import write_json, write_rows
from harness.engine.operations import Artifact, Context, Estimate, Row, operation


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


class FreshPromptsParams(Record):
    """Window of the prompts that are left."""

    offset: int = Field(ge=0)
    limit: int = Field(ge=1)


@operation(
    "fresh_prompts",
    version=1,
    params=FreshPromptsParams,
    estimate=lambda params, pool, rated: Estimate(rows=params.limit),
)
def fresh_prompts(
    context: Context, params: FreshPromptsParams, *, pool: Artifact, rated: Artifact
) -> None:
    """Prompts of a pool that no reviser was trained on, compared without case and white space.

    Raises:
        BadData: fewer prompts are left than the window needs.
    """
    known = {_key(row) for row in rated.rows()}
    rows = pool.rows()
    fresh = [row for row in rows if _key(row) not in known]
    end = params.offset + params.limit
    if len(fresh) < end:
        raise BadData(
            f"{len(fresh)} of the pool's {len(rows)} prompts are not among the rated ones; the "
            f"rounds up to this one need {end}: lower rounds.limit or data.limit"
        )
    write_rows(context.directory / "rows.jsonl", fresh[params.offset : end])
    summary = {"pool": len(rows), "excluded": len(rows) - len(fresh)}
    write_json(context.directory / "summary.json", summary, end="")


def _key(row: Row) -> str:
    return " ".join(row["messages"][-1]["content"].casefold().split())
