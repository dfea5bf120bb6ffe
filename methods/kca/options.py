"""Labels of options and answers in helper replies.

A label is a letter in one of the forms (A), [A], A), A. and A:, also in lower case and with
full-width characters. Text keeps its characters; letters are compared after NFKC.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

_LETTER = r"[A-Za-zＡ-Ｚａ-ｚ]"
_OPEN, _CLOSE = r"[(（\[［【]", r"[)）\]］】]"
_BOLD = r"(?:\*\*|__)?"
# "A.D. 300" is no label, and a letter in brackets needs no space after it.
_FORM = rf"(?:{_OPEN}[ \t]*({_LETTER})[ \t]*{_CLOSE}|({_LETTER})[ \t]*(?:[)）:：]|[.．](?!\w\.)))"
_AT_START = re.compile(rf"^[ \t]*(?:[-*•][ \t]+)?{_BOLD}{_FORM}{_BOLD}", re.MULTILINE)
_ANYWHERE = re.compile(rf"(?<!\w){_BOLD}{_FORM}{_BOLD}")


def folded(text: str) -> str:
    """Text for comparisons: white space joined, case folded."""
    return " ".join(text.split()).casefold()


def split_options(text: str) -> list[tuple[str, str]]:
    """(label, text) of each option in order; labels are upper-case letters.

    Labels are at line starts, or follow one another on a line: "(C)" after "(B)" unless a line
    starts with it, so that "(C) Both (A) and (B)" is one option.

    >>> split_options("Choose: (A) Lisbon (B) Porto")
    [('A', 'Lisbon'), ('B', 'Porto')]
    """
    found = [(match, _letter(match)) for match in _AT_START.finditer(text)]
    if not found:
        inline = (match for match in _ANYWHERE.finditer(text) if _letter(match) == "A")
        found = [(match, "A") for match in inline][:1]
    if not found:
        return []
    started = {letter for _, letter in found}
    labels: list[tuple[re.Match[str], str]] = []
    ends = [*(match.start() for match, _ in found[1:]), len(text)]
    for (match, letter), end in zip(found, ends, strict=True):
        labels.append((match, letter))
        line_end = text.find("\n", match.end())
        stop = end if line_end < 0 else min(end, line_end)
        labels += _following(text, match, letter, stop, started)
    stops = [*(match.start() for match, _ in labels[1:]), len(text)]
    return [
        (letter, text[match.end() : stop].strip())
        for (match, letter), stop in zip(labels, stops, strict=True)
    ]


def _following(
    text: str, match: re.Match[str], letter: str, stop: int, started: set[str]
) -> list[tuple[re.Match[str], str]]:
    """Labels of the same form that continue the sequence on the line of a label."""
    bracketed = match[1] is not None
    labels: list[tuple[re.Match[str], str]] = []
    place = match.end()
    while True:
        wanted = chr(ord(letter) + 1)
        later = (
            other
            for other in _ANYWHERE.finditer(text, place, stop)
            if _letter(other) == wanted and (other[1] is not None) == bracketed
        )
        other = next(later, None)
        if wanted in started or other is None:
            return labels
        labels.append((other, wanted))
        letter, place = wanted, other.end()


def _letter(match: re.Match[str]) -> str:
    return unicodedata.normalize("NFKC", match[1] or match[2]).upper()


_LEAD = r"^[\s\-–—*•>#_`]*"
_BRACKETED = re.compile(rf"{_OPEN}[ \t]*({_LETTER})[ \t]*{_CLOSE}")
_BARE = re.compile(rf"{_LEAD}({_LETTER})(?!\w)(.*)", re.DOTALL)
_NAMED = re.compile(
    rf"\b(?:option|choice|answer[ \t]+is|answer)[ \t]*[:：]?[ \t]*{_BOLD}({_LETTER})(?![\w'’])",
    re.IGNORECASE,
)
_EMPHASISED = re.compile(rf"(?:\*\*|__)({_LETTER})[).．:]?(?:\*\*|__)")
_MORE = re.compile(rf"[ \t]*(?:,|/|&|\+|;|\band\b|\bor\b)[ \t]*({_LETTER})(?!\w)", re.IGNORECASE)
_VERB = re.compile(r"[ \t]+(?:is|was|because|since|as)\b", re.IGNORECASE)
_LABELLED = re.compile(rf"{_LEAD}{_BOLD}(?:{_FORM}|({_LETTER})[ \t]){_BOLD}[ \t]*(.+?)\s*$")


def answer_letter(text: str, options: Sequence[str]) -> str:
    """The letter that an answer names, "no_answer", or "multiple_answers".

    Only the first line that is not empty counts. It names a letter by a label, by a bare letter at
    its start (not by the article "a"), after "option", "choice" or "answer is", or in bold; without
    any, it is the text of one option.

    >>> answer_letter("(C) Both (A) and (B)", ["Lisbon", "Porto", "Both (A) and (B)", "None"])
    'C'
    """
    line = next((line for line in text.splitlines() if line.strip()), "")
    if (whole := _LABELLED.match(line)) is not None:
        letter = _upper(whole[1] or whole[2] or whole[3])
        place = ord(letter) - ord("A")
        if place < len(options) and folded(whole[4]) == folded(options[place]):
            return letter
    named = _named_letters(line)
    if len(named) > 1:
        return "multiple_answers"
    if named:
        letter = named.pop()
        return letter if ord(letter) - ord("A") < len(options) else "no_answer"
    said = folded(line.strip().strip("*_`\"'"))
    matching = [
        place for place, option in enumerate(options) if folded(option) in (said, said.rstrip("."))
    ]
    return chr(ord("A") + matching[0]) if len(matching) == 1 else "no_answer"


def _named_letters(line: str) -> set[str]:
    matches = [*_BRACKETED.finditer(line), *_NAMED.finditer(line), *_EMPHASISED.finditer(line)]
    bare = _BARE.match(line)
    if bare is not None and not _is_article(bare[1], bare[2]):
        matches.append(bare)
    found = {_upper(match[1]) for match in matches}
    ends = {match.end(1) for match in matches}
    while ends:  # "A, B and C"
        more = [m for end in ends if (m := _MORE.match(line, end)) is not None]
        found |= {_upper(match[1]) for match in more}
        ends = {match.end(1) for match in more}
    return found


def _is_article(letter: str, rest: str) -> bool:
    """Whether "a" at the start of a line is the English article: words follow it."""
    if _upper(letter) != "A" or not rest[:1].isspace() or not rest.strip():
        return False
    return _VERB.match(rest) is None and _MORE.match(rest) is None


def _upper(letter: str) -> str:
    return unicodedata.normalize("NFKC", letter).upper()


def shifted(options: Sequence[str], answer: str, by: int) -> tuple[list[str], str]:
    """Options moved cyclically by `by` places, and the letter of the right one after it.

    >>> shifted(["w", "x", "y", "z"], "A", 1)
    (['z', 'w', 'x', 'y'], 'B')
    """
    size = len(options)
    place = (ord(answer) - ord("A") + by) % size
    return [options[(n - by) % size] for n in range(size)], chr(ord("A") + place)
