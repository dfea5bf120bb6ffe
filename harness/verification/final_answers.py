"""The final answer in a response to a problem of mathematics."""

from __future__ import annotations

import re

_BOX = re.compile(r"\\(?:boxed|fbox)\s*(?:\{|(?P<bare>[\w.+-]+))")
_OPEN_BOX = re.compile(r"\\boxed\{")
_EMPTY_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{\s*\}")
# "The final answer is", "Answer:", "####"; what follows on the line is the answer.
_ANNOUNCED = re.compile(
    r"(?:\banswers?(?:\s+to\s+[^.:\n]{1,60}?)?\s*(?:is|are|was|would\s+be|=|:)\s*:?|####)[ \t]*",
    re.IGNORECASE,
)
_MATH = re.compile(
    r"\$\$(.{1,400}?)\$\$|\\\[(.{1,400}?)\\\]|(?<![\\$])\$(?!\$)(.{1,400}?)(?<![\\\s])\$"
    r"|\\\((.{1,400}?)\\\)",
    re.DOTALL,
)
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)|\n")
_CONCLUDED = re.compile(r"\b(?:is|are|equals?|get|gives?|be)\b|(?<![<>!\\])=")
_NUMBER = re.compile(r"-?\$?\d[\d,]*(?:\.\d+)?(?:/\d+)?%?")
_LONGEST = 200  # characters of an answer that is not in a box
# Bounds that keep hostile responses cheap: boxes tried from the end, characters of a box, and of
# the end of a response that is searched for an answer without a box.
_MOST_BOXES, _LONGEST_BOX, _TAIL = 32, 2000, 4000


def last_boxed(text: str) -> str | None:
    r"""Content of the last `\boxed{...}` with balanced braces; None if there is none.

    >>> last_boxed(r"First \boxed{3}, finally \boxed{\frac{1}{2}}.")
    '\\frac{1}{2}'
    """
    starts = [found.end() for found in _OPEN_BOX.finditer(text)]
    return braced(text, starts[-1]) if starts else None


def braced(text: str, start: int) -> str | None:
    r"""Text from `start`, behind an opening brace, to the brace that closes it; None without one.

    Escaped braces, `\{` and `\}`, do not count.
    """
    depth, at = 1, start
    while at < len(text):
        character = text[at]
        if character == "\\":
            at += 1
        elif character in "{}":
            depth += 1 if character == "{" else -1
            if not depth:
                return text[start:at]
        at += 1
    return None


def final_answer(response: str) -> str | None:
    r"""The answer that a response settles on; None if it gives none.

    The last box that closes and is not empty; else what follows the last "answer is", "Answer:" or
    "####"; else the last formula, or what the last sentence says behind "is" or "=", or its last
    number. A box may also be `\fbox{7}` or `\boxed 9`.

    >>> final_answer("It is 2.75"), final_answer("I do not know")
    ('2.75', None)
    """
    for found in reversed(list(_BOX.finditer(response))[-_MOST_BOXES:]):
        inside = response[found.end() : found.end() + _LONGEST_BOX]
        content = found["bare"] or braced(inside, 0)
        if content is not None and content.strip():
            return content.strip()
    response = response[-_TAIL:]
    for found in reversed(list(_ANNOUNCED.finditer(response))):
        answer = _told(response[found.end() : found.end() + _LONGEST])
        if answer:
            return answer
    return _concluded(_EMPTY_BOX.sub("", response).strip())


def _told(rest: str) -> str:
    """The answer at the beginning of a text: its formula, or the rest of its sentence."""
    rest = rest.lstrip("*_ \t")
    sentence = _SENTENCE_END.split(rest.lstrip("\n"), maxsplit=1)[0]
    formula = _MATH.match(rest)
    if formula is not None:
        return _formula(formula)
    answer = sentence.strip("*_` \t")
    return answer if re.search(r"\w", answer) else ""


def _concluded(response: str) -> str | None:
    formulas = list(_MATH.finditer(response))
    if formulas and (said := _formula(formulas[-1]).rsplit("=", 1)[-1].strip()):
        return said
    sentences = [part for part in _SENTENCE_END.split(response) if re.search(r"\w", part)]
    last = sentences[-1].strip() if sentences else ""
    marks = list(_CONCLUDED.finditer(last))
    said = last[marks[-1].end() :].strip("*_`: \t") if marks else ""
    if re.search(r"\d|\\", said) and len(said) <= _LONGEST:
        return said
    numbers = _NUMBER.findall(last)
    return numbers[-1].rstrip(",") if numbers else None


def _formula(found: re.Match[str]) -> str:
    return next(group for group in found.groups() if group is not None).strip()
