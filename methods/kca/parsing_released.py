"""The parsers of the released code (repository fanqiwan/KCA, data_generation), defects included.

A classification reply loses its row when "Command:" or "Prediction:" occurs in its analysis, or its
tag is spelt in any other way; an exam's answer is every letter A to D in the text after "Answer:",
so that "(A) Lisbon" is rejected and "Argon" is read as A; options keep the order of the text,
whatever their labels.
"""

from __future__ import annotations

import re
from typing import Any

_TAGS = ("<need>", "<no need>")


def parse_requirement(text: str) -> dict[str, str] | None:
    """{"analysis", "final_prediction", "queris"} as released (the last key is misspelt there)."""
    for header in ("Command:", "Prediction:", "Search Query:"):
        text = text.replace(f"#{header}", header)
    pieces = re.split("Prediction:|Search Query:", text.split("Command:")[0])
    if len(pieces) < 2 or pieces[1].strip() not in _TAGS:
        return None
    tag = pieces[1].strip()
    queries = pieces[2].strip() if len(pieces) == 3 and tag == "<need>" else ""
    return {"analysis": pieces[0].strip(), "final_prediction": tag, "queris": queries}


def parse_exam(text: str) -> list[dict[str, Any] | None]:
    """One entry per block of four parts; None where options or answer cannot be read."""
    for header in ("Question:", "Options:", "Analysis:", "Answer:"):
        text = text.replace(f"#{header}", header)
    chunks = (re.split("Options:|Analysis:|Answer:", part) for part in text.split("Question:"))
    return [_question(*pieces) for pieces in chunks if len(pieces) == 4]


def _question(question: str, options: str, analysis: str, answer: str) -> dict[str, Any] | None:
    texts = [text for text in re.split(r"\(A\)|\(B\)|\(C\)|\(D\)", options.strip()) if text]
    letters = re.findall("[A-D]", answer.upper())
    if len(texts) != 4 or len(letters) != 1:
        return None
    return {
        "question": question.strip(),
        "options": [text.strip() for text in texts],
        "analysis": analysis.strip(),
        "answer": letters[0],
    }


def flat(line: int, tests: list[dict[str, Any] | None]) -> list[dict[str, Any]]:
    """The questions of one instance, numbered in the order of acceptance, without the rejected."""
    kept = [test for test in tests if test is not None]
    return [{**test, "idx": f"idx_sft{line}_test{number}"} for number, test in enumerate(kept)]
