"""Instruction data as rows {"id", "messages", "response"}: the operation `import_instructions`.

    nano:planted/<split>   questions about facts of the nano world, and tasks without facts
    <file>                 .jsonl or .json (.gz)
    <org>/<name>           a data set of the hub

An object is {"input", "output"} (the released form), {"instruction", "input", "output"} (Alpaca) or
a conversation as in `harness.distillation.corpus`, of which the last answer is the response.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from harness.core.errors import BadData, UserError, check_planned
from harness.core.hashing import digest
from harness.core.records import Record
from harness.distillation.corpus import DOCUMENTS, DocumentsParams, conversation_of
from harness.engine.io import write_json, write_rows
from harness.engine.operations import Context, Estimate, Row, operation
from harness.engine.recipe import Refers


class InstructionsParams(Record):
    """Which instructions to import.

    Attributes:
        split, revision: of a data set of the hub.
        limit: number of rows, from the first.
        digest: identity of the data at planning time; makes the content part of the stage id.
    """

    ref: Annotated[str, Refers("documents")]
    split: str = "train"
    revision: str | None = None
    limit: int | None = Field(default=None, ge=1)
    digest: str | None = None


def _expected(params: InstructionsParams) -> Estimate:
    return Estimate(rows=params.limit)


@operation("import_instructions", version=1, params=InstructionsParams, estimate=_expected)
def import_instructions(context: Context, params: InstructionsParams) -> None:
    """Write rows.jsonl with unique ids, and repeated.json with the number of repeated ids.

    An id is the row's own, or a digest of instruction and response. A repeated one is numbered
    ("<id>#2"), so that no row is lost.

    Raises:
        BadData: a row has no instruction or no response.
        UserError: the reference leads nowhere or has no rows.
    """
    found = DOCUMENTS.identity(params.ref, params.revision)
    check_planned(f"instructions {params.ref}", found, params.digest)
    source = DocumentsParams(ref=params.ref, split=params.split, revision=params.revision)
    rows: list[Row] = []
    for number, item in enumerate(DOCUMENTS.source(params.ref).rows(source), 1):
        if params.limit is not None and number > params.limit:
            break
        rows.append(instruction_row(item, f"{params.ref}, row {number}"))
    if not rows:
        raise UserError(f"{params.ref} has no instructions")
    rows, repeated = numbered(rows)
    write_json(context.directory / "repeated.json", repeated)
    write_rows(context.directory / "rows.jsonl", rows)
    context.progress(len(rows), len(rows))


def numbered(rows: Sequence[Row]) -> tuple[list[Row], dict[str, int]]:
    """Rows with unique ids, and the number of rows of each repeated id.

    >>> numbered([{"id": "a"}, {"id": "a"}])
    ([{'id': 'a'}, {'id': 'a#2'}], {'a': 2})

    Raises:
        BadData: an id looks like the number of a repeated one.
    """
    seen: Counter[str] = Counter()
    found = []
    for row in rows:
        id = row["id"]
        seen[id] += 1
        found.append(row if seen[id] == 1 else {**row, "id": f"{id}#{seen[id]}"})
    if len({row["id"] for row in found}) < len(found):
        raise BadData('an id ends in "#" and a number, and repeats the number of a repeated id')
    return found, {id: count for id, count in seen.items() if count > 1}


def instruction_row(item: Mapping[str, Any], where: str) -> Row:
    """The row of one object.

    >>> instruction_row({"id": 7, "instruction": "Add.", "input": "1 1", "output": "2"}, "file")
    {'id': '7', 'messages': [{'role': 'user', 'content': 'Add.\\n1 1'}], 'response': '2'}

    Raises:
        BadData: it has no instruction or no response.
    """
    talks = "messages" in item or "conversations" in item
    said = conversation_of(dict(item)) if talks else []
    if not said:
        parts = [item.get("instruction"), item.get("input")]
        asked = "\n".join(part for part in parts if isinstance(part, str) and part)
        answer = item.get("output")
        if asked and isinstance(answer, str):
            said = [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
    if not said or not said[-2]["content"].strip():
        raise BadData(
            f"{where}: expected instruction or input, and output, or a conversation with an "
            f"answer; found {', '.join(sorted(map(str, item))) or 'nothing'}"
        )
    *asked_in, last = said
    own = item.get("id")
    id = str(digest([asked_in, last["content"]]) if own is None else own)
    return {"id": id, "messages": asked_in, "response": last["content"]}
