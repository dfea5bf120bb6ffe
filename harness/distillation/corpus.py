"""Documents as rows: texts that teachers read, and that a student is trained or measured on.

    nano:<split>   prompts of the nano world with their correct answers; the domain is the skill
    <file>         .jsonl or .json (.gz), of texts or conversations; "domain" is kept
    <org>/<name>   a data set of the hub with the same columns

A conversation is {"messages", "response"}, {"messages"} that end with an answer, or
{"conversations": [{"from": "human" or "gpt", "value"}]}; all its answers are scored. A row of
Alpaca, {"instruction", "input", "output"}, is a conversation of one answer, see
`harness.models.templates.alpaca_message`. The id of a row is its own or else a digest of its
content.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from harness.core.errors import BadData, UserError, check_planned, unknown
from harness.core.hashing import digest
from harness.core.records import Record
from harness.data.files import load_dataset
from harness.data.prompts import is_hub
from harness.data.sources import Kind, Source, file_identity, hub_identity
from harness.engine import costs
from harness.engine.io import iterate_objects, write_rows
from harness.engine.operations import Artifact, Context, Row, operation
from harness.models.rendering import ROLES
from harness.models.templates import alpaca_message

DOMAIN = "all"
_ROLES: dict[Any, str] = {"human": "user", "gpt": "assistant"}

log = logging.getLogger(__name__)


class DocumentsParams(Record):
    """Which documents to import.

    Attributes:
        split, revision: of a data set of the hub.
        field: column of a text.
        form: "chat" keeps conversations, whose answers are scored; "text" joins them into texts.
        domains: only documents of these; () is all.
        exchanges: number of exchanges kept per conversation, from the first; None is all.
        limit, offset: window of the rows.
        digest: `documents_identity` at planning time; makes the content part of the stage id.
        max_tokens: most tokens per document, by every model's tokenizer; None sets no limit.
        long: treatment of longer texts, see `documents.fit_documents`. Longer conversations lose
            their last exchanges or are left out, except with "refuse".
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
    domains: tuple[str, ...] = Field(default=(), exclude_if=lambda value: not value)
    exchanges: int | None = Field(default=None, ge=1, exclude_if=lambda value: value is None)


def _expected(params: DocumentsParams, models: Any = ()) -> Any:
    return costs.prompts(params)


@operation(
    "import_documents",
    version=2,
    params=DocumentsParams,
    libraries=("transformers",),
    estimate=_expected,
)
def import_documents(
    context: Context, params: DocumentsParams, *, models: tuple[Artifact, ...] = ()
) -> None:
    """Write rows.jsonl, ids unique.

    Args:
        models: every document must fit into `max_tokens` of each model's tokenizer.

    Raises:
        BadData: a row is no document, or two have one id.
        UserError: the reference leads nowhere, or the window contains no row.
    """
    found = documents_identity(params.ref, params.revision)
    check_planned(f"documents {params.ref}", found, params.digest)
    end = None if params.limit is None else params.offset + params.limit
    rows = [
        _row(item, params, f"{params.ref}, row {number}")
        for number, item in enumerate(DOCUMENTS.source(params.ref).rows(params), 1)
        if params.offset < number and (end is None or number <= end)
    ]
    if params.domains:
        known = dict.fromkeys(row["domain"] for row in rows)
        for name in params.domains:
            if name not in known:
                raise unknown(f"domain of {params.ref}", name, known)
        rows = [row for row in rows if row["domain"] in params.domains]
    if models and params.max_tokens is not None:
        rows = _fitted(rows, models, params, context)
    if not rows:
        raise UserError(f"{params.ref} has no documents from offset {params.offset} on")
    if len({row["id"] for row in rows}) < len(rows):
        raise BadData(f"{params.ref}: two documents have one id; expected unique ids")
    write_rows(context.directory / "rows.jsonl", rows)
    context.progress(len(rows), len(rows))


