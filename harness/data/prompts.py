"""Prompt sets as rows: the operation `import_prompts`.

    nano:<split>     prompts of the nano world
    official:<set>   a published question set (`harness.data.official`)
    <file>           .jsonl (one object per line) or .json (a list of objects), also .gz;
                     .parquet or .csv
    <org>/<name>     a data set of the hub; its prompts are made unique and sorted by text, so that
                     their order does not depend on the order of the data set

A row of a file contains `messages`, its prompt as text under `field`, the `turns` of a dialogue, or
the `conversations` of ShareGPT, of which the prompt is everything up to the user's last turn.
Its id is its `id`, `prompt_id`, `uid` or `question_id`, or else a digest of its messages. Other
fields are kept.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from harness.core.errors import BadData, UserError, check_planned, unknown
from harness.core.hashing import digest
from harness.core.records import Record
from harness.data import official
from harness.data.conversations import messages_of
from harness.data.files import load_dataset
from harness.data.sources import Kind, Source, file_identity, hub_identity
from harness.data.tables import FILES, read_table
from harness.engine.io import write_rows
from harness.engine.operations import Context, Estimate, Row, operation

FIELDS = ("prompt", "instruction", "question")  # fields that may contain a prompt's text, in order
IDS = ("id", "prompt_id", "uid", "question_id")
CONVERSATION = "conversations"  # of ShareGPT
_HUB_ID = re.compile(r"[\w][\w.-]*/[\w][\w.-]*")


class ImportPromptsParams(Record):
    """Which prompts to import.

    Attributes:
        split, revision: of a data set of the hub.
        field: column of the prompt; None tries messages, prompt, instruction, question, turns and
            conversations.
        turn: the user's turn that ends the prompt of a conversation.
        categories: keep only rows of these categories; () keeps all.
        limit, offset: window of the rows, applied last.
        digest: `prompts_identity` at planning time; makes the content part of the stage id.
        carry: field of the rows <- column of the data set: {"answer": "expected_answer"}. Rows
            without a value in such a column are left out. `responses` collects the texts of all
            rows with the same prompt.
        written_by: name of the model that wrote the carried `responses`.
    """

    ref: str
    split: str = "train"
    revision: str | None = None
    field: str | None = None
    limit: int | None = Field(default=None, ge=1)
    offset: int = Field(default=0, ge=0)
    digest: str | None = None
    categories: tuple[str, ...] = ()
    carry: dict[str, str] = Field(default={}, exclude_if=lambda value: not value)
    written_by: str = Field(default="", exclude_if=lambda value: not value)
    turn: Literal["last", "first"] = Field(default="last", exclude_if=lambda value: value == "last")


def _expected(params: ImportPromptsParams) -> Estimate:
    source = PROMPTS.source(params.ref)
    known = source.count(params)
    if known is None and source.at_hand:
        known = len(_of_categories(source.rows(params), params))
    if known is None:
        return Estimate(rows=params.limit)
    rows = max(0, known - params.offset)
    return Estimate(rows=rows if params.limit is None else min(rows, params.limit))


@operation("import_prompts", version=1, params=ImportPromptsParams, estimate=_expected)
def import_prompts(context: Context, params: ImportPromptsParams) -> None:
    """Write rows.jsonl: {"id", "messages", ...}, ids unique.

    Raises:
        BadData: with file and line or row, for anything that is not a prompt.
        UserError: the reference leads nowhere, or the window contains no row.
        EnvironmentProblem: a data set of the hub cannot be reached.
    """
    found = prompts_identity(params.ref, params.revision)
    check_planned(f"prompts {params.ref}", found, params.digest)
    chosen = prompt_rows(params)
    write_rows(context.directory / "rows.jsonl", chosen)
    context.progress(len(chosen), len(chosen))


def prompt_rows(params: ImportPromptsParams) -> list[Row]:
    """The prompts that `import_prompts` writes; see there for errors."""
    prompts = PROMPTS.source(params.ref).rows(params)
    rows = _carried(_of_categories(prompts, params), params)
    end = None if params.limit is None else params.offset + params.limit
    chosen = rows[params.offset : end]
    if not chosen:
        raise UserError(
            f"{params.ref} has {len(rows)} prompts; none from offset {params.offset} on"
        )
    return chosen


def _of_categories(rows: list[Row], params: ImportPromptsParams) -> list[Row]:
    if not params.categories:
        return rows
    known = dict.fromkeys(str(row.get("category")) for row in rows)
    for name in params.categories:
        if name not in known:
            raise unknown(f"category in {params.ref}", name, known)
    return [row for row in rows if row.get("category") in params.categories]


def _carried(rows: list[Row], params: ImportPromptsParams) -> list[Row]:
    """Rows that have a value in every carried column, with these columns renamed."""
    writer = {"system": params.written_by} if params.written_by else {}
    kept = []
    for row in rows:
        found = {name: row.get(column) for name, column in params.carry.items()}
        if all(value not in (None, "", []) for value in found.values()):
            if isinstance(found.get("responses"), str):
                found["responses"] = [found["responses"]]
            kept.append({**row, **writer, **found})
    if rows and not kept:
        raise BadData(
            f"{params.ref}: no row has {' and '.join(params.carry.values())}; it has "
            f"{', '.join(sorted(rows[0]))}"
        )
    return kept


def prompt_text(messages: Sequence[Mapping[str, str]]) -> str:
    """Text of a prompt for judges and for joining: a single user turn as is, else a transcript.

    A system prompt is left out: it is part of the evaluated system, not of the question.
    """
    turns = [message for message in messages if message["role"] != "system"]
    if len(turns) == 1:
        return turns[0]["content"]
    return "\n\n".join(f"{turn['role']}: {turn['content']}" for turn in turns)


def is_hub(ref: str) -> bool:
    """Whether a reference that is no file looks like a hub id, not like a mistyped path.

    >>> is_hub("org/name"), is_hub("data/prompts.jsonl")
    (True, False)
    """
    return _HUB_ID.fullmatch(ref) is not None and not ref.endswith(FILES)


def _from_file(params: ImportPromptsParams) -> list[Row]:
    path = Path(params.ref).expanduser()
    rows = [_row(item, params, f"{path}, row {n}") for n, item in enumerate(read_table(path), 1)]
    seen: dict[str, int] = {}
    for number, row in enumerate(rows, 1):
        if row["id"] in seen:
            raise BadData(
                f'{path}: rows {seen[row["id"]]} and {number} both have the id "{row["id"]}"; '
                "expected unique ids"
            )
        seen[row["id"]] = number
    return rows


def _row(item: Row, params: ImportPromptsParams, where: str) -> Row:
    """Prompt row of one object."""
    names = (params.field,) if params.field else ("messages", *FIELDS, "turns", CONVERSATION)
    name = next((name for name in names if name in item), None)
    if name is None:
        raise BadData(
            f"{where}: no {' or '.join(names)}; found {', '.join(sorted(item)) or 'none'}"
        )
    turns = _turns(item[name])
    messages = _prompt(turns[0] if turns else item[name], params.turn, f"{where}: {name}")
    rest = {key: value for key, value in item.items() if key not in {name, "id", "prompt_id"}}
    id = next((item[key] for key in IDS if item.get(key) is not None), None)
    row = {**rest, "id": str(digest(messages) if id is None else id), "messages": messages}
    return {**row, "turns": turns} if turns else row


def _turns(value: object) -> list[str] | None:
    """User turns, if the prompt is a list of texts."""
    if isinstance(value, list) and value and all(isinstance(turn, str) for turn in value):
        return list(value)
    return None


def _prompt(value: object, turn: str, where: str) -> list[dict[str, str]]:
    """Messages up to a turn of the user; an answer before the first turn is dropped as well."""
    if isinstance(value, str):
        value = [{"role": "user", "content": value}]
    messages = messages_of(value, where)
    if _shares(value):  # some conversations of ShareGPT begin in the middle
        while messages and messages[0]["role"] == "assistant":
            messages.pop(0)
    while messages and messages[-1]["role"] == "assistant":
        messages.pop()
    if turn == "first":
        asked = [number for number, message in enumerate(messages, 1) if message["role"] == "user"]
        messages = messages[: asked[0]] if asked else []
    if not messages or not messages[-1]["content"].strip():
        raise BadData(f"{where}: the prompt is empty")
    return messages


def _shares(value: object) -> bool:
    """Whether these are messages in the form of ShareGPT."""
    return isinstance(value, list) and any("from" in m for m in value if isinstance(m, Mapping))


def _from_hub(params: ImportPromptsParams) -> list[Row]:
    """Unique prompts of a data set of the hub, sorted by text."""
    unique: dict[str, Row] = {}
    for number, item in enumerate(load_dataset(params.ref, params.split, params.revision), 1):
        row = _row(dict(item), params, f"{params.ref} ({params.split}), row {number}")
        key = "\n".join(message["content"] for message in row["messages"])
        carried = {column: row.get(column) for column in params.carry.values()}
        written = params.carry.get("responses", "")
        if written:
            carried[written] = []
        kept = unique.setdefault(key, {**carried, "id": row["id"], "messages": row["messages"]})
        if row.get(written):
            kept[written].append(row[written])
    rows = [unique[key] for key in sorted(unique)]
    if len({row["id"] for row in rows}) < len(rows):  # ids of a data set need not be unique
        return [{**row, "id": digest(row["messages"])} for row in rows]
    return rows


PROMPTS = Kind(
    "prompts",
    schemes={
        "official": Source(
            "official:<set>",
            lambda ref, revision: official.prompts_identity(ref),
            lambda params: official.prompts(params.ref),
            count=lambda params: official.count(params.ref, params.categories),
        )
    },
    file=Source(
        "a .jsonl or .json file (.gz) or a .parquet file",
        file_identity,
        _from_file,
        at_hand=True,
    ),
    hub=Source("a data set of the hub <org>/<name>", hub_identity, _from_hub),
    is_hub=is_hub,
)
prompts_identity = PROMPTS.identity
