"""Rows of question sets: a question with what a judge of its answers may know.

    {"id", "messages", "references": [...], "knowledge", "analysis", "class", ...}

`knowledge` and `analysis` are "" and `class` is absent where a set has none; other columns are
kept. The columns of foreign files are found by their usual names, or named by `columns`.
"""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from harness.core.errors import BadData, unknown
from harness.core.hashing import text_digest
from harness.data.forms import Row

Knowledge = Literal["no_need_fact", "need_and_have_fact", "need_and_have_no_fact"]
CLASSES: tuple[Knowledge, ...] = get_args(Knowledge)
# What a row has -> usual names of the column, best first; upper and lower case are the same.
COLUMNS: dict[str, tuple[str, ...]] = {
    "question": (
        "messages", "conversations", "instruction", "prompt", "question", "turns", "query",
        "problem", "user_query", "input",
    ),
    "references": (
        "references", "reference_answers", "answers", "reference", "answer", "best_answer",
        "right_answer", "output",
    ),
    "knowledge": ("knowledge", "context"),
    "analysis": ("analysis",),
    "class": ("class",),
    "id": ("id", "prompt_id", "question_id", "uid", "idx", "encounter_id"),
}  # fmt: skip
_ROLES = {"human": "user", "gpt": "assistant", "user": "user", "assistant": "assistant"}
_ROLES["system"] = "system"


@dataclass(frozen=True)
class QuestionSet:
    """Rows of a set, and what was left out of it.

    Attributes:
        dropped: reason -> number of rows without a usable question.
        repeated: number of rows whose question occurs before them.
    """

    rows: list[Row]
    dropped: Mapping[str, int] = field(default_factory=dict)
    repeated: int = 0

    @classmethod
    def of(cls, rows: list[Row], dropped: Mapping[str, int] | None = None) -> QuestionSet:
        """A set whose repeated questions are counted."""
        return cls(rows, dropped or {}, len(rows) - len({_folded(row) for row in rows}))

    def without_repeats(self) -> QuestionSet:
        """The set with each question once, compared without case, blanks and character forms."""
        first = {_folded(row): row for row in reversed(self.rows)}
        kept = [row for row in self.rows if first[_folded(row)] is row]
        dropped = {**self.dropped, "repeated question": len(self.rows) - len(kept)}
        return QuestionSet(kept, {k: n for k, n in dropped.items() if n}, self.repeated)


def question_rows(
    objects: Sequence[Mapping[str, Any]],
    where: str,
    columns: Mapping[str, str] | None = None,
    name: str = "set",
) -> QuestionSet:
    """A question set from the rows of a file or of a data set.

    Args:
        where: path or name of the data set, for messages.
        columns: key of `COLUMNS` -> name of the column in the file.
        name: of the set; ids of rows without an id are made of it and of the question's digest.

    Raises:
        BadData: no column with questions, a question of an unknown form, a repeated id, or a
            `class` that is none of `CLASSES` in a column that `columns` names.
    """
    if not objects:
        raise BadData(f"{where}: no rows; expected one question per row")
    found = _columns(objects, columns or {}, where)
    dropped: Counter[str] = Counter()
    rows: list[Row] = []
    for number, item in enumerate(objects, 1):
        row = _row(item, found, f"{where}, row {number}", strict="class" in (columns or {}))
        if row is None:
            dropped["no question"] += 1
        else:
            rows.append(row)
    if not rows:
        raise BadData(f"{where}: none of {len(objects)} rows has a question")
    released = found["question"].lower() == "conversations"  # ids there are counters per list
    _name_rows(rows, where, name, given="id" in found and not released)
    return QuestionSet.of(rows, dict(dropped))