def _fitted(
    rows: list[Row], models: tuple[Artifact, ...], params: DocumentsParams, context: Context
) -> list[Row]:
    """Rows that fit every model; logs how many were changed."""
    from harness.distillation.documents import fit_conversations, fit_documents
    from harness.models.checkpoints import load_tokenizer

    def counted(part: list[Row], before: int) -> Iterator[Row]:
        for number, row in enumerate(part, before + 1):
            yield row
            context.progress(number, len(rows), "documents")

    limit = params.max_tokens or 0
    tokenizers = [load_tokenizer(model.path) for model in models]
    texts = [row for row in rows if "text" in row]
    chats = [row for row in rows if "text" not in row]
    kept, changed = fit_documents(counted(texts, 0), tokenizers, limit, params.long)
    fitting, more = fit_conversations(
        counted(chats, len(texts)), tokenizers, limit, refuse=params.long == "refuse"
    )
    for name, number in (*changed.items(), *more.items()):
        if number:
            log.warning("%s: %d documents %s", params.ref, number, name.replace("_", " "))
    if rows and not kept + fitting:
        raise UserError(
            f"{params.ref}: none of {len(rows)} documents fits into {limit} tokens; raise "
            "max_tokens, up to the context of the models"
        )
    return kept + fitting


def _row(item: Row, params: DocumentsParams, where: str) -> Row:
    """Document row of one object."""
    domain = str(item.get("domain", DOMAIN))
    messages = conversation_of(item, params.exchanges)
    for number, message in enumerate(messages, 1):
        if message["role"] not in ROLES:
            raise BadData(
                f'{where}: message {number} is from "{message["role"]}"; expected '
                f"{', '.join(ROLES)}, human or gpt"
            )
    if messages:
        said: Row = {"messages": messages[:-1], "response": messages[-1]["content"]}
        if params.form == "text":
            said = {"text": "\n".join(message["content"] for message in messages)}
    elif isinstance(item.get(params.field), str):
        said = {"text": item[params.field]}
    else:
        raise BadData(
            f'{where}: no text "{params.field}", and no messages or conversations with an answer; '
            f"found {', '.join(sorted(item)) or 'nothing'}"
        )
    id = item.get("id")
    return {"id": str(digest(said) if id is None else id), **said, "domain": domain}


def conversation_of(item: Row, exchanges: int | None = None) -> list[dict[str, str]]:
    """Messages up to the last answer, or up to a number of answers; [] if it is no conversation.

    >>> said = [("gpt", "Hi"), ("human", "1"), ("gpt", "2"), ("human", "3")]
    >>> conversation_of({"conversations": [{"from": who, "value": text} for who, text in said]})
    [{'role': 'user', 'content': '1'}, {'role': 'assistant', 'content': '2'}]
    """
    given, names = item.get("messages"), ("role", "content")
    if not isinstance(given, list):
        given, names = item.get("conversations"), ("from", "value")
    if given is None and isinstance(item.get("instruction"), str):
        return _of_alpaca(item)
    if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
        return []
    pairs = [(one.get(names[0]), one.get(names[1])) for one in given]
    if isinstance(item.get("response"), str):
        pairs.append(("assistant", item["response"]))
    said = [{"role": str(_ROLES.get(who, who)), "content": text} for who, text in pairs]
    while said and said[0]["role"] == "assistant":
        said.pop(0)
    answers = [place for place, one in enumerate(said, 1) if one["role"] == "assistant"]
    said = said[: answers[:exchanges][-1]] if answers else []
    return said if all(isinstance(one["content"], str) for one in said) else []


def _of_alpaca(item: Row) -> list[dict[str, str]]:
    """The two messages of a row of Alpaca; [] without an instruction or an output."""
    context, answer = item.get("input") or "", item.get("output")
    if not item["instruction"].strip() or not isinstance(answer, str) or not answer.strip():
        return []
    asked = alpaca_message(item["instruction"], str(context))
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]


DOCUMENTS = Kind[DocumentsParams, Iterable[Row]](
    "documents",
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
documents_identity = DOCUMENTS.identity
