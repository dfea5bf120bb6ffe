"""Operations on two-turn dialogues: second turns, and groups of prompts by temperature."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from harness.core.errors import BadData
from harness.core.records import Record
from harness.engine import costs
from harness.engine.io import write_rows
from harness.engine.operations import Artifact, Context, Estimate, Row, operation

# Fields that `sample` adds to a prompt row; the prompt row of the second turn has none of them.
_SAMPLED = frozenset(
    (
        "responses",
        "finish",
        "system",
        "error",
        "tokens_in",
        "tokens_out",
        "rendered",
        "prompt_digest",
        "cut_characters",
        "thoughts",
        "raw",
        "no_answer",
    )
)


class NoParams(Record):
    """Parameters of an operation that has none."""


@operation(
    "follow_up",
    version=2,
    params=NoParams,
    rows="responses",
    estimate=costs.rows_of("responses"),
)
def follow_up(
    context: Context, params: NoParams, batches: Iterable[list[Row]], *, responses: Artifact
) -> Iterator[list[Row]]:
    """Prompt rows of the second turn: the dialogue so far, with the system's own first answer.

    A first turn without an answer (`error` in its row) has no second one: the row keeps its error
    as `first_error`, and both turns count as failed judgments. `first_finish` is why the first
    answer ended, where it did not end by itself.
    """
    for batch in batches:
        rows = []
        for row in batch:
            if len(row.get("turns") or ()) < 2:
                raise BadData(f'prompt "{row["id"]}" has no second turn; expected `turns` of two')
            first = row["responses"][0] if row["responses"] else ""
            said = [
                *row["messages"],
                {"role": "assistant", "content": first},
                {"role": "user", "content": row["turns"][1]},
            ]
            kept = {key: value for key, value in row.items() if key not in _SAMPLED}
            error = {"first_error": row["error"]} if row.get("error") else {}
            ended = row["finish"][0] if row.get("finish") else "stop"
            finish = {} if ended == "stop" else {"first_finish": ended}
            rows.append({**kept, **error, **finish, "messages": said})
        yield rows


class SelectParams(Record):
    """Selects the prompts of `categories`, or with `exclude` all others."""

    categories: tuple[str, ...]
    exclude: bool = False


def _share(params: SelectParams, prompts: Estimate) -> Estimate:
    """Expected number of rows: MT-Bench's eight categories have equal size."""
    named = min(8, len(params.categories))
    share = (8 - named if params.exclude else named) / 8
    return Estimate(rows=None if prompts.rows is None else round(share * prompts.rows))


@operation("select_prompts", version=1, params=SelectParams, estimate=_share)
def select_prompts(context: Context, params: SelectParams, *, prompts: Artifact) -> None:
    """Write the prompts of some categories, in their order."""
    wanted = set(params.categories)
    rows = prompts.rows()
    write_rows(
        context.directory / "rows.jsonl",
        [r for r in rows if (r.get("category") in wanted) != params.exclude],
    )


def _joined(params: NoParams, rows: Estimate | tuple[Estimate, ...], order: Estimate) -> Estimate:
    return Estimate(rows=order.rows)


@operation("join_rows", version=1, params=NoParams, estimate=_joined)
def join_rows(
    context: Context, params: NoParams, *, rows: Artifact | tuple[Artifact, ...], order: Artifact
) -> None:
    """Write the rows of several artifacts in the order of the ids of `order`, each once."""
    parts = rows if isinstance(rows, tuple) else (rows,)
    by_id: dict[str, Row] = {}
    for row in (row for part in parts for row in part.rows()):
        if row["id"] in by_id:
            raise BadData(f'row "{row["id"]}" is in two of the joined parts; expected one')
        by_id[row["id"]] = row
    wanted = order.row_ids
    if by_id.keys() != set(wanted):
        odd = sorted(by_id.keys() ^ set(wanted))[0]
        raise BadData(
            f'{len(by_id)} rows joined for {len(wanted)} prompts; "{odd}" is on one side only'
        )
    write_rows(context.directory / "rows.jsonl", [by_id[id] for id in wanted])
