"""Prompt sets as rows, from the nano world, a local file, or a data set of the hub.

    nano:<split>     prompts of the nano world (harness.nano.world)
    official:<set>   a published question set (harness.data)
    <file>           .jsonl (one object a line) or .json (a list of objects), also with .gz
    <org>/<name>     a hub data set; its prompts are made unique and sorted by text, so that their
                     order does not depend on the data set's

A row of a file holds `messages`, its prompt as text under `field`, or the `turns` of a dialogue.
Its id is its `id`, `prompt_id`, `uid` or `question_id`, else made of the messages; its other fields
are kept.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import Field

from harness.core.errors import BadData, EnvironmentProblem, MissingExtra, UserError, unknown
from harness.core.hashing import canonical_json, digest, file_digest
from harness.core.records import Record
from harness.data import official
from harness.data.files import read_objects
from harness.engine import costs
from harness.engine.operations import Context, Estimate, Row, operation

FIELDS = ("prompt", "instruction", "question")  # where a prompt's text is looked for, in order
IDS = ("id", "prompt_id", "uid", "question_id")
FILES = (".json", ".jsonl", ".json.gz", ".jsonl.gz")
_HUB_ID = re.compile(r"[\w][\w.-]*/[\w][\w.-]*")
_ROLES = ("system", "user", "assistant")


class ImportPromptsParams(Record):
    """Which prompts.

    Attributes:
        split, revision: of a hub data set.
        field: where a row holds its prompt; None looks for messages, prompt, instruction, question,
            turns.
        categories: keep the rows of these only; () keeps all.
        limit, offset: a window of the rows, taken last.
        digest: `prompts_identity` at planning time; puts a file's content into the stage id.
        carry: field of the rows <- column of the data set: {"answer": "expected_answer"}. Rows
            without one are left out. `responses` gathers the texts of all rows of a prompt.
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


def _expected(params: ImportPromptsParams) -> Estimate:
    if not official.is_official(params.ref):
        return costs.prompts(params)
    rows = max(0, official.count(params.ref, params.categories) - params.offset)
    return Estimate(rows=rows if params.limit is None else min(rows, params.limit))


@operation("import_prompts", version=1, params=ImportPromptsParams, estimate=_expected)
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
    rows = _carried(_of_categories(read_prompts(params), params), params)
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


def _of_categories(rows: list[Row], params: ImportPromptsParams) -> list[Row]:
    if not params.categories:
        return rows
    known = dict.fromkeys(str(row.get("category")) for row in rows)
    for name in params.categories:
        if name not in known:
            raise unknown(f"category in {params.ref}", name, known)
    return [row for row in rows if row.get("category") in params.categories]


def _carried(rows: list[Row], params: ImportPromptsParams) -> list[Row]:
    """The rows that have every carried column, with these under their new names."""
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


def prompts_identity(ref: str, revision: str | None = None) -> str:
    """What a prompt set is: a digest of its content, the nano world's version, or the reference.

    Raises:
        UserError: the reference leads nowhere.
    """
    if ref.startswith("nano:"):
        from harness.nano import world

        return f"{ref}@{world.VERSION}"
    if official.is_official(ref):
        return official.prompts_identity(ref)
    path = Path(ref).expanduser()
    if path.is_file():
        return file_digest(path)
    if _is_hub(ref):
        return f"hub:{ref}@{revision or 'main'}"
    raise _nowhere(ref)


def read_prompts(params: ImportPromptsParams) -> list[Row]:
    """All prompts of a reference, before the window; see `import_prompts` for the errors."""
    if params.ref.startswith("nano:"):
        return _nano(params.ref.removeprefix("nano:"), "answer" in params.carry.values())
    if official.is_official(params.ref):
        return official.prompts(params.ref)
    path = Path(params.ref).expanduser()
    if path.is_file():
        return _from_file(path, params.field)
    if _is_hub(params.ref):
        return _from_hub(params)
    raise _nowhere(params.ref)


def _is_hub(ref: str) -> bool:
    """Whether a reference that is no file reads like a hub id rather than a mistyped path."""
    return _HUB_ID.fullmatch(ref) is not None and not ref.endswith(FILES)


def _nowhere(ref: str) -> UserError:
    return UserError(
        f'no prompts "{ref}"; expected nano:<split>, official:<set>, a .jsonl or .json file (.gz), '
        "or a hub data set <org>/<name>"
    )


def _nano(split: str, answers: bool) -> list[Row]:
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
        if answers:
            row["answer"] = item.truths[0].main
        if item.cluster is not None:
            row["cluster"] = item.cluster
        rows.append(row)
    return rows


def _from_file(path: Path, field: str | None) -> list[Row]:
    if not path.name.endswith(FILES):
        raise BadData(f"{path}: expected a .jsonl or .json file, also with .gz")
    objects = read_objects(path)
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


def _row(item: Row, field: str | None, where: str) -> Row:
    """The prompt row of one object."""
    names = (field,) if field else ("messages", *FIELDS, "turns")
    name = next((name for name in names if name in item), None)
    if name is None:
        raise BadData(
            f"{where}: no {' or '.join(names)}; found {', '.join(sorted(item)) or 'none'}"
        )
    turns = _turns(item[name])
    messages = _messages(turns[0] if turns else item[name], f"{where}: {name}")
    rest = {key: value for key, value in item.items() if key not in {name, "id", "prompt_id"}}
    id = next((item[key] for key in IDS if item.get(key) is not None), None)
    row = {**rest, "id": str(digest(messages) if id is None else id), "messages": messages}
    return {**row, "turns": turns} if turns else row


def _turns(value: object) -> list[str] | None:
    """The user's turns, where a prompt is given as a list of texts."""
    if isinstance(value, list) and value and all(isinstance(turn, str) for turn in value):
        return list(value)
    return None


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
    for number, item in enumerate(load_dataset(params), 1):
        row = _row(dict(item), params.field, f"{params.ref} ({params.split}), row {number}")
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


def load_dataset(params: Any) -> Iterable[Any]:
    """Rows of a hub data set; `params` has ref, split and revision."""
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
