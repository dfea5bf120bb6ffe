"""Grade a response to an item in five aspects, from the ground truth only.

    total = 0.40 correct + 0.15 complete + 0.20 reasoned + 0.15 formatted + 0.10 concise

* correct: the main part of the answer line is right (1/2 if it is right without an answer line);
* complete: the second part is right;
* reasoned: share of the expected working steps that appear before the answer line;
* formatted: one answer line, at the end, with two parts, in the requested format;
* concise: 1 up to 1.3 times the reference's length, decreasing to 0 at 2.2 times.

A response without anything right about the task (evasive, echoing, empty) has total 0, however
short it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from harness.nano.world.types import Item, Truth

WEIGHTS = {"correct": 0.40, "complete": 0.15, "reasoned": 0.20, "formatted": 0.15, "concise": 0.10}
_MARKER = re.compile(r"answer\s*:", re.IGNORECASE)
_LONG = 4000  # characters graded; every answer in the world is far shorter


@dataclass(frozen=True, slots=True)
class Grade:
    """Aspects of a grade, each in [0, 1]; see the module's docstring."""

    correct: float
    complete: float
    reasoned: float
    formatted: float
    concise: float

    @property
    def total(self) -> float:
        """Weighted sum of the aspects, in [0, 1]."""
        score = sum(weight * getattr(self, name) for name, weight in WEIGHTS.items())
        return round(min(1.0, max(0.0, score)), 6)


def answer_line(main: str, second: str, style: str) -> str:
    """The last line of a perfect response, in the requested format."""
    inner = f"{main}, {second}"
    wrapped = {"brackets": f"[{inner}]", "stars": f"*{inner}*"}.get(style, inner)
    return f"Answer: {wrapped}. Done." if style == "done" else f"Answer: {wrapped}."


def compose(truth: Truth, style: str, opener: str = "") -> str:
    """A perfect response: working steps as one sentence, then the answer line."""
    working = ", ".join(truth.steps)
    working = f"{opener}{working}" if opener else working[:1].upper() + working[1:]
    return f"{working}. {answer_line(truth.main, truth.second, style)}"


def _plain(text: str) -> str:
    return " ".join(re.sub(r"[\[\]*\"'`]", " ", text.lower()).split()).strip(" .!,;")


def _holds(text: str, phrase: str) -> bool:
    """Whether `text` contains `phrase` as whole words (str.find, because this is called often)."""
    phrase = _plain(phrase)
    at = text.find(phrase)
    while at >= 0:
        end = at + len(phrase)
        if not (text[at - 1 : at].isalnum() or text[end : end + 1].isalnum()):
            return True
        at = text.find(phrase, at + 1)
    return False


def _parts(line: str) -> list[str]:
    sentence = re.split(r"[.!?](?:\s|$)|\n", line.strip())[0]
    return [_plain(part) for part in sentence.split(",")]


def _conciseness(length: int, reference: int) -> float:
    return min(1.0, max(0.0, (2.2 - length / reference) / (2.2 - 1.3)))


def grade_truth(truth: Truth, style: str, response: str) -> Grade:
    """Grade `response` against `truth`, with the answer requested in format `style`."""
    text = response[:_LONG].strip()
    markers = list(_MARKER.finditer(text))
    before, line = (
        (text[: markers[-1].start()], text[markers[-1].end() :]) if markers else (text, "")
    )
    spoken = _plain(before)
    if markers:
        parts = _parts(line)
        correct = float(parts[0] == _plain(truth.main))
        reasoned = sum(_holds(spoken, step) for step in truth.steps) / len(truth.steps)
        complete = float(len(parts) == 2 and parts[1] == _plain(truth.second))
    else:
        last = _plain(re.split(r"[.!?\n]\s*", text.rstrip(".!? \n"))[-1])
        correct = 0.5 * _holds(last, truth.main)
        complete = 0.5 * (correct > 0 and _holds(last, truth.second))
        reasoned = 0.0
    formatted = 0.0
    if len(markers) == 1:
        given = [
            part.strip(" []*.") for part in re.sub(r"\.\s*Done\.$", ".", line.strip()).split(",")
        ]
        if len(given) == 2 and all(given):
            formatted = float(text.endswith(answer_line(given[0], given[1], style)))
    if correct + complete + reasoned == 0 and formatted == 0:
        return Grade(0.0, 0.0, 0.0, 0.0, 0.0)
    concise = _conciseness(len(text), len(compose(truth, style)))
    return Grade(correct, complete, reasoned, formatted, concise)


def grade(item: Item, response: str, turn: int = 0) -> Grade:
    """Grade any text as a response to turn `turn` (0 or 1) of `item`."""
    return grade_truth(item.truths[turn], item.format, response)