def _columns(
    objects: Sequence[Mapping[str, Any]], given: Mapping[str, str], where: str
) -> dict[str, str]:
    names = dict.fromkeys(name for item in objects for name in item)
    for place, name in given.items():
        if place not in COLUMNS:
            raise unknown("column of question sets", place, COLUMNS)
        if name not in names:
            raise unknown(f"column in {where}", name, names)
    lower = {str(name).lower().replace(" ", "_"): name for name in names}
    usual = {
        place: next((lower[name] for name in known if name in lower), None)
        for place, known in COLUMNS.items()
    }
    found = {place: name for place, name in usual.items() if name is not None} | dict(given)
    if "question" not in found:
        raise BadData(
            f"{where}: no column with questions; found {', '.join(map(str, names))}; name it: "
            'columns = {question = "..."}'
        )
    return found


def _row(item: Mapping[str, Any], found: Mapping[str, str], where: str, strict: bool) -> Row | None:
    """One row, with `id` as found; None without a question."""
    given = {place: item.get(name) for place, name in found.items()}
    messages = _messages(given["question"], f"{where}: {found['question']}")
    if not messages or not messages[-1]["content"].strip():
        return None
    used = set(found.values())
    row: Row = {key: value for key, value in item.items() if key not in used and key != "system"}
    row |= {"id": given.get("id"), "messages": messages}
    row["references"] = _texts(given.get("references"))
    row["knowledge"] = "\n".join(_texts(given.get("knowledge")))
    row["analysis"] = "\n".join(_texts(given.get("analysis")))
    label = given.get("class")
    if label in CLASSES:
        row["class"] = label
    elif strict and not _is_missing(label):
        raise BadData(f"{where}: class is {label!r:.40}; expected {', '.join(CLASSES)} or nothing")
    return row


def _messages(value: Any, where: str) -> list[dict[str, str]]:
    """Messages up to the last question; [] without one."""
    if _is_missing(value):
        return []
    if isinstance(value, str):
        return [{"role": "user", "content": value}]
    if isinstance(value, list) and value and all(isinstance(turn, str) for turn in value):
        return [{"role": "user", "content": value[0]}]  # later turns depend on answers
    said = []
    for turn in value if isinstance(value, list) else [value]:
        turn = turn if isinstance(turn, dict) else {}
        role = _ROLES.get(str(turn.get("role", turn.get("from"))))
        text = turn.get("content", turn.get("value"))
        if role is None or not isinstance(text, str):
            raise BadData(
                f"{where}: found {json.dumps(value, ensure_ascii=False, default=str)[:60]}; "
                "expected a text, a list of turns, or messages with role and content"
            )
        said.append({"role": role, "content": text})
    while said and said[-1]["role"] != "user":
        said.pop()
    return said


def _texts(value: Any) -> list[str]:
    """Texts from a text, a list, or a list written as JSON; blank ones are left out."""
    if _is_missing(value):
        return []
    if isinstance(value, str) and value.lstrip().startswith("["):
        with suppress(ValueError, RecursionError):
            value = json.loads(value)
    listed = value if isinstance(value, list | tuple) else [value]
    return [str(text) for text in listed if not _is_missing(text) and str(text).strip()]


def _is_missing(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, float) and value != value)


def _name_rows(rows: Sequence[Row], where: str, name: str, given: bool) -> None:
    """Unique ids: the given ones, else name and digest of the question, numbered if repeated."""
    seen: dict[str, int] = {}
    times: Counter[str] = Counter()
    for number, row in enumerate(rows, 1):
        known = not _is_missing(row["id"])
        if not given or not known:
            source = {"source_id": row["id"]} if known else {}
            id = f"{name}-{text_digest(_asked(row))[:16]}"
            times[id] += 1
            row |= {**source, "id": f"{id}-{times[id]}" if times[id] > 1 else id}
            continue
        row["id"] = str(row["id"])
        if row["id"] in seen:
            raise BadData(
                f'{where}: rows {seen[row["id"]]} and {number} both have the id "{row["id"]}"; '
                "expected unique ids"
            )
        seen[row["id"]] = number


def _asked(row: Row) -> str:
    return "\n\n".join(message["content"] for message in row["messages"])


def _folded(row: Row) -> str:
    return " ".join(unicodedata.normalize("NFKC", _asked(row)).casefold().split())
