"""Instruction data of any usual shape as rows: the operation `import_instruction_set`.

    {"instruction", "input", "output"}       Alpaca, Self-Instruct
    {"conversations": [{"from", "value"}]}   ShareGPT: the first turn of the user
    {"messages": [{"role", "content"}]}      chat: the same
    {"prompt"} or {"question"} or {"turns"}  prompts; a text, a conversation, or a list of turns

Rows become {"id", "instruction", "input"}; the id is the row's number. A row without an instruction
is left out, counted and named, because one bad row is no reason to analyse nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import Field

from harness.core.errors import BadData, check_planned
from harness.core.records import Record
from harness.data import official
from harness.data.conversations import messages_of
from harness.data.files import load_dataset
from harness.data.prompts import is_hub
from harness.data.sources import Kind, Source, file_identity, hub_identity
from harness.data.tables import read_table
from harness.engine.io import write_json, write_rows
from harness.engine.operations import Context, Estimate, Row, operation

FIELDS = ("instruction", "messages", "conversations", "prompt", "question", "turns")
NAMED = 5  # bad rows that are named
_NO_INPUT = "<noinput>"


class ImportInstructionSetParams(Record):
    """Which instructions to import.

    Attributes:
        split, revision: of a data set of the hub.
        field: column of the instruction; "" takes the first of `FIELDS` that a row has.
        limit: number of rows to read.
        digest: `instructions_identity` at planning time; makes the content part of the stage id.
    """

    ref: str
    split: str = "train"
    revision: str | None = None
    field: str = ""
    limit: int | None = Field(default=None, ge=1)
    digest: str = ""


@operation(
    "import_instruction_set",
    version=1,
    params=ImportInstructionSetParams,
    estimate=lambda params: Estimate(rows=params.limit),
)
def import_instruction_set(context: Context, params: ImportInstructionSetParams) -> None:
    """Write rows.jsonl and summary.json: {"rows", "bad", "named"}.

    Raises:
        BadData: a row is no JSON object, or no row has an instruction.
        UserError: the reference leads nowhere.
    """
    found = instructions_identity(params.ref, params.revision)
    check_planned(f"instructions {params.ref}", found, params.digest)
    rows: list[Row] = []
    problems: list[str] = []
    number = 0
    for number, item in enumerate(_window(params), 1):
        try:
            text, given = instruction_of(item, f"row {number}", params.field)
            rows.append({"id": str(number), "instruction": text, "input": given})
        except BadData as error:
            problems.append(str(error))
    if not rows:
        found = f"none of {number} rows has an instruction; {problems[0]}" if number else "no rows"
        raise BadData(f"{params.ref}: {found}")
    if problems:
        more = "; ..." if len(problems) > NAMED else ""
        context.note(
            f"{len(problems)} of {number} rows of {params.ref} have no instruction and are left "
            f"out: {'; '.join(problems[:NAMED])}{more}"
        )
    write_rows(context.directory / "rows.jsonl", rows)
    summary = {"rows": number, "bad": len(problems), "named": problems[:NAMED]}
    write_json(context.directory / "summary.json", summary)
    context.progress(len(rows), len(rows))


def _window(params: ImportInstructionSetParams) -> Iterator[dict[str, Any]]:
    for number, item in enumerate(INSTRUCTIONS.source(params.ref).rows(params)):
        if params.limit is not None and number >= params.limit:
            return
        yield dict(item)


def instruction_of(item: Row, where: str, field: str = "") -> tuple[str, str]:
    """Instruction and input of one row; the input is "" where there is none.

    Args:
        where: the row, for the message of an error.
        field: column of the instruction; "" takes the first of `FIELDS` that is present.

    Raises:
        BadData: no such column, no text of a user in it, or an input that is no text.
    """
    name = next((name for name in ((field,) if field else FIELDS) if item.get(name)), None)
    if name is None:
        wanted = field or ", ".join(FIELDS)
        empty = [name for name in ((field,) if field else FIELDS) if name in item]
        found = f"{empty[0]} is {item[empty[0]]!r}" if empty else f"found {_listed(item)}"
        raise BadData(f"{where}: no instruction ({found}; expected {wanted})")
    text = _first_turn(item[name], f"{where}: {name}")
    given = item.get("input")
    if given is not None and not isinstance(given, str):
        raise BadData(f"{where}: input: expected text, found {type(given).__name__}")
    given = (given or "").strip()
    return text, "" if given.lower() == _NO_INPUT else given


def _listed(item: Row) -> str:
    return ", ".join(sorted(map(str, item))[:8]) or "no field"


def _first_turn(value: object, where: str) -> str:
    """The first text of the user, without surrounding blanks."""
    if isinstance(value, list) and value and all(isinstance(turn, str) for turn in value):
        value = value[0]
    said = (m["content"].strip() for m in messages_of(value, where) if m["role"] == "user")
    text = next((text for text in said if text), "")
    if not text:
        raise BadData(f"{where}: no text of a user")
    return text


INSTRUCTIONS = Kind[ImportInstructionSetParams, Iterable[Any]](
    "instruction sets",
    schemes={
        "official": Source(
            "official:<set>",
            lambda ref, revision: official.prompts_identity(ref),
            lambda params: official.prompts(params.ref),
        )
    },
    file=Source(
        "a .jsonl, .json or .csv file (.gz) or a .parquet file",
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
instructions_identity = INSTRUCTIONS.identity
