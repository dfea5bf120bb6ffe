"""Text handling shared by the parsers of replies: cleaning, item labels, denials and refusals.

Every pattern has bounded repetitions, so time is linear in the length of a reply.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from harness.models.thoughts import split_thought

Status = Literal["ok", "out_of_range", "ambiguous", "refusal", "empty", "unparsed"]


@dataclass(frozen=True)
class Answer:
    """A rating (int) or a letter (str); the value is None unless the status is "ok"."""

    value: int | str | None
    status: Status


OUT, BOTH, NOTHING = (
    Answer(None, "out_of_range"),
    Answer(None, "ambiguous"),
    Answer(None, "unparsed"),
)

GAP = r"[ \t]{0,4}"
# Markup around an answer.
_NOISE = re.compile(r"<\|[^|<>]{0,40}\|>|</\w{1,20}>|[\ufe0f\u20e3\u200b-\u200f\u2060\ufeff]")
_FORMAT_PAIR = re.compile(r"<(b|i|u|em|strong|code|p)>([^<>]{0,400})</\1>", re.I)
_LATEX = re.compile(r"\\(?:boxed|text|textbf|mathrm|mathbf|[()\[\]])")
_MARKS = str.maketrans(dict.fromkeys('*`"“”„«»<>[]{}$#~≈\\', " "))
_HALVES = str.maketrans({"½": ".5", "¼": ".25", "¾": ".75", "⅓": ".3", "⅔": ".7"})
_LOOKALIKES = str.maketrans("АВСΑΒ’‘–—−", "ABCAB''---")  # Cyrillic, Greek; quotes and dashes
_TURN = re.compile(r"(?:^|(?<=\s))(?:Human|User)\s{0,3}:|(?<=\n)Q\s{0,2}:")
_OURS = re.compile(r"(?:^|(?<=\s))Assistant\s{0,3}:")
# "S3:" introduces the answer to an item; "S3" alone only mentions it.
SLOT = re.compile(
    rf"(?<!\w)S[ _]?(\d{{1,2}})(?!\w){GAP}(?:[:=.)-]{{1,2}}(?!\d)|(?=\d|score|rating|choice))",
    re.I,
)
_MENTION = re.compile(
    r"(?<!\w)(?:S|(?:statement|item|question|slot|q)[ #]{0,2})\d{1,2}(?!\w):?", re.I
)

_BREAK = re.compile(r"[.;!?\n](?!\d)|,(?!\d)|\b(?:but|however|though|yet|so|instead I)\b", re.I)
NOT = re.compile(
    r"\b(?:not|never|nor|neither|isn't|(?:do|does|did|ca|wo|would|could|should|was)n't|cannot|unable"
    r"|than|instead of|less|over|hardly|unlikely|no|without|nothing)\b",
    re.I,
)
REFUSAL = re.compile(
    r"\b(?:sorry|apologi[sz]e|can'?t|can ?not|could ?n[o']t|unable|won't|will not|decline|refuse"
    r"|as an? (?:ai|language|assistant)\b|impossible|in(?:sufficient|appropriate)"
    r"|(?:not|lacks?|without|\w{2,6}n't)(?: \w{1,12}){0,2} (?:enough|sufficient|appropriate"
    r"|possible|able|comfortable|know|information|evidence)|(?:rather|prefer) not"
    r"|no (?:evidence|information|basis|indication|way|idea))\b",
    re.I,
)
_UNSURE = (
    r"\b(?:not (?:\w{1,10} )?(?:sure|certain)|unsure|uncertain|undecided|(?:can't|cannot) decide"
    r"|(?:don't|do not) know|(?:hard|difficult) to (?:say|tell)|(?:it|that) depends)\b"
)
HEDGE = re.compile(_UNSURE, re.I)
# A clause that expresses uncertainty, with the options that it names.
UNSURE_CLAUSE = re.compile(
    _UNSURE
    + r"(?:[ ,]{1,3}(?:whether|if|between|about|which)\b(?:(?!\bbut\b|\bhowever\b)[^.;!?\n])"
    r"{0,120})?",
    re.I,
)


def tidy(reply: str) -> str:
    """The model's answer in plain characters, without reasoning, markup and continued dialogue."""
    text = (split_thought(reply).answer or "").translate(_HALVES)
    text = unicodedata.normalize("NFKC", text).translate(_LOOKALIKES)
    text = re.sub(r"(?<=\d) ?(?:~|\.{2,3}) ?(?=\d)", "-", text)
    text = "".join(str(unicodedata.digit(c)) if _foreign_digit(c) else c for c in text)
    text = _NOISE.sub("", _FORMAT_PAIR.sub(r" \2 ", text))
    text = re.sub(r"(?<!\w)_{1,3}|_{1,3}(?!\w)", " ", _LATEX.sub(" ", text).translate(_MARKS))
    before, *after = _TURN.split(text, maxsplit=2)
    if not before.strip() and after:  # the reply begins with the question
        before = "".join(_OURS.split(after[0], maxsplit=1)[1:])
    return _OURS.sub("\n", before).strip()


def _foreign_digit(character: str) -> bool:
    return not character.isascii() and character.isdigit()


def _segments(text: str, slot: int | None) -> Iterator[str]:
    """Parts of a reply that may answer the asked item: unlabelled text, then its labelled part.

    Without a slot the first labelled part is used: a model that answers several items begins with
    the asked one.
    """
    found = list(SLOT.finditer(text))
    ends = [match.start() for match in found[1:]] + [len(text)]
    yield text[: found[0].start()] if found else text
    for match, end in zip(found, ends):
        if slot is None or int(match[1]) == slot:
            yield text[match.end() : end]
            return


def first_answer(reply: str, slot: int | None, read: Callable[[str], Answer | None]) -> Answer:
    """First answer that `read` finds in the parts of a reply, or a status without value."""
    text = tidy(reply)
    if not text:
        return Answer(None, "empty" if not _TURN.search(reply) else "unparsed")
    for part in _segments(text, slot):
        found = read(_MENTION.sub(" ", part).strip())
        if found is not None:
            return found
    if REFUSAL.search(text):
        return Answer(None, "refusal")
    return BOTH if HEDGE.search(text) else NOTHING


def one_of(found: Sequence[Answer]) -> Answer | None:
    """The answer if all are equal, `BOTH` if they differ, None if there are none."""
    distinct = set(found)
    return BOTH if len(distinct) > 1 else next(iter(distinct), None)


def denied(text: str, place: int) -> bool:
    """Whether the clause before `place` contains a negation."""
    head = text[max(0, place - 120) : place]
    starts = [match.end() for match in _BREAK.finditer(head)]
    return bool(NOT.search(head, starts[-1] if starts else 0))
