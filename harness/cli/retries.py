"""`--retry-failed`: forget what holds failures, so that only they are asked again.

Everything a hosted model answered is in the stored responses, so repeating a stage costs no more
than its failed rows.
"""

from __future__ import annotations

from typing import Any

from rich.console import Console

from harness.engine.plan import Plan
from harness.engine.store import Store

Row = dict[str, Any]


def forget_failures(console: Console, plan: Plan, store: Store) -> int:
    """Discard the plan's stages with failed rows, and what was made from them; how many rows."""
    gone: set[str] = set()
    total = 0
    for stage in plan.stages.values():
        if not store.has(stage.id):
            continue
        failed = 0
        if stage.operation.rows is not None:
            failed = sum(has_failed(row) for row in store.artifact(stage.id).rows())
        if failed or gone.intersection(stage.input_ids()):
            store.discard(stage.id)
            gone.add(stage.id)
            total += failed
    if total:
        console.print(f"{total} rows that failed are asked again", highlight=False)
    else:
        console.print("nothing that was asked has failed; nothing is asked again")
    return total


def has_failed(row: Row) -> bool:
    """Whether a row holds an answer that could not be had, or a question without a verdict."""
    if row.get("error") and ("responses" in row or "labels" in row):
        return True
    # Outcomes of `ask`, under whatever name; a row without a question was never asked.
    outcomes = [value for value in row.values() if isinstance(value, dict) and "attempts" in value]
    if any(value.get("failure") and value["attempts"] for value in outcomes):
        return True
    asked = list(row.get("games") or ())
    for turn in row.get("turns") or ():
        if isinstance(turn, dict):
            asked += turn.get("games") or [turn]
    return any(game.get("verdict") is None and game.get("attempts", 0) > 0 for game in asked)
