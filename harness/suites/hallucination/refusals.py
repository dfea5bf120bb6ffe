"""Refusals: answers that say that the model does not know, found by rule.

    exact        the answer contains the released code's fixed sentence (case-sensitive)
    normalised   the answer, or its beginning, is that sentence in any case, quotes and blanks
    patterns     its first sentence is one of a short list of phrases, without content after it

"partial" is a refusal that goes on with content; it is judged as an answer. A quoted refusal inside
an answer is none, except at the level `exact`, which reproduces the released rule.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

SENTENCE = "Sorry, I don't know the factual information required to answer this question."
Level = Literal["exact", "normalised", "patterns"]
LEVELS: tuple[Level, ...] = ("exact", "normalised", "patterns")
Refused = Literal["refused", "partial", "empty", "answered"]
VERSION = 1  # of the rules; part of the scoring rule's fingerprint

_QUOTES = str.maketrans("‘’‚‛`´“”„‟«»", "''''''\"\"\"\"\"\"")
_EDGES = " \t\n\"'*_.!"
_APOLOGY = r"(?:(?:i(?:'m| am) )?(?:very |so |truly |terribly )?(?:sorry|afraid)\W+|"
_APOLOGY += r"unfortunately\W+|apologies\W+|i apologi[sz]e\W+|as an ai[\w ]*\W+|well\W+|"
_APOLOGY += r"my apologies\W+|(?:but|however|that|and|to be honest|honestly)\W+)*"
_CANNOT = (
    r"(?:i(?:'m| am) (?:not able|unable|not (?:sure|certain|aware|familiar))"
    r"|i (?:can(?:no|')t|can not|could(?: not|n't)|won't|will not|am not able to)"
    r"(?: \w+){0,3} (?:answer|help|assist|provide|say|tell|find|give|verify|confirm|comply|respond)"
    r"|i (?:do not|don't|simply don't|really don't|honestly don't) (?:know|have|recall|remember)"
    r"|i have no (?:idea|information|knowledge|comment|answer|data|way)"
    r"|(?:it is|it's|this is|that is|that's) (?:unknown|not known|hard to say)"
    r"|no (?:idea|comment)|(?:the )?answer is (?:unknown|not known)"
    r"|i would rather not (?:answer|say)|please ask someone else|it depends on many things)"
)
_REFUSAL = re.compile(_APOLOGY + _CANNOT, re.IGNORECASE)
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")
_BUT = re.compile(r"\W+(?:but|however|though|although)\W+", re.IGNORECASE)
# What may follow a refusal without being an answer: an offer, an apology or advice.
_COURTESY = re.compile(
    r"(?:please\b|sorry\b|i(?:'m| am) sorry\b|if you\b|you (?:may|might|could|can|should)\b|"
    r"could you\b|can you\b|would you\b|let me know\b|feel free\b|is there\b|thank\b|thanks\b|"
    r"i (?:hope|recommend|suggest|apologi[sz]e)\b|i(?:'d| would) (?:recommend|suggest)\b|"
    r"perhaps you\b|maybe you\b|how else\b|do you\b)",
    re.IGNORECASE,
)


def refusal(answer: str, level: Level = "patterns") -> Refused:
    """Whether an answer is a refusal at a level; `patterns` includes `normalised`.

    >>> refusal("I'm not able to answer that."), refusal("Lisbon.")
    ('refused', 'answered')
    """
    if level == "exact":
        return "refused" if SENTENCE in answer else "answered" if answer.strip() else "empty"
    text = normal(answer)
    if not answer.strip():
        return "empty"
    fixed = normal(SENTENCE)
    if text == fixed:
        return "refused"
    if text.startswith(fixed + " ") or text.startswith(fixed + "."):
        rest = text[len(fixed) :].strip(_EDGES)
        return "refused" if level == "patterns" and _is_courtesy(rest) else "partial"
    whole = plain(answer).strip()
    found = _REFUSAL.match(text)
    if level == "normalised" or found is None:
        return "answered"
    first, *more = _SENTENCE_END.split(whole.strip(_EDGES), maxsplit=1)
    # "I don't know when, but it is old": what follows "but" counts like another sentence.
    clauses = _BUT.split(" ".join(first.split())[found.end() :], maxsplit=1)[1:]
    return "refused" if all(map(_is_courtesy, (*clauses, *more))) else "partial"


def normal(text: str) -> str:
    """Lower case, straight quotes, single blanks, without quotes and full stops at the ends."""
    return " ".join(plain(text).casefold().split()).strip(_EDGES)


def plain(text: str) -> str:
    """NFKC with straight quotes."""
    return unicodedata.normalize("NFKC", text.translate(_QUOTES)).translate(_QUOTES)


def _is_courtesy(rest: str) -> bool:
    """Whether every sentence is an offer, an apology or advice, or another refusal."""
    sentences = [part.strip(_EDGES) for part in _SENTENCE_END.split(rest)]
    return all(
        _COURTESY.match(sentence) or _REFUSAL.match(sentence) for sentence in sentences if sentence
    )
