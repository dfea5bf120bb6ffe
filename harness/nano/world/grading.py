"""Grading: how good a response to an item is, in five aspects, from the ground truth alone.

    total = 0.40 correct + 0.15 complete + 0.20 reasoned + 0.15 formatted + 0.10 concise

* correct: the main part of the answer line is right (half, if it is right but stands on no line);
* complete: the second part is right;
* reasoned: the share of the expected working steps that stand before the answer line;
* formatted: one answer line, at the end, two parts, wrapped as the prompt asked;
* concise: one up to 1.3 times the reference's length, falling to zero at 2.2 times.

A response in which nothing is right about the task (evasive, echoing, empty) has total 0: being
short is worth nothing alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from harness.nano.world.types import Item, Truth

WEIGHTS = {"correct": 0.40, "complete": 0.15, "reasoned": 0.20, "formatted": 0.15, "concise": 0.10}
_MARKER = re.compile(r"answer\s*:", re.IGNORECASE)
_LONG = 4000  # longer responses are cut before grading: nothing in the world is near it


@dataclass(frozen=True, slots=True)
class Grade:
    correct: float
    complete: float
    reasoned: float
    formatted: float
    concise: float

    @property
    def total(self) -> float:
        score = sum(weight * getattr(self, name) for name, weight in WEIGHTS.items())
        return round(min(1.0, max(0.0, score)), 6)

    def as_dict(self) -> dict[str, float]:
        """The aspects and the total, by name."""
        return {name: getattr(self, name) for name in WEIGHTS} | {"total": self.total}


def answer_line(main: str, second: str, style: str) -> str:
    """The answer line in the format asked for, as a perfect response ends."""
    inner = f"{main}, {second}"
    wrapped = {"brackets": f"[{inner}]", "stars": f"*{inner}*"}.get(style, inner)
    return f"Answer: {wrapped}. Done." if style == "done" else f"Answer: {wrapped}."


def compose(truth: Truth, style: str, opener: str = "") -> str:
    """A perfect response: the working steps as one sentence, then the answer line."""
    working = ", ".join(truth.steps)
    working = f"{opener}{working}" if opener else working[:1].upper() + working[1:]
    return f"{working}. {answer_line(truth.main, truth.second, style)}"


def _plain(text: str) -> str:
    return " ".join(re.sub(r"[\[\]*\"'`]", " ", text.lower()).split()).strip(" .!,;")


def _holds(text: str, phrase: str) -> bool:
    """Whether `phrase` stands in `text` as whole words (plain search: this runs on every step)."""
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
    """The grade of `response` where `truth` was asked for in format `style`."""
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
        said = [
            part.strip(" []*.") for part in re.sub(r"\.\s*Done\.$", ".", line.strip()).split(",")
        ]
        if len(said) == 2 and all(said):
            formatted = float(text.endswith(answer_line(said[0], said[1], style)))
    if correct + complete + reasoned == 0 and formatted == 0:
        return Grade(0.0, 0.0, 0.0, 0.0, 0.0)
    concise = _conciseness(len(text), len(compose(truth, style)))
    return Grade(correct, complete, reasoned, formatted, concise)


def grade(item: Item, response: str, turn: int = 0) -> Grade:
    """Grade `response` to turn `turn` (0 or 1) of `item`; any text is accepted."""
    return grade_truth(item.truths[turn], item.format, response)
