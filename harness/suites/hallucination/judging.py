"""Judges of this suite, asked by the operation `ask`: replies to values, settings and fingerprint.

The judge is a model reference ("openai:gpt-4", "nano:oracle", a checkpoint). Each question is one
`ask` stage; its rows keep the last reply, so that any reading of it needs no new call.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

from harness.backends.base import Sampling
from harness.backends.conversing import Turn
from harness.backends.prompting import Unreadable
from harness.core.hashing import digest
from harness.engine.operations import Row
from harness.engine.plan import Handle, StageMaker
from harness.models.references import model_identity
from harness.suites.hallucination import refusals, replies, replies_released
from harness.suites.hallucination.prompts import REPAIR, Question, prompt_hash
from harness.suites.hallucination.replies import Task, parse_reply
from harness.suites.hallucination.replies_released import parse_released

Parser = Literal["robust", "released"]
Grade = Literal["A", "B", "C"]
MAX_TOKENS = 1024
RETRIES = 1
_GRADE = re.compile(
    r"[\s#>*_`\"'(\[]*(?:(?:the\s+|my\s+|final\s+)*(?:grade|answer|verdict|label|result)\s*"
    r"(?:is\s*|[:=]\s*))?[\s*_`\"'(\[]*"
    r"(?:(?P<letter>[ABC])(?=[\s*_`\"')\].:,;-]*(?:$|\n)|[)\].:]|\s*[-:(]\s*\w)"
    r"|(?P<word>correct|incorrect|not[ _-]attempted)\b)",
    re.IGNORECASE,
)
_WORDS: dict[str, Grade] = {"correct": "A", "incorrect": "B", "not attempted": "C"}


def read_score(turn: Turn, row: Row, *, task: Task, parser: Parser = "robust") -> dict[str, Any]:
    """Reader of `ask` for hallucination and helpfulness: score, spans, explanation.

    With `released`, whatever the released parser makes of the reply, including -100.
    """
    if parser == "released":
        try:
            old = parse_released(turn.text, task)
        except ValueError:
            raise Unreadable("the released parser fails on this reply") from None
        if old.score != old.score or abs(old.score) == float("inf"):
            raise Unreadable("the released parser reads nan or infinity")
        return {"score": old.score}
    found = parse_reply(turn.text, task)
    if found.score is None:
        raise Unreadable(f"{found.status}: expected {_EXPECTED[task]} on the first line")
    value: dict[str, Any] = {"score": found.score, "explanation": found.explanation}
    if found.spans is not None:
        value |= {"spans": list(found.spans), "spans_ok": found.spans_ok}
    return value


_EXPECTED = {"hallucination": "0 or 1", "helpfulness": "a number from 1 to 10"}


def read_refusal(turn: Turn, row: Row) -> bool:
    """Reader of `ask`: whether the judge says that the answer declines to answer."""
    found = parse_reply(turn.text, "hallucination")
    if found.score is None:
        raise Unreadable(f"{found.status}: expected 1 or 0")
    return bool(found.score)


def read_grade(turn: Turn, row: Row, *, parser: Parser = "robust") -> Grade:
    """Reader of `ask`: SimpleQA's grade.

    With `released`, the first letter A, B or C anywhere in the reply, else C.
    """
    found = released_grade(turn.text) if parser == "released" else parse_grade(turn.text)
    if found is None:
        raise Unreadable("unparsed: expected A, B or C")
    return found


def parse_grade(text: str) -> Grade | None:
    """The grade at the beginning of a reply; None if there is none.

    >>> parse_grade("Grade: B"), parse_grade("NOT_ATTEMPTED"), parse_grade("A good answer")
    ('B', 'C', None)
    """
    found = _GRADE.match(text.replace("**", ""))
    if found is None:
        return None
    if found["letter"]:
        letter: Any = found["letter"].upper()
        return letter  # type: ignore[no-any-return]
    return _WORDS[re.sub(r"[_-]", " ", found["word"].lower())]


def released_grade(text: str) -> Grade:
    """As openai/simple-evals reads it."""
    found = re.search("[ABC]", text)
    letter: Any = found[0] if found else "C"
    return letter  # type: ignore[no-any-return]


# Question -> reader of its replies, in the catalogue's table READERS.
_READERS: dict[Question, str] = {
    "hallucination": "judge_score",
    "helpfulness": "judge_score",
    "refusal": "judge_refusal",
    "grade": "judge_grade",
}


def ask_judge(
    judge: Handle,
    rows: Handle,
    question: Question,
    stage: StageMaker,
    *,
    parser: Parser,
    max_tokens: int,
    batch_size: int,
) -> Handle:
    """The stage that adds the judge's outcome to answer rows, under the question's name."""
    settings: dict[str, Any] = {}
    if question in ("hallucination", "helpfulness"):
        settings["task"] = question
    if question != "refusal" and parser != "robust":
        settings["parser"] = parser
    return stage(
        "ask",
        rows=rows,
        model=judge,
        label=f"judge {question}",
        prompt=f"judge_{question}",
        reader=_READERS[question],
        reader_settings=settings,
        into=question,
        retries=RETRIES if parser == "robust" else 0,
        repair=REPAIR[question] if parser == "robust" else "",
        max_tokens=max_tokens,
        batch_size=batch_size,
    )


def judge_fingerprint(
    judge: str, questions: Sequence[Question], parser: Parser, max_tokens: int
) -> str:
    """Digest of the judge's model, prompts, parsers, decoding, and of the rules for refusals."""
    released = parser == "released"
    return digest(
        {
            "model": model_identity(judge),
            "prompts": {name: prompt_hash(name) for name in questions},
            "parser": replies_released.PARSER if released else replies.PARSER,
            "decode": Sampling(max_tokens=max_tokens).fingerprint,
            "retries": 0 if released else RETRIES,
            "refusals": refusals.VERSION,
        }
    )[:16]
