"""Extract the letter chosen in an answer to a multiple-choice question.

`released_letter` is the extractor of FuseChat-3.0's evaluation, including its mistakes, so that
numbers are comparable with the paper's. `chosen_letter` is the default here. Differences:

    released_letter                              chosen_letter
    the first "answer is X" or "Answer: X"       the last: a correction overrides earlier answers
    else the last capital A to J anywhere,       else a letter in \\boxed or alone on a line;
      "I" as a pronoun, "A" as an article          nothing else is a choice
    "answer is A cat" chooses A                  a letter that begins a phrase is no choice
    "the answer is h" chooses nothing            lower case counts
    any of A to J                                only the letters of the question's options
    English                                      also the Chinese for "the answer is"
"""

from __future__ import annotations

import re

LETTERS = "ABCDEFGHIJ"
_RELEASED = (
    re.compile(r"answer is \(?([A-J])"),
    re.compile(r"[aA]nswer:\s*([A-J])"),
    re.compile(r"\b([A-J])\b(?!.*\b[A-J]\b)", re.DOTALL),
)
_OPEN, _CLOSE = r"(?:[\s*_`$({\[\"']|\\boxed|\\text|\\mathbf)*", r"[*_`$)}\]\"']*"
_END = r"(?=\s*(?:$|[.,;:!?。\uff0c\uff1b]|\n)|\s+(?:because|since|as|which|with|for|and|so|not)\b)"
_STATED = re.compile(
    r"(?:\banswer\b(?:\s+(?:is|would be|must be))?|\b(?:choice|option)\s+is|答案(?:选项)?[是为选]?)"
    rf"\s*[:\uff1a]?{_OPEN}(?:(?:option|choice)\s+{_OPEN})?([A-J])(?:[)\]}}*_`$\"']+|{_END})",
    re.IGNORECASE,
)
_BOXED = re.compile(rf"\\boxed\s*\{{{_OPEN}([A-J]){_CLOSE}\}}", re.IGNORECASE)
_LINE = re.compile(rf"^{_OPEN}([A-J]){_CLOSE}[.。]?\s*$", re.MULTILINE)


def released_letter(response: str) -> str | None:
    """The letter that FuseChat-3.0's code extracts, or None.

    >>> released_letter("So the answer is (H), not I."), released_letter("I think so")
    ('H', 'I')
    """
    for pattern in _RELEASED:
        if found := pattern.search(response):
            return found[1]
    return None


def chosen_letter(response: str, options: int = len(LETTERS)) -> str | None:
    """The letter that a response chooses among the first `options` letters, or None.

    >>> chosen_letter("The answer is (B). No: the answer is **c**.", 4), chosen_letter("I think so")
    ('C', None)
    """
    allowed = LETTERS[:options]
    for patterns in ((_STATED, _BOXED), (_LINE,)):
        matches = [found for pattern in patterns for found in pattern.finditer(response)]
        stated = [(m.start(1), m[1].upper()) for m in matches if m[1].upper() in allowed]
        if stated:
            return max(stated)[1]
    return None
