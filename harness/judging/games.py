"""What a judgment row says: the prompt, the answers as the judge read them, and its games."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.core.errors import BadData
from harness.data.prompts import prompt_text
from harness.engine.operations import Artifact, Row
from harness.judging.judge import Judge, Judgment

# What a prompt row says of itself that scores and boards group by.
_KEPT = (
    "category",
    "subcategory",
    "cluster",
    "dataset",
    "skill",
    "difficulty",
    "instruction_difficulty",
)
NO_ANSWER = "no answer was generated"


class Baseline:
    """The answers of the other side, by prompt id; the prompt must be the same text."""

    def __init__(self, artifact: Artifact) -> None:
        self.id = artifact.id
        self.rows = {row["id"]: row for row in artifact.rows()}

    def _row(self, row: Row) -> Row:
        other = self.rows.get(row["id"])
        if other is None:
            raise BadData(f'baseline {self.id[:8]} has no answer to prompt "{row["id"]}"')
        if _first_question(other) != _first_question(row):
            raise BadData(f'baseline {self.id[:8]} answers another prompt under "{row["id"]}"')
        return other

    def answer(self, row: Row) -> str:
        answer = answer_of(self._row(row))
        if answer is None:
            raise BadData(f'baseline {self.id[:8]} has an empty row for prompt "{row["id"]}"')
        return answer

    def dialogue(self, row: Row) -> list[str]:
        other = self._row(row)
        said = other.get("answers") or texts(dialogue_of(other)[1])
        if len(said) < len(dialogue_of(row)[0]):
            raise BadData(f'baseline {self.id[:8]} answers fewer turns than "{row["id"]}" has')
        return list(said)


def _first_question(row: Row) -> str:
    return next(m["content"] for m in row["messages"] if m["role"] == "user")


def answer_of(row: Row) -> str | None:
    """The first response; "" is an answer, no response is none."""
    return row["responses"][0] if row.get("responses") else None


def dialogue_of(row: Row) -> tuple[list[str], list[str | None]]:
    """Questions and answers of a response row, earlier turns taken from its messages."""
    asked = [m["content"] for m in row["messages"] if m["role"] == "user"]
    if row.get("first_error"):  # see `follow_up`
        return asked, [None] * len(asked)
    said: list[str | None] = [m["content"] for m in row["messages"] if m["role"] == "assistant"]
    return asked, [*said, answer_of(row)]


def texts(answers: Sequence[str | None]) -> list[str]:
    return [answer or "" for answer in answers]


def references_by_id(artifact: Artifact | None) -> dict[str, list[str]]:
    if artifact is None:
        return {}
    return {row["id"]: row["answers"] for row in artifact.rows() if row["answers"]}


def described(row: Row) -> Row:
    kept = {key: row[key] for key in _KEPT if row.get(key) is not None}
    return {"id": row["id"], "system": row.get("system", ""), **kept}


def seen_row(row: Row, model: str | None, other: str, judge: Judge) -> Row:
    prompt = prompt_text(row["messages"])
    return {
        **described(row),
        **suspicion_of(judge, [model]),
        "prompt": prompt,
        "answers": {"model": model, "baseline": other},
    }


def suspicion_of(judge: Judge, answers: Sequence[str | None]) -> Row:
    """Why an answer of the system looks like an attack on the judge's prompt, where it does."""
    for answer in answers:
        reason = judge.protocol.suspicion(answer) if answer else None
        if reason:
            return {"suspicious": reason}
    return {}


def game_of(judgment: Judgment | None, row: Row) -> dict[str, Any]:
    """What is stored of one question; without a judgment there was no answer to judge."""
    if judgment is None:
        error = row.get("first_error") or row.get("error")
        reason = f"{NO_ANSWER}: {error}" if error else NO_ANSWER
        return {"reply": "", "verdict": None, "attempts": 0, "failure": reason}
    return judgment.row()


def two_games(
    id: str, row: Row, judged: dict[str, Judgment], first: tuple[str, str]
) -> list[dict[str, Any]]:
    return [
        {"first": shown, **game_of(judged.get(f"{id}/{number}"), row)}
        for number, shown in enumerate(first)
    ]
