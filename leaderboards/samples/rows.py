"""Rows without a judge as samples: question, answer and result where they stand in known places.

Rows of task suites name their `task` and `filter`; a cell `task:metric[:filter]` gets the rows of
its task, and that of a group the rows of the group's tasks. Everything else of a row is shown as
it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from harness.data.prompts import prompt_text
from harness.engine.operations import Artifact, Row
from harness.judging.records import JudgedTurn
from leaderboards.samples.records import FAILED, UNKNOWN, Sample

_LABELS = ("category", "subcategory", "cluster", "dataset", "skill", "difficulty")
_TASK_LABELS = ("task", "filter")
KNOWN_LABELS = (*_LABELS, *_TASK_LABELS)
_IDS = ("id", "uid", "question_id", "doc_id")
_QUESTIONS = ("prompt", "question", "instruction", "input")
_ANSWERS = ("responses", "response", "answers", "answer", "output")
_RESULTS = ("score", "value", "correct", "acc", "exact_match", "acc_norm", "pass@1", "f1")
_NO_FILTER = "none"
_SHORT = 90  # longer values are laid out on several lines


def labels_of(row: Mapping[str, Any], names: Iterable[str] = _LABELS) -> dict[str, str]:
    """What a row says of itself that samples are filtered by."""
    return {name: str(row[name]) for name in names if row.get(name) is not None}


def outcomes_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """What was read from the replies of `ask`, by the name of the question; None where nothing was.

    An outcome that is a table counts by its score.
    """
    found = {}
    for name, outcome in row.items():
        if isinstance(outcome, dict) and {"value", "attempts"} <= outcome.keys():
            value = outcome["value"]
            found[name] = value.get("score") if isinstance(value, dict) else value
    return found


def samples_of_rows(artifact: Artifact, rows: Sequence[Row], metric: str) -> list[Sample]:
    """The rows behind a metric, or all of them."""
    name, _, rest = metric.partition(":")
    measure, _, chosen = rest.partition(":")
    tasks = _tasks(artifact, rows, name)
    if tasks:
        rows = [row for row in rows if row["task"] in tasks]
        filters = {row.get("filter") for row in rows}
        wanted = chosen or _NO_FILTER
        if wanted in filters:
            rows = [row for row in rows if row["filter"] == wanted]
    names = (measure, metric, *_RESULTS)
    return [_sample(row, number, names) for number, row in enumerate(rows)]


def _tasks(artifact: Artifact, rows: Sequence[Row], name: str) -> set[str]:
    """The tasks a cell is about: the one it names, or those of the group it names."""
    known = {row["task"] for row in rows if isinstance(row.get("task"), str)}
    if name in known or not known:
        return {name} & known
    if not (artifact.path / "results.json").is_file():
        return set()
    group = (artifact.read_json("results.json").get("groups") or {}).get(name) or {}
    return set(group.get("children") or ()) & known


def _sample(row: Row, number: int, measures: Iterable[str]) -> Sample:
    id = next((str(row[key]) for key in _IDS if row.get(key) is not None), str(number))
    asked, question = _text_of(row, _QUESTIONS)
    answered, answer = _text_of(row, _ANSWERS)
    if question is None and isinstance(row.get("messages"), list) and row["messages"]:
        asked, question = "messages", prompt_text(row["messages"])
    judged = outcomes_of(row)
    value = _result(row, measures)
    outcome = UNKNOWN if value is None else {1.0: "right", 0.0: "wrong"}.get(value, UNKNOWN)
    rendered = row.get("rendered")
    told = {"id", *_LABELS, *_TASK_LABELS, *([asked, answered] if question is not None else [])}
    if isinstance(rendered, str):
        told.add("rendered")
    return Sample(
        id=id,
        outcome=FAILED if row.get("error") else outcome,
        value=_result(judged, measures) if value is None else value,
        turns=() if question is None else (JudgedTurn(question, answer),),
        labels=labels_of(row, (*_TASK_LABELS, *_LABELS))
        | {name: UNKNOWN if said is None else _label(said) for name, said in judged.items()},
        rendered=rendered if isinstance(rendered, str) else "",
        fields={str(name): _shown(item) for name, item in row.items() if name not in told},
    )


def _text_of(row: Row, names: Iterable[str]) -> tuple[str, str | None]:
    """The first of the named places that holds a text, and the text."""
    for name in names:
        value = row.get(name)
        while isinstance(value, list) and len(value) == 1:
            value = value[0]
        if isinstance(value, str):
            return name, value
    return "", None


def _result(row: Mapping[str, Any], measures: Iterable[str]) -> float | None:
    places: list[Mapping[str, Any]] = [row]
    if isinstance(row.get("metrics"), dict):
        places.insert(0, row["metrics"])
    for name in measures:
        for place in places:
            value = place.get(name)
            if isinstance(value, bool | int | float):
                return float(value)
    return None


def _label(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else _shown(value)


def _shown(value: object) -> str:
    """Text as it is; anything else as JSON, long lists and tables with a line an item."""
    if isinstance(value, str):
        return value
    line = json.dumps(value, ensure_ascii=False)
    if len(line) <= _SHORT:
        return line
    if isinstance(value, list):
        items = ",\n ".join(json.dumps(item, ensure_ascii=False) for item in value)
        return f"[{items}]"
    return json.dumps(value, ensure_ascii=False, indent=1)
