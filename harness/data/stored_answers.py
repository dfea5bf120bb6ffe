"""A file of stored answers: its records, and the record that answers a prompt.

A record is joined to a prompt by an id (`question_id`, `uid`, `prompt_id`, `id`), by the digest of
its instruction, or by the text of its prompt (`instruction`, `prompt`, `question`, or the user
turns of `messages`); never by position. Blanks at the ends of lines do not count in texts.

Refused, with the numbers of both records: two answers to one prompt, and an id under which the file
and the suite have different prompts. An answer that is null or a failure marker such as `$ERROR$`
is no answer.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.core.errors import BadData
from harness.data.forms import instruction_id
from harness.data.prompts import FIELDS, prompt_text
from harness.engine.io import iterate_objects

TEXT_DIGEST = "instruction_sha256_16"
# Most specific first: an `id` may be a running number beside a `question_id`.
_IDS = ("question_id", "uid", "prompt_id", TEXT_DIGEST, "id")
# The whole answer of a tool that could not get one. "$A$" is mathematics.
_FAILURE = "(?:ERROR|FAILED|FAILURE|EXCEPTION|TIMEOUT|MODERATION)"
_MARKER = re.compile(
    rf"\s*(?:\$[A-Z_ ]*{_FAILURE}[A-Z_ ]*\$[A-Z .]*"
    rf"|[#<\[{{|]+[A-Z_ ]*{_FAILURE}[A-Z_ ]*[#>\]}}|]+"
    r"|\*\*NETWORK ERROR [A-Z .]*\*\*)\s*"
)
_TYPES = {bool: "true or false", int: "a number", float: "a number", dict: "an object"}
_WRITERS = ("generator", "model_id", "model")


@dataclass(frozen=True)
class StoredRecord:
    """One record of a file.

    Attributes:
        number: its place in the file, from 1.
        ids: kind of id -> id.
        texts: of the prompt: its first turn, and the whole of it.
        answers: by turn; None where there is none.
        lacks: reason for each turn without an answer.
        oddities: accepted forms of answers that are worth a word, for counts.
        writer: model that it names as its writer.
    """

    number: int
    ids: Mapping[str, str]
    texts: tuple[str, ...]
    answers: tuple[str | None, ...]
    lacks: Mapping[int, str] = field(default_factory=dict)
    oddities: tuple[str, ...] = ()
    writer: str = ""

    def lack(self, turn: int) -> str:
        """Why there is no answer to this turn, from 0."""
        return self.lacks.get(turn, f"the stored output has {len(self.answers)} turns")


class StoredAnswers:
    """The records of a file, found by id or by text.

    Attributes:
        counts: oddities of the file -> number of records.

    Raises:
        BadData: a record has no known form, or two records answer one prompt differently; with
            their numbers.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self.records = 0
        self.counts: Counter[str] = Counter()
        self._writers: set[str] = set()
        self._by_id: dict[tuple[str, str], StoredRecord] = {}
        self._by_text: dict[str, list[StoredRecord]] = {}
        for number, stored in enumerate(iterate_objects(Path(source).expanduser()), 1):
            self._add(_record(stored, number, source))

    def _add(self, record: StoredRecord) -> None:
        self.records = record.number
        self._writers.add(record.writer)
        self.counts.update(set(record.oddities))
        repeated = False
        for key in record.ids.items():
            known = self._by_id.setdefault(key, record)
            if known is not record:
                self._check_equal(known, record, f'{key[0]} "{key[1]}"')
                repeated = True
        for text in {*record.texts, *map(plain, record.texts)}:
            others = self._by_text.setdefault(text, [])
            if others and not record.ids and not others[0].ids:
                self._check_equal(others[0], record, f"the prompt {text[:60]!r}")
                repeated = True
            others.append(record)
        self.counts["repeated"] += repeated

    def _check_equal(self, one: StoredRecord, other: StoredRecord, what: str) -> None:
        if one.answers != other.answers:
            writers = sorted({one.writer, other.writer} - {""})
            names = f" (of {' and '.join(writers)})" if len(writers) > 1 else ""
            raise BadData(
                f"{self.source}: records {one.number} and {other.number} have different answers to "
                f"{what}{names}; expected one: keep the answers of one model, once each"
            )

    def record(self, ids: Sequence[str], text: str) -> StoredRecord | None:
        """The record that answers the prompt with one of these ids or with this first turn.

        Raises:
            BadData: the record under this id has another prompt, or several records with this text
                have different answers.
        """
        for kind in _IDS:
            wanted = [instruction_id(text)] if kind == TEXT_DIGEST else ids
            for id in wanted:
                found = self._by_id.get((kind, id))
                if found is not None:
                    self._check_prompt(found, f'{kind} "{id}"', text)
                    return found
        # A digest may also be the id of the prompt, and an id of the file the prompt's digest.
        found = next((r for key in [*ids] if (r := self._by_id.get((TEXT_DIGEST, key)))), None)
        found = found or self._by_id.get(("id", instruction_id(text)))
        if found is not None:
            return found
        for form in (text, plain(text)):
            if candidates := self._by_text.get(form):
                for other in candidates[1:]:
                    self._check_equal(candidates[0], other, f"the prompt {text[:60]!r}")
                return candidates[0]
        return None

    @property
    def writer(self) -> str:
        """The model that all records name as their `generator`, `model_id` or `model`, else ""."""
        name = next(iter(self._writers)).strip() if len(self._writers) == 1 else ""
        return name if len(name) <= 100 and "\n" not in name else ""

    def find(self, ids: Sequence[str], text: str) -> list[str]:
        """Answers by turn up to the first that is lacking; [] if there is none."""
        found = self.record(ids, text)
        answers: list[str] = []
        for answer in found.answers if found is not None else ():
            if answer is None:
                break
            answers.append(answer)
        return answers

    def _check_prompt(self, record: StoredRecord, what: str, text: str) -> None:
        """Refuse a record whose own prompt is another one; a template around it is none."""
        wanted = plain(text)
        if not record.texts or any(
            wanted in own or (own and own in wanted) for own in map(plain, record.texts)
        ):
            return
        raise BadData(
            f"{self.source}, record {record.number}: the prompt of {what} is "
            f"{record.texts[0][:60]!r} in the file and {text[:60]!r} in the suite; expected "
            "answers to the suite's prompts (without ids they are joined by their text)"
        )


