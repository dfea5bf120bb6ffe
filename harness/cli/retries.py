"""`--retry-failed`: forget what holds failures, so that only they are asked again.

Everything a hosted model answered is in the stored responses, so repeating a stage costs no more
than its failed rows.
"""

from __future__ import annotations

from rich.console import Console

from harness.engine.operations import Row
from harness.engine.plan import Plan
from harness.engine.store import Store
from harness.judging.frames import Kind
from harness.judging.operations import kind_of_rows
from harness.judging.records import Judged


def forget_failures(console: Console, plan: Plan, store: Store) -> int:
    """Discard the plan's stages with failed rows, and what was made from them; how many rows."""
    gone: set[str] = set()
    total = 0
    for stage in plan.stages.values():
        if not store.has(stage.id):
            continue
        failed = 0
        if stage.operation.rows is not None:
            rows = store.artifact(stage.id).rows()
            kind = kind_of_rows(rows, stage.operation.name)
            failed = sum(has_failed(row, kind) for row in rows)
        if failed or gone.intersection(stage.input_ids()):
            store.discard(stage.id)
            gone.add(stage.id)
            total += failed
    if total:
        console.print(f"{total} rows that failed are asked again", highlight=False)
    else:
        console.print("nothing that was asked has failed; nothing is asked again")
    return total


def has_failed(row: Row, kind: Kind | None = None) -> bool:
    """Whether an answer could not be generated, or a question to the judge got no verdict.

    Args:
        kind: of judged rows, see `kind_of_rows`.
    """
    if row.get("error") and ("responses" in row or "labels" in row):
        return True
    # Outcomes of `ask`, under whatever name; a row without a question was never asked.
    outcomes = [value for value in row.values() if isinstance(value, dict) and "attempts" in value]
    if any(value.get("failure") and value["attempts"] for value in outcomes):
        return True
    games = Judged.read(row, kind).games if kind is not None else ()
    return any(game.verdict is None and game.attempts for game in games)
