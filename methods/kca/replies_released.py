"""Stored replies of the released code as instances: the operation `import_kca_replies`.

The released files (Wanfq/KCA_data, data/generation_results) nest a row in every stage:

    classified  {"raw_response", "original_input": {"input", "output"}, "analysis"?, ...}
    examined    {"raw_response", "original_input": {"knowledge", "original_input": {"input", ...}}}

Replies are parsed again where they are stored, by either parser; a row without its reply is taken
as it was parsed. The two files are joined by instruction and response, in order where these repeat.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from harness.backends.asking import NOTHING_ASKED
from harness.backends.conversing import Turn
from harness.backends.prompting import Unreadable
from harness.core.errors import BadData, UserError, check_planned
from harness.core.hashing import digest
from harness.core.records import Record
from harness.data.sources import file_identity
from harness.engine.io import iterate_objects, write_json, write_rows
from harness.engine.operations import Context, Estimate, Row, operation
from methods.kca.instructions import numbered
from methods.kca.prompts import ParserMode, read_exam, read_requirement

_FINISH = {"length": "length", "content_filter": "content_filter"}


class RepliesParams(Record):
    """Files of the released code and how their replies are read.

    Attributes:
        files: `replies_identity` at planning time; makes the content part of the stage id.
    """

    classified: str
    examined: str
    parser: ParserMode = "robust"
    max_questions: int = Field(default=3, ge=1)
    limit: int | None = Field(default=None, ge=1)
    files: str = ""


def replies_identity(classified: str, examined: str) -> str:
    """Digest of the contents of both files.

    Raises:
        UserError: a file does not exist.
    """
    for path in (classified, examined):
        if not Path(path).expanduser().is_file():
            raise UserError(f'no stored replies "{path}"; expected a .json or .jsonl file')
    return digest([file_identity(classified), file_identity(examined)])


def _expected(params: RepliesParams) -> Estimate:
    return Estimate(rows=params.limit)


@operation("import_kca_replies", version=1, params=RepliesParams, estimate=_expected)
def import_kca_replies(context: Context, params: RepliesParams) -> None:
    """Write instances as the helper's stages would, and joined.json with what found no partner.

    Raises:
        BadData: a row has not the released form.
        UserError: a file cannot be read.
    """
    found = replies_identity(params.classified, params.examined)
    check_planned("stored replies", found, params.files or None)
    classified = list(iterate_objects(Path(params.classified).expanduser()))[: params.limit]
    examined: dict[str, deque[Row]] = {}
    for number, item in enumerate(iterate_objects(Path(params.examined).expanduser()), 1):
        where = f"{params.examined}, row {number}"
        inner = _nested(_nested(item, where), where)
        examined.setdefault(_key(inner, where), deque()).append(item)
    rows = []
    for number, item in enumerate(classified, 1):
        where = f"{params.classified}, row {number}"
        asked = _nested(item, where)
        key = _key(asked, where)
        waiting = examined.get(key)
        exam = waiting.popleft() if waiting and _needs(item, params) else None
        rows.append(_instance(key, asked, item, exam, params))
    left = sum(len(waiting) for waiting in examined.values())
    rows, repeated = numbered(rows)
    write_json(context.directory / "joined.json", {"unmatched_exams": left, "repeated": repeated})
    write_rows(context.directory / "rows.jsonl", rows)
    context.progress(len(rows), len(rows))


def _nested(item: Mapping[str, Any], where: str) -> Row:
    found = item.get("original_input")
    if not isinstance(found, dict):
        raise BadData(f'{where}: expected an object "original_input"; found {found!r:.60}')
    return found


def _key(asked: Mapping[str, Any], where: str) -> str:
    texts = asked.get("input"), asked.get("output")
    if not all(isinstance(text, str) for text in texts):
        raise BadData(f'{where}: expected texts "input" and "output"; found {sorted(asked)}')
    return digest([[{"role": "user", "content": texts[0]}], texts[1]])


def _needs(item: Row, params: RepliesParams) -> bool:
    value = _requirement(item, params)["value"]
    return value is not None and bool(value["need"])


def _requirement(item: Row, params: RepliesParams) -> Row:
    if "raw_response" in item:
        return _outcome(item, lambda turn: read_requirement(turn, {}, parser=params.parser))
    tag = item.get("final_prediction")
    if tag not in ("<need>", "<no need>"):
        return {**NOTHING_ASKED, "attempts": 1, "failure": "the released file has no prediction"}
    value = {
        "need": tag == "<need>",
        "analysis": item.get("analysis") or "",
        "queries": item.get("queris") or "",
    }
    return {**NOTHING_ASKED, "value": value, "failure": None}


def _exam(item: Row, params: RepliesParams) -> Row:
    if item.get("raw_response") or "tests" not in item:
        parser, most = params.parser, params.max_questions
        return _outcome(item, lambda turn: read_exam(turn, {}, parser=parser, max_questions=most))
    tests = [test for test in item["tests"] if test]
    if not tests:
        return {
            **NOTHING_ASKED,
            "attempts": 1,
            "failure": "the released file has no valid question",
        }
    return {**NOTHING_ASKED, "value": {"tests": tests, "rejects": []}, "failure": None}


def _outcome(item: Row, read: Callable[[Turn], Any]) -> Row:
    """What `ask` would store of a reply, without another attempt."""
    text = item["raw_response"] if isinstance(item.get("raw_response"), str) else ""
    turn = Turn(text=text, finish=_FINISH.get(str(item.get("stop_reason")), "stop"))
    found: Row = {"value": None, "reply": text, "finish": turn.finish, "attempts": 1}
    try:
        return {**found, "value": read(turn), "failure": None}
    except Unreadable as problem:
        return {**found, "failure": str(problem)}


def _instance(key: str, asked: Row, item: Row, exam: Row | None, params: RepliesParams) -> Row:
    knowledge = None if exam is None else str(exam["original_input"].get("knowledge") or "").strip()
    return {
        "id": key,
        "messages": [{"role": "user", "content": asked["input"]}],
        "response": asked["output"],
        "requirement": _requirement(item, params),
        "knowledge": {**NOTHING_ASKED, "value": knowledge, "failure": None}
        if knowledge is not None
        else NOTHING_ASKED,
        "exam": NOTHING_ASKED if exam is None else _exam(exam, params),
    }
