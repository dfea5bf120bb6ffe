"""What the oracle replies to the judge frames of the hallucination suite.

A question of the nano world has one truth, so that wrong words can be named. A question outside it
has none: the reply is an error, or, with `unknown = "generic"`, names as wrong what looks like a
fact (a number, a capitalised word inside a sentence) and is in none of the quoted texts. That tests
the code path only. `judge_error` turns this share of the verdicts on hallucination into their
opposite, chosen by the quoted texts and the seed.
"""

from __future__ import annotations

import json
import random
import re
from typing import Protocol

from harness.core.hashing import seed_from
from harness.judging.frames import Frame
from harness.nano import knowledge, world
from harness.nano.knowledge import Truth

KINDS = ("hallucination", "helpfulness", "refusal", "grade")
_FACTLIKE = re.compile(r"(?<=[a-z,;] )[A-Z][\w-]+|\d[\d.,]*\d|\d")
_DECLINES = re.compile(
    r"\b(?:don.t know|do not know|not sure|cannot|can.t|unable|not able|rather not)\b",
    re.IGNORECASE,
)


class Settings(Protocol):
    """The part of the oracle's settings that is used here."""

    @property
    def unknown(self) -> str: ...
    @property
    def judge_error(self) -> float: ...
    @property
    def seed(self) -> int: ...


def reply(settings: Settings, frame: Frame) -> str:
    """The oracle's reply to one of `KINDS`.

    Raises:
        LookupError: the question is outside the world and `unknown` is "fail".
    """
    question, answer = frame.sections["question"], frame.sections["answer"]
    truth = knowledge.find(question)
    if truth is None and settings.unknown == "fail":
        raise LookupError(f"the nano world does not know the question {question[:60]!r}")
    if frame.kind == "hallucination":
        return _hallucination(settings, truth, frame)
    if frame.kind == "helpfulness":
        points = _points(truth, answer)
        return f"{points:g}\nThe answer gets {points:g} of 10 points."
    if frame.kind == "refusal":
        claims = _DECLINES.search(answer) is None
        return str(int(not (claims if truth is None else knowledge.is_claim(truth, answer))))
    return _grade(truth, answer, frame.sections["reference"])


def _hallucination(settings: Settings, truth: Truth | None, frame: Frame) -> str:
    answer = frame.sections["answer"]
    spans = _unsupported(frame) if truth is None else knowledge.wrong_spans(truth, answer)
    draw = random.Random(seed_from(settings.seed, "judge error", *frame.sections.values())).random()
    if draw < settings.judge_error:
        spans = [] if spans else answer.split()[:1]
    said = f"Wrong or made up: {', '.join(spans)}." if spans else "Nothing in it is wrong."
    return f"{int(bool(spans))}\n{json.dumps(spans, ensure_ascii=False)}\n{said}"


def _unsupported(frame: Frame) -> list[str]:
    """What looks like a fact in the answer and is in no other quoted text."""
    others = " ".join(text for name, text in frame.sections.items() if name != "answer").lower()
    found = _FACTLIKE.findall(frame.sections["answer"])
    return list(dict.fromkeys(text for text in found if text.lower() not in others))[:20]


def _points(truth: Truth | None, answer: str) -> float:
    if truth is None:
        return 3.0 + 4.0 * min(1.0, len(answer.strip()) / 400)
    if truth.item is not None:
        return round(2 * (1 + 9 * world.grade(truth.item, answer).total)) / 2
    if knowledge.is_correct(truth, answer):
        return 9.0
    return 3.0 if knowledge.is_claim(truth, answer) else 2.0


def _grade(truth: Truth | None, answer: str, reference: str) -> str:
    if truth is None:
        lines = [line for line in reference.lower().splitlines() if line.strip()]
        if any(line in answer.lower() for line in lines):
            return "A"
        return "C" if _DECLINES.search(answer) else "B"
    if knowledge.is_correct(truth, answer):
        return "A"
    return "B" if knowledge.wrong_spans(truth, answer) else "C"
