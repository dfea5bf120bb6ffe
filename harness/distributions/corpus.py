"""Corpora as rows: what teachers read, and what a student is trained or measured on.

    nano:<split>   prompts of the nano world with their right answers; the domain is the skill
    <file>         .jsonl or .json (.gz): {"text"} or {"messages", "response"}; "domain" is kept
    <org>/<name>   a hub data set with texts

Every row gets an id: its own, else a digest of what it says.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from harness import costs, data
from harness.errors import BadData, UserError, unknown
from harness.hashing import canonical_json, digest
from harness.operations import Artifact, Context, Row, operation
from harness.prompts import load_dataset, prompts_identity
from harness.records import Record

DOMAIN = "all"


class DocumentsParams(Record):
    """Which documents.

    Attributes:
        split, revision: of a hub data set.
        field: the column of a text.
        form: conversations as such, of which only the answer is scored, or written out as texts.
        limit, offset: a window of the rows.
        digest: `prompts_identity` at planning time; puts a file's content into the stage id.
        max_tokens: texts are cut so that no model's tokenizer needs more ids; None does not cut.
        long: what becomes of longer texts, see `documents.fit_documents`.
    """

    ref: str
    split: str = "train"
    revision: str | None = None
    field: str = "text"
    form: Literal["chat", "text"] = "chat"
    limit: int | None = Field(default=None, ge=1)
    offset: int = Field(default=0, ge=0)
    digest: str | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    long: Literal["cut", "split", "refuse"] = "split"


def _expected(params: Record, models: Any = ()) -> Any:
    return costs.prompts(params)


@operation(
    "import_documents",
    version=1,
    params=DocumentsParams,
    libraries=("transformers",),
    estimate=_expected,
)
def import_documents(
    context: Context, params: DocumentsParams, *, models: tuple[Artifact, ...] = ()
) -> None:
    """Write rows.jsonl, ids unique.

    Args:
        models: whose tokenizers every text must fit.

    Raises:
        BadData: a row that is no document, or two of one id.
        UserError: the reference leads nowhere, or the window holds no row.
    """
    from harness.distributions.documents import fit_documents

    found = prompts_identity(params.ref, params.revision)
    if params.digest is not None and params.digest != found:
        raise BadData(
            f"documents {params.ref} are now {found}, but the plan was made with {params.digest}; "
            "the file changed: run the command again"
        )
    end = None if params.limit is None else params.offset + params.limit
    rows = [
        _row(item, params, f"{params.ref}, row {number}")
        for number, item in enumerate(_read(params), 1)
        if params.offset < number and (end is None or number <= end)
    ]
    if models and params.max_tokens is not None and "text" in (rows or [{}])[0]:
        from harness.checkpoints import load_tokenizer

        tokenizers = [load_tokenizer(model.path) for model in models]
        rows, _ = fit_documents(rows, tokenizers, params.max_tokens, params.long)
    if not rows:
        raise UserError(f"{params.ref} has no documents from offset {params.offset} on")
    if len({row["id"] for row in rows}) < len(rows):
        raise BadData(f"{params.ref}: two documents have one id; expected unique ids")
    with (context.directory / "rows.jsonl").open("wb") as stream:
        for row in rows:
            stream.write(canonical_json(row) + b"\n")
    context.progress(len(rows), len(rows))


def _read(params: DocumentsParams) -> Iterable[Row]:
    if params.ref.startswith("nano:"):
        return _nano(params.ref.removeprefix("nano:"))
    path = Path(params.ref).expanduser()
    return data.read_objects(path) if path.is_file() else load_dataset(params)


def _row(item: Row, params: DocumentsParams, where: str) -> Row:
    """A document as the rest of the package reads it."""
    domain = str(item.get("domain", DOMAIN))
    if isinstance(item.get("messages"), list) and isinstance(item.get("response"), str):
        said: Row = {"messages": item["messages"], "response": item["response"]}
        if params.form == "text":
            lines = [message["content"] for message in item["messages"]]
            said = {"text": "\n".join([*lines, item["response"]])}
    elif isinstance(item.get(params.field), str):
        said = {"text": item[params.field]}
    else:
        raise BadData(
            f'{where}: no text "{params.field}" and no messages with a response; found '
            f"{', '.join(sorted(item)) or 'nothing'}"
        )
    id = item.get("id")
    return {"id": str(digest(said) if id is None else id), **said, "domain": domain}


def _nano(split: str) -> list[Row]:
    from harness.nano import world

    if split not in world.SPLITS:
        raise unknown("nano split", split, world.SPLITS)
    return [
        {
            "id": item.id,
            "messages": [{"role": "user", "content": item.turns[0]}],
            "response": world.reference_answer(item),
            "domain": item.skill,
        }
        for item in world.items(split)
    ]
