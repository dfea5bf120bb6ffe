"""Prompt sets as rows, from the nano world, a local file, or a data set of the hub.

    nano:<split>     prompts of the nano world (harness.nano.world)
    <file>           .jsonl (one object a line) or .json (a list of objects)
    <org>/<name>     a hub data set; its prompts are made unique and sorted by text, so that their
                     order does not depend on the data set's

A row of a file holds `messages`, or its prompt as text under `field`; its other fields are kept.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import Field

from harness import costs
from harness.errors import BadData, EnvironmentProblem, MissingExtra, UserError, unknown
from harness.hashing import canonical_json, digest, file_digest
from harness.operations import Context, Row, operation, read_jsonl
from harness.records import Record

FIELDS = ("prompt", "instruction", "question")  # where a prompt's text is looked for, in order
_HUB_ID = re.compile(r"[\w][\w.-]*/[\w][\w.-]*")
_ROLES = ("system", "user", "assistant")


class ImportPromptsParams(Record):
    """Which prompts.

    Attributes:
        split, revision: of a hub data set.
        field: where a row holds its prompt; None looks for messages, prompt, instruction, question.
        limit, offset: a window of the rows, taken last.
        digest: `prompts_identity` at planning time; puts a file's content into the stage id.
    """

    ref: str
    split: str = "train"
    revision: str | None = None
    field: str | None = None
    limit: int | None = Field(default=None, ge=1)
    offset: int = Field(default=0, ge=0)
    digest: str | None = None


@operation("import_prompts", version=1, params=ImportPromptsParams, estimate=costs.prompts)
def import_prompts(context: Context, params: ImportPromptsParams) -> None:
    """Write rows.jsonl: {"id", "messages", ...}, ids unique.

    Raises:
        BadData: naming file and line or row for anything that is not a prompt.
        UserError: the reference leads nowhere, or the window holds no row.
        EnvironmentProblem: a hub data set that cannot be reached.
    """
    found = prompts_identity(params.ref, params.revision)
    if params.digest is not None and params.digest != found:
        raise BadData(
            f"prompts {params.ref} are now {found}, but the plan was made with {params.digest}; "
            "the file changed: run the command again"
        )
    rows = read_prompts(params)
    end = None if params.limit is None else params.offset + params.limit
    chosen = rows[params.offset : end]
    if not chosen:
        raise UserError(
            f"{params.ref} has {len(rows)} prompts; none from offset {params.offset} on"
        )
    with (context.directory / "rows.jsonl").open("wb") as stream:
        for row in chosen:
            stream.write(canonical_json(row) + b"\n")
    context.progress(len(chosen), len(chosen))


def prompts_identity(ref: str, revision: str | None = None) -> str:
    """What a prompt set is: a file's digest, the nano world's version, else the reference.

    Raises:
        UserError: the reference leads nowhere.
    """
    if ref.startswith("nano:"):
        from harness.nano import world

        return f"{ref}@{world.VERSION}"
    path = Path(ref).expanduser()
    if path.is_file():
        return file_digest(path)
    if _is_hub(ref):
        return f"hub:{ref}@{revision or 'main'}"
    raise _nowhere(ref)


def read_prompts(params: ImportPromptsParams) -> list[Row]:
    """All prompts of a reference, before the window; see `import_prompts` for the errors."""
    if params.ref.startswith("nano:"):
        return _nano(params.ref.removeprefix("nano:"))
    path = Path(params.ref).expanduser()
    if path.is_file():
        return _from_file(path, params.field)
    if _is_hub(params.ref):
        return _from_hub(params)
    raise _nowhere(params.ref)


def _is_hub(ref: str) -> bool:
    """Whether a reference that is no file reads like a hub id rather than a mistyped path."""
    return _HUB_ID.fullmatch(ref) is not None and not ref.endswith((".json", ".jsonl"))


def _nowhere(ref: str) -> UserError:
    return UserError(
        f'no prompts "{ref}"; expected nano:<split>, a .jsonl or .json file, or a hub data set '
        "<org>/<name>"
    )


def _nano(split: str) -> list[Row]:
    from harness.nano import world

    if split not in world.SPLITS:
        raise unknown("nano split", split, world.SPLITS)
    rows = []
    for item in world.items(split):
        row: Row = {
            "id": item.id,
            "messages": [{"role": "user", "content": item.turns[0]}],
            "turns": list(item.turns),
            "skill": item.skill,
            "difficulty": item.difficulty,
            "category": item.category,
        }
        if item.cluster is not None:
            row["cluster"] = item.cluster
        rows.append(row)
    return rows


def _from_file(path: Path, field: str | None) -> list[Row]:
    if path.suffix == ".jsonl":
        objects = read_jsonl(path)
    elif path.suffix == ".json":
        objects = _read_json_list(path)
    else:
        raise BadData(f"{path}: expected a .jsonl or .json file")
    rows = [_row(item, field, f"{path}, row {n}") for n, item in enumerate(objects, 1)]
    seen: dict[str, int] = {}
    for number, row in enumerate(rows, 1):
        if row["id"] in seen:
            raise BadData(
                f'{path}: rows {seen[row["id"]]} and {number} both have the id "{row["id"]}"; '
                "expected unique ids"
            )
        seen[row["id"]] = number
    return rows


def _read_json_list(path: Path) -> list[Row]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise BadData(f"{path}, line {error.lineno}: not JSON: {error.msg}") from None
    except UnicodeDecodeError as error:
        raise BadData(f"{path}: not UTF-8 text: {error.reason}") from None
    if not isinstance(data, list) or not all(isinstance(item, dict) for item in data):
        raise BadData(f"{path}: expected a list of objects")
    return data


def _row(item: Row, field: str | None, where: str) -> Row:
    """The prompt row of one object; an id that is missing is made from the messages."""
    names = (field,) if field else ("messages", *FIELDS)
    name = next((name for name in names if name in item), None)
    if name is None:
        raise BadData(
            f"{where}: no {' or '.join(names)}; found {', '.join(sorted(item)) or 'none'}"
        )
    messages = _messages(item[name], f"{where}: {name}")
    rest = {key: value for key, value in item.items() if key not in {name, "id", "prompt_id"}}
    id = item.get("id", item.get("prompt_id"))
    return {**rest, "id": str(digest(messages) if id is None else id), "messages": messages}


def _messages(value: object, where: str) -> list[dict[str, str]]:
    """Messages from a text, one message, or a list of messages; answers at the end are dropped."""
    if isinstance(value, str):
        value = [{"role": "user", "content": value}]
    elif isinstance(value, dict):
        value = [value]
    messages = []
    for message in value if isinstance(value, list) else [value]:
        role = message.get("role") if isinstance(message, dict) else None
        content = message.get("content") if isinstance(message, dict) else None
        if role not in _ROLES or not isinstance(content, str):
            raise BadData(
                f"{where}: expected text or messages with role and content, found "
                f"{json.dumps(message, ensure_ascii=False, default=str)[:60]}"
            )
        messages.append({"role": role, "content": content})
    while messages and messages[-1]["role"] == "assistant":
        messages.pop()
    if not messages or not messages[-1]["content"].strip():
        raise BadData(f"{where}: the prompt is empty")
    return messages


def _from_hub(params: ImportPromptsParams) -> list[Row]:
    """Unique prompts of a hub data set, sorted by their messages' text."""
    unique: dict[str, Row] = {}
    for number, item in enumerate(_load_dataset(params), 1):
        row = _row(dict(item), params.field, f"{params.ref} ({params.split}), row {number}")
        key = "\n".join(message["content"] for message in row["messages"])
        unique.setdefault(key, {"id": row["id"], "messages": row["messages"]})
    rows = [unique[key] for key in sorted(unique)]
    if len({row["id"] for row in rows}) < len(rows):  # ids of a data set need not be unique
        return [{**row, "id": digest(row["messages"])} for row in rows]
    return rows


def _load_dataset(params: ImportPromptsParams) -> Iterable[Any]:
    try:
        import datasets
    except ImportError:
        raise MissingExtra("datasets", "train") from None
    try:
        loaded: Iterable[Any] = datasets.load_dataset(
            params.ref, split=params.split, revision=params.revision
        )
    except ValueError as error:
        raise UserError(f"hub data set {params.ref}: {str(error).splitlines()[0]}") from error
    except OSError as error:
        raise EnvironmentProblem(
            f"hub data set {params.ref} is not on this machine and the hub cannot be reached: "
            "give a local .jsonl file instead, or unset HF_HUB_OFFLINE and check the network "
            f"({str(error).splitlines()[0]})"
        ) from error
    return loaded
