"""Preference pairs as rows: the operation `import_pairs`.

    nano:<split>   pairs of written answers to prompts of the nano world
    <file>         .jsonl or .json (.gz) with the columns below
    <org>/<name>   a data set of the hub with them

Columns `chosen` and `rejected` are texts, with the prompt in `messages`, `prompt`, `instruction` or
`question`, or lists of messages that end with the answer; then the prompt is what comes before it.
Rows become {"id", "messages", "responses": {"chosen", "rejected"}}. Rows whose two answers are
equal teach nothing and are dropped.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import Field

from harness.core.errors import BadData, UserError, check_planned
from harness.core.hashing import digest
from harness.core.records import Record
from harness.data.files import load_dataset
from harness.data.prompts import FIELDS, IDS, is_hub
from harness.data.sources import Kind, Source, file_identity, hub_identity
from harness.engine.io import iterate_objects, write_json, write_rows
from harness.engine.operations import Context, Estimate, Row, operation

SIDES = ("chosen", "rejected")
ROLES = ("system", "user", "assistant")


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
        if row["responses"]["chosen"] == row["responses"]["rejected"]:
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


def pair_row(item: Row, where: str) -> Row:
    """The pair of one object.

    Raises:
        BadData: an answer is missing, or the two answers follow different prompts.
    """
    if isinstance(item.get("responses"), dict):
        given: Any = item["responses"]
    else:
        given = {side: item.get(side) for side in SIDES}
    answers, prompts = {}, []
    for side, value in given.items():
        if isinstance(value, list):
            messages = _messages(value, f"{where}: {side}")
            if not messages or messages[-1]["role"] != "assistant":
                raise BadData(f"{where}: {side} does not end with an answer of the assistant")
            prompts.append(messages[:-1])
            value = messages[-1]["content"]
        if not isinstance(value, str):
            raise BadData(
                f'{where}: no answer "{side}"; found {", ".join(sorted(item))}; expected chosen '
                "and rejected, as texts or messages"
            )
        answers[side] = value
    missing = [side for side in SIDES if side not in answers]
    if missing:
        raise BadData(f'{where}: no answer "{missing[0]}"')
    messages = _prompt(item, where) if not prompts else prompts[0]
    if any(other != messages for other in prompts):
        raise BadData(f"{where}: chosen and rejected answer different prompts")
    if not messages or messages[-1]["role"] != "user":
        raise BadData(f"{where}: the prompt does not end with a user's message")
    id = next((item[key] for key in IDS if item.get(key) is not None), None)
    row = {"id": str(digest([messages, answers]) if id is None else id), "messages": messages}
    if isinstance(item.get("response"), str):
        row["response"] = item["response"]
    return {**row, "responses": answers}


def _prompt(item: Row, where: str) -> list[dict[str, str]]:
    for name in ("messages", *FIELDS):
        value = item.get(name)
        if isinstance(value, str) and value.strip():
            return [{"role": "user", "content": value}]
        if isinstance(value, list):
            return _messages(value, f"{where}: {name}")
    raise BadData(f"{where}: no prompt in {', '.join(('messages', *FIELDS))}")


def _messages(value: list[Any], where: str) -> list[dict[str, str]]:
    found = []
    for message in value:
        role = message.get("role") if isinstance(message, dict) else None
        content = message.get("content") if isinstance(message, dict) else None
        if role not in ROLES or not isinstance(content, str):
            raise BadData(
                f"{where}: expected messages with role and content, found {message!r:.60}"
            )
        found.append({"role": role, "content": content})
    return found


PAIRS = Kind[ImportPairsParams, Iterable[Row]](
    "pairs",
    file=Source(
        "a .jsonl or .json file (.gz)",
        file_identity,
        lambda params: iterate_objects(Path(params.ref).expanduser()),
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
