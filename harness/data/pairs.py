"""Preference pairs as rows: the operation `import_pairs`.

    nano:<split>   pairs of written answers to prompts of the nano world
    <file>         .jsonl or .json (.gz), .parquet or .csv
    <org>/<name>   a data set of the hub

`harness.data.preference_forms` describes the forms of rows. Rows become {"id", "messages",
"responses": {"chosen", "rejected"}}; rows with `responses` keep further answers, and `response`, an
answer for SFT. Rows whose two answers are equal teach nothing and are dropped.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pydantic import Field

from harness.core.errors import BadData, UserError, check_planned
from harness.core.hashing import digest
from harness.core.records import Record
from harness.data.conversations import messages_of
from harness.data.files import load_dataset
from harness.data.preference_forms import PAIR, preference_row
from harness.data.prompts import is_hub
from harness.data.sources import Kind, Source, file_identity, hub_identity
from harness.data.tables import read_table
from harness.engine.io import write_json, write_rows
from harness.engine.operations import Context, Estimate, Row, operation

SIDES = ("chosen", "rejected")


class ImportPairsParams(Record):
    """Which pairs to import.

    Attributes:
        split, revision: of a data set of the hub.
        limit, offset: window of the rows.
        digest: `pairs_identity` at planning time; makes the content part of the stage id.
    """

    ref: str
    split: str = "train"
    revision: str | None = None
    limit: int | None = Field(default=None, ge=1)
    offset: int = Field(default=0, ge=0)
    digest: str | None = None


def _expected(params: ImportPairsParams) -> Estimate:
    return Estimate(rows=params.limit, responses=2)


@operation("import_pairs", version=1, params=ImportPairsParams, estimate=_expected)
def import_pairs(context: Context, params: ImportPairsParams) -> None:
    """Write rows.jsonl, ids unique, and summary.json with the number of dropped rows.

    Raises:
        BadData: with the row, for anything that is not a pair.
        UserError: the reference leads nowhere, or the window contains no pair.
    """
    found = pairs_identity(params.ref, params.revision)
    check_planned(f"pairs {params.ref}", found, params.digest)
    end = None if params.limit is None else params.offset + params.limit
    rows: dict[str, Row] = {}
    equal = 0
    for number, item in enumerate(PAIRS.source(params.ref).rows(params), 1):
        if number <= params.offset:
            continue
        if end is not None and number > end:
            break
        row = pair_row(dict(item), f"{params.ref}, row {number}")
        if row is None:
            equal += 1
        elif row["id"] in rows:
            raise BadData(f'{params.ref}, row {number}: the id "{row["id"]}" occurs twice')
        else:
            rows[row["id"]] = row
    if not rows:
        raise UserError(f"{params.ref} has no pairs from offset {params.offset} on")
    write_rows(context.directory / "rows.jsonl", list(rows.values()))
    summary = {"rows": len(rows), "equal_answers": equal}
    write_json(context.directory / "summary.json", summary, end="")
    context.progress(len(rows), len(rows))


def pair_row(item: Row, where: str) -> Row | None:
    """The pair of one object; None if its answers do not differ.

    Raises:
        BadData: it is no pair, or its two answers follow different prompts.
    """
    if isinstance(item.get("responses"), dict):
        return _given_row(item, where)
    row = preference_row(item, where)
    if row is None:
        return None
    answers = {side: row["responses"][name] for side, name in zip(SIDES, PAIR)}
    return {"id": row["id"], "messages": row["messages"], "responses": answers}


def _given_row(item: Row, where: str) -> Row | None:
    """A row with its answers by name, and the answer for SFT, if it has one."""
    answers = item["responses"]
    missing = [side for side in SIDES if not isinstance(answers.get(side), str)]
    if missing:
        raise BadData(f'{where}: no answer "{missing[0]}"; it has {", ".join(sorted(answers))}')
    if answers["chosen"] == answers["rejected"]:
        return None
    messages = messages_of(item.get("messages", item.get("prompt")), where)
    sft = {"response": item["response"]} if isinstance(item.get("response"), str) else {}
    id = item.get("id") or digest([messages, answers])
    return {"id": str(id), "messages": messages, **sft, "responses": answers}


PAIRS = Kind[ImportPairsParams, Iterable[Row]](
    "pairs",
    file=Source(
        "a .jsonl, .json (.gz), .parquet or .csv file",
        file_identity,
        lambda params: read_table(Path(params.ref).expanduser()),
        at_hand=True,
    ),
    hub=Source(
        "a data set of the hub <org>/<name>",
        hub_identity,
        lambda params: load_dataset(params.ref, params.split, params.revision),
    ),
    is_hub=is_hub,
)
pairs_identity = PAIRS.identity
