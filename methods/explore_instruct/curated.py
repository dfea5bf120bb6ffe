"""Instruction data that people wrote, as training rows: the operation `curated_instructions`."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from harness.core.errors import BadData, UserError, check_planned
from harness.core.hashing import digest, seed_from
from harness.core.records import Record
from harness.distillation.corpus import DOCUMENTS, DocumentsParams, conversation_of
from harness.engine.io import write_rows
from harness.engine.operations import Context, Estimate, Row, operation
from harness.engine.recipe import Refers


class Curated(Record):
    """Where curated data are.

    Attributes:
        ref: a file or a data set of the hub, see `harness.distillation.corpus`.
        split, revision: of a data set of the hub.
        columns: instruction, input and output <- column of the data; {} reads rows of Alpaca and
            conversations.
        where: column -> its value in the rows to take, such as a category; {} takes all.
    """

    ref: Annotated[str, Refers("documents")]
    split: Annotated[str, Refers("layout")] = "train"
    revision: Annotated[str | None, Refers("layout")] = None
    columns: Annotated[dict[str, str], Refers("layout")] = {}
    where: Annotated[dict[str, str], Refers("layout")] = {}


class CuratedParams(Record):
    """n: number of rows, drawn with `seed`; fewer if there are no more, with a note."""

    data: Curated
    n: int = Field(default=10_000, ge=1)
    seed: int = 42
    digest: str | None = None


@operation(
    "curated_instructions",
    version=1,
    params=CuratedParams,
    estimate=lambda params: Estimate(rows=params.n),
)
def curated_instructions(context: Context, params: CuratedParams) -> None:
    """Write rows {"id", "messages", "response"}.

    Raises:
        BadData: a chosen row has no instruction or no output.
        UserError: the reference leads nowhere, or no row is chosen.
    """
    data = params.data
    found = DOCUMENTS.identity(data.ref, data.revision)
    check_planned(f"instructions {data.ref}", found, params.digest)
    source = DocumentsParams(ref=data.ref, split=data.split, revision=data.revision)
    items = [
        (number, item)
        for number, item in enumerate(DOCUMENTS.source(data.ref).rows(source), 1)
        if all(item.get(column) == value for column, value in data.where.items())
    ]
    if not items:
        raise UserError(f"{data.ref} has no rows where {data.where or 'any'}")
    rng = random.Random(seed_from("curated", params.seed))
    chosen = sorted(rng.sample(range(len(items)), min(params.n, len(items))))
    rows = [_row(*items[place], data) for place in chosen]
    write_rows(context.directory / "rows.jsonl", rows)
    if len(rows) < params.n:
        context.note(f"{len(rows)} curated instructions; {params.n} were asked for")


def _row(number: int, item: Mapping[str, Any], data: Curated) -> Row:
    fields: Mapping[str, Any] = {name: item.get(c) for name, c in data.columns.items()} or item
    said = conversation_of(dict(fields))
    if not said:
        raise BadData(
            f"{data.ref}, row {number}: expected instruction and output, or a conversation with an "
            f"answer; found {', '.join(sorted(map(str, fields))) or 'nothing'}"
        )
    *asked, last = said
    id = f"{number}-{digest([asked, last['content']])[:12]}"
    return {"id": id, "messages": asked, "response": last["content"]}
