"""Verdicts on hallucination for `crucible judge-agreement`: a judge's, and labels made by people.

judged    rows of this suite: `hallucination` is an outcome of `ask`
labelled  rows with an answer and a label: HaluEval's general_data.json, or `response` and `label`
"""

from __future__ import annotations

from collections.abc import Iterator

from harness.core.hashing import digest
from harness.data.forms import instruction_id
from harness.data.prompts import prompt_text
from harness.engine.operations import Row
from harness.judging.verdict_sets import JudgedItem, JudgmentForm
from harness.suites.hallucination.agreement import ANSWERS, LABELS, labelled
from harness.suites.hallucination.metrics import read_answer
from harness.suites.hallucination.prompts import answer_of

SUITE = "hallucination"
_QUESTIONS = ("user_query", "question", "prompt", "instruction")


def _is_judged(row: Row) -> bool:
    outcome = row.get("hallucination")
    return isinstance(outcome, dict) and "attempts" in outcome


def _judged(row: Row) -> Iterator[JudgedItem]:
    score = read_answer(row).judged
    yield JudgedItem(
        prompt=str(row["id"]),
        system=str(row.get("system") or ""),
        value=None if score is None else float(score >= 0.5),
        text=instruction_id(prompt_text(row["messages"])),
        answers=digest(answer_of(row)),
    )


def _is_labelled(row: Row) -> bool:
    return any(name in row for name in ANSWERS) and any(name in row for name in LABELS)


def _labelled(row: Row) -> Iterator[JudgedItem]:
    asked = next((str(row[name]) for name in _QUESTIONS if isinstance(row.get(name), str)), None)
    if asked is None:
        asked = prompt_text(row["messages"])
    # Without an id, or with one that repeats, rows are joined by the text of the question.
    made = labelled({**row, "id": row.get("id") or instruction_id(asked)})
    yield JudgedItem(
        prompt=str(made["id"]),
        system=str(row.get("system") or ""),
        value=float(made["label"]),
        text=instruction_id(asked),
        answers=digest(made["responses"][0]),
    )


JUDGED = JudgmentForm(SUITE, "binary", _is_judged, _judged)
LABELLED = JudgmentForm(SUITE, "binary", _is_labelled, _labelled)