def plain(text: str) -> str:
    """A prompt's text for comparison: without blanks at ends of lines, in one Unicode form."""
    lines = unicodedata.normalize("NFC", text).splitlines()
    return "\n".join(line.rstrip() for line in lines).strip()


class _Unusable(Exception):
    """An answer of an unknown form; the message says what was found."""


def _record(stored: Mapping[str, Any], number: int, source: str) -> StoredRecord:
    try:
        found = _answers(stored)
    except _Unusable as problem:
        raise BadData(f"{source}, record {number}: {problem}") from None
    except (AttributeError, KeyError, IndexError, TypeError):
        raise BadData(
            f"{source}, record {number}: no answer in ({', '.join(sorted(stored))}); expected "
            "output, messages, choices, answers or responses"
        ) from None
    answers, lacks, oddities = [], {}, []
    for turn, value in enumerate(found):
        text, lack, oddity = _said(value, source, number)
        answers.append(text)
        if lack:
            lacks[turn] = lack
        oddities += [oddity] if oddity else []
    writer = next((stored[key] for key in _WRITERS if isinstance(stored.get(key), str)), "")
    return StoredRecord(
        number, _ids(stored), _texts(stored), tuple(answers), lacks, tuple(oddities), writer
    )


def _ids(stored: Mapping[str, Any]) -> dict[str, str]:
    return {
        key: str(stored[key])
        for key in _IDS
        if isinstance(stored.get(key), str | int) and not isinstance(stored[key], bool)
    }


def _texts(stored: Mapping[str, Any]) -> tuple[str, ...]:
    """Texts of the prompt: as one text, and the first user turn."""
    found: list[str] = []
    for key in (*FIELDS, "messages"):
        value = stored.get(key)
        if isinstance(value, str):
            found.append(value)
        elif isinstance(value, list) and value and all(isinstance(turn, dict) for turn in value):
            turns = [{**turn, "content": _content(turn.get("content"))} for turn in value]
            asked = [turn["content"] for turn in turns if turn.get("role") == "user"]
            while turns and turns[-1].get("role") == "assistant":
                turns.pop()
            found += asked[:1]
            found += [prompt_text(turns)] if turns and all("role" in t for t in turns) else []
    return tuple(dict.fromkeys(text for text in found if text))


def _content(value: Any) -> str:
    if isinstance(value, list):
        return "".join(str(part.get("text") or "") for part in value if isinstance(part, dict))
    return value if isinstance(value, str) else ""


def _answers(stored: Mapping[str, Any]) -> list[Any]:
    """Answers of a record by turn, as they are written."""
    if "output" in stored:
        return [stored["output"]]
    if "choices" in stored:
        return list(stored["choices"][0]["turns"])
    if "answers" in stored:
        return _listed(stored["answers"])
    if "responses" in stored:
        return _listed(stored["responses"])[:1]
    return [turn["content"] for turn in stored["messages"] if turn["role"] == "assistant"]


def _listed(value: Any) -> list[Any]:
    if value is None:
        return [None]
    if isinstance(value, str):
        return [value]
    return list(value)


def _said(value: Any, source: str, number: int) -> tuple[str | None, str, str]:
    """Text of one answer, or else why there is none; and what is odd about it."""
    try:
        text, oddity = _text(value)
    except _Unusable as problem:
        raise BadData(f"{source}, record {number}: {problem}") from None
    if text is None:
        return None, "the stored output is null", "null"
    marker = _MARKER.fullmatch(text)
    if marker is not None:
        return None, f"the stored output is {text.strip()[:24]}", "failure marker"
    return text, "", oddity


def _text(value: Any) -> tuple[str | None, str]:
    if isinstance(value, str):
        return value, ""
    if value is None or value == [] or (isinstance(value, float) and math.isnan(value)):
        return None, ""
    if isinstance(value, dict):
        for key in ("answer", "text", "content"):
            if key in value:
                return _text(value[key])
    if isinstance(value, list) and all(isinstance(part, dict) for part in value):
        return _parts(value), "content parts"
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return value[0], "list (the first text is taken)"
    shown = _TYPES.get(type(value), "a list of several kinds")
    raise _Unusable(f"the output is {str(value)[:40]!r}, {shown}; expected text")


def _parts(parts: Sequence[Mapping[str, Any]]) -> str | None:
    """The text of content parts; thoughts are none of it."""
    texts = []
    for part in parts:
        if part.get("type") in ("thinking", "reasoning", "redacted_thinking"):
            continue
        text = part.get("text", part.get("content"))
        if not isinstance(text, str):
            raise _Unusable(f"an output has a part of type {part.get('type')!r}; expected text")
        texts.append(text)
    return "".join(texts) if texts else None
