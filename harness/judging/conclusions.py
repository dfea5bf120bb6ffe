"""What a judge concludes: one value out of all the bracketed values in a reply.

    marks = find_marks(tidied(reply), value_of)
    conclusion(marks, options=5)

A reply may hold several marks `[[value]]`: options that are listed, the form that was asked for, a
first impression, a hypothetical, code. Each mark is ranked by the words around it; the last mark of
the highest rank is the conclusion. A reply without any mark that concludes has no verdict, which
costs one more request; a wrong verdict would cost a wrong score.

Time is linear in the length of the reply: every pattern is bounded.
"""

from __future__ import annotations

import html
import re
import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum, auto
from operator import itemgetter

Value = float | str


class Rank(IntEnum):
    """How much a mark is a conclusion."""

    EXCLUDED = auto()  # a listed option, the format, a hypothetical, code
    TENTATIVE = auto()  # a first impression
    PLAIN = auto()
    CONCLUDING = auto()  # announced as the verdict


@dataclass(frozen=True)
class Mark:
    """A bracketed value, its place in the text, and its rank."""

    value: Value
    start: int
    end: int
    rank: Rank = Rank.PLAIN


# Tidying -----------------------------------------------------------------------------------------

_HALVES = str.maketrans({"½": ".5", "¼": ".25", "¾": ".75"})
_BRACKETS = str.maketrans(
    {"【": "[", "】": "]", "〔": "[", "〕": "]", "〖": "[", "〗": "]", "「": "[", "」": "]"}
    | {"『": "[[", "』": "]]", "⟦": "[[", "⟧": "]]", "〚": "[[", "〛": "]]"}
)
_UNICODE_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")
_LATEX_SIGNS = {"gg": ">>", "ll": "<<", "gt": ">", "lt": "<", "lbrack": "[", "rbrack": "]"}
_LATEX = re.compile(r"\\(gg|ll|gt|lt|lbrack|rbrack)\b[ \t]?")
_LATEX_WRAPPERS = re.compile(
    r"\\(?:text|textbf|textit|texttt|mathrm|mathbf|mathit|boxed|fbox|left|right|bf|rm)\b"
)
_ESCAPED = re.compile(r"\\([\[\](){}<>=_*~`.#|-])")
_TOKENS = re.compile(r"<[|｜][^|｜<>]{1,40}[|｜]>|</s>|<s>|<eos>|<end_of_turn>|\[/INST\]")
_STRUCK = re.compile(r"~~[^~\n]{1,200}~~|<(s|del|strike)>[^<>]{1,200}</\1>", re.IGNORECASE)
_HTML = re.compile(
    r"</?(?:p|br|div|li|ul|ol|h[1-6]|b|i|em|strong|u|span|font|mark|center)\b[^<>]{0,80}>", re.I
)
_COLON_BREAK = re.compile(r":[ \t*_]{0,4}\r?\n\s{0,4}")


def tidied(text: str) -> str:
    """The text in one spelling: brackets, signs, digits, escapes, invisible characters.

    >>> tidied("【【A＞B】】"), tidied(r"\\[\\[8\\]\\]"), tidied("[[A&gt;B]]")
    ('[[A>B]]', '[[8]]', '[[A>B]]')
    """
    if "\\u" in text:
        text = _UNICODE_ESCAPE.sub(lambda found: chr(int(found[1], 16)), text)
    text = unicodedata.normalize("NFKC", html.unescape(text).translate(_HALVES))
    text = text.translate(_BRACKETS)
    text = "".join(c for c in text if unicodedata.category(c) not in ("Cf", "Cs") and c != "\ufe0f")
    text = _LATEX.sub(lambda found: _LATEX_SIGNS[found[1]], text)
    text = _ESCAPED.sub(r"\1", _LATEX_WRAPPERS.sub("", text))
    text = _HTML.sub("\n", _STRUCK.sub(" ", _TOKENS.sub(" ", text)))
    return _COLON_BREAK.sub(": ", text)


# Marks -------------------------------------------------------------------------------------------

MOST_MARKS = 256  # of one reply; more are no judgment
_DOUBLE = re.compile(r"\[\s{0,3}\[([^\[\]]{1,40})\]\s{0,3}\]")
_SINGLE = re.compile(r"\[([^\[\]]{1,40})\](?!\])")
_LABEL = re.compile(
    r"(?:my |the )?(?:final |overall )?(?:rating|score|grade|verdict|decision|choice|judge?ment"
    r"|answer|winner)(?: is)?\s{0,3}[:=]?\s{0,3}",
    re.IGNORECASE,
)
_DECORATION = "*_`\"'“”‘’~$ {}\t\r\n"
_CODE = re.compile(r"```[^`]{0,4000}```|`[^`\n]{1,400}`")
_CODE_PROSE = re.compile(
    r"\b(?:json|text|markdown|plaintext|my|the|is|final|overall|verdict|rating|score|answer|output)\b",
    re.IGNORECASE,
)


def find_marks(
    text: str, value_of: Callable[[str], Value | None], *, single: bool = False
) -> list[Mark]:
    """The last marks of a tidied text, without those in code.

    Args:
        value_of: the content of a bracket, undecorated -> its value; None where it is no verdict.
        single: read `[value]` instead of `[[value]]`.
    """
    hidden = _code_spans(text)
    found: list[Mark] = []
    for match in (_SINGLE if single else _DOUBLE).finditer(text):
        content = match[1].strip(_DECORATION)
        label = _LABEL.match(content)
        value = value_of(content[label.end() :].strip(_DECORATION) if label else content)
        if value is None or _is_index(text, match.start(), found) or _inside(match.start(), hidden):
            continue
        rank = Rank.CONCLUDING if label else Rank.PLAIN
        found.append(Mark(value, match.start(), match.end(), rank))
    return found[-MOST_MARKS:]


def _code_spans(text: str) -> list[tuple[int, int]]:
    """Spans of code that says more than a verdict."""
    spans = []
    for code in _CODE.finditer(text):
        content = code[0].strip("`")
        if content.lstrip().startswith(("{", "json")):
            continue
        rest = _CODE_PROSE.sub("", _DOUBLE.sub("", _SINGLE.sub("", content)))
        if re.search(r"\w", rest):
            spans.append(code.span())
    return spans


def _inside(place: int, spans: Sequence[tuple[int, int]]) -> bool:
    before = bisect_right(spans, place, key=itemgetter(0))
    return before > 0 and place < spans[before - 1][1]


def _is_index(text: str, start: int, marks: Sequence[Mark]) -> bool:
    """Whether a bracket indexes a name (`a[[3]]`), unless that name announces a verdict."""
    if start == 0 or not re.match(r"[A-Za-z0-9_)\]]", text[start - 1]):
        return False
    if marks and marks[-1].end == start:
        return False
    return not re.search(
        r"(?:rating|score|verdict|grade|answer|is)$", text[max(0, start - 8) : start], re.I
    )


# Ranks -------------------------------------------------------------------------------------------

_WINDOW = 240
_SENTENCE_END = re.compile(r"[.!?;。！？；]+[\"'”’)\]*_]{0,3}(?:\s|$)|\n|[。！？；]")
_CONCLUDES = re.compile(
    r"\b(?:final(?:ly)?|verdict|overall|conclu\w*|therefore|thus|hence"
    r"|in (?:sum|short|summary|total|the end)"
    r"|all in all|to sum up|ultimately|on balance|on reflection|correction|decision"
    r"|judge?ment|my (?:rating|score|grade|choice|pick|answer|vote)|i (?:choose|pick|vote|decide"
    r"|settle|change|revise|rate|score|award|assign))\b|(?:^|[\s(*\"'{])(?:so|ergo)[,:]",
    re.IGNORECASE,
)
_ANNOUNCES = re.compile(
    r"(?:^|[.!?;\n(]\s*|\band\s)[\s*_\"'>#{-]{0,8}(?:rating|score|grade)\b[\s*_\"']{0,4}[:=]", re.I
)
_TENTATIVE = re.compile(
    r"\b(?:at first|first (?:sight|glance|impression|pass)|initial(?:ly)?|prima facie|perhaps|maybe"
    r"|possibly|tentativ\w*|provisional\w*|preliminar\w*|tempted|lean\w*|inclined|might|unsure"
    r"|originally|started (?:at|with)|if (?:i|forced|pressed))\b",
    re.IGNORECASE,
)
# The words just before a mark: what it would be, and the form that was asked for.
_HYPOTHETICAL = re.compile(
    r"\b(?:(?:would|could|might|should)(?:n't| not)? (?:otherwise )?have\b[^,;:]{0,40}"
    r"|(?<!\bi )(?<!\bi'd )(?:would|could)(?:n't| not)?(?: \w{1,12})?"
    r" (?:be|deserve|earn|merit|get|receive|rank|score|mean)\b"
    r"(?:\s(?:an?|the|closer|to|around|about|at|least|most|only|rated|given|scored|as))*"
    r"|(?:another|other|some|many|most) (?:judge|grader|reader|people|person)s?\b[^,;:]{0,40})\W*$",
    re.IGNORECASE,
)
_IN_FORMAT = re.compile(
    r"\b(?:in|of|use|using|follow\w*|with)\s(?:the |this |a )?(?:\w{1,12} )?form(?:at)?\b"
    r"[^.!?]{0,20}$",
    re.IGNORECASE,
)
_FORMAT = re.compile(
    r"(?:\bformat\s?:|\b(?:the|required|requested|expected|output) format (?:is|was|would be)\b"
    r"|\bfor (?:example|instance)\b|\b(?:an|the) example (?:of|is|would)\b|\be\.\s?g\b"
    r"|\b(?:template|syntax|notation)\b|\bon (?:a|the) (?:\S{1,12} )?scale\b"
    r"|\bscale\s?(?:is|:|from)|\b(?:options|choices|labels)\s?(?:are|were|:)|\binstructed to\b"
    r"|\b(?:reply|answer|respond|end|conclude) with\b|\blike this\b|\blooks like\b)[^.!?]{0,40}$"
    r"|\b(?:one of|between|choose from|such as|either)\W{0,6}$",
    re.IGNORECASE,
)
_FORMAT_ASIDE = re.compile(
    r"\b(?:format\w*|form|scale|range|options?|choices|labels|legend|key|example|e\.g|template|syntax"
    r"|asked|requested)\b",
    re.IGNORECASE,
)
_DENIED = re.compile(
    r"\b(?:not|n't|never|instead of|rather than|than|versus|vs\.?|neither|nor|no longer|over|from)"
    r"\s{1,3}(?:an? |the |for |to be )?[\s*_\"'(]{0,6}$",
    re.IGNORECASE,
)
_REFUSES = re.compile(
    r"\b(?:i|we) (?:can(?:no|')t|cannot|can not|am (?:un|not )able to|won't|will not|refuse to"
    r"|decline to) (?:choose|decide|give|rate|judge|grade|assign|pick|provide|answer|select|say"
    r"|tell|evaluate)\b",
    re.IGNORECASE,
)
_CONDITION_AFTER = re.compile(
    r"[\s*_\"'`,]{0,6}(?:(?:if|when)\b(?! (?:i|forced|pressed|we)\b)|whenever|in case|for a tie"
    r"|means?\b|stands for|denotes|would\b|indicates?\b|at first|was my (?:first|initial)|seemed)",
    re.IGNORECASE,
)


def ranked(text: str, marks: Sequence[Mark]) -> list[Mark]:
    """The marks with their ranks, by the words of their sentence."""
    found, previous = [], 0
    for mark in marks:
        rank = _rank(text, mark, previous)
        if rank == Rank.PLAIN:
            rank = mark.rank  # a label inside the bracket announces it: [[Rating: 8]]
        found.append(replace(mark, rank=rank))
        previous = mark.end
    return found


def before(text: str, mark: Mark, previous: int) -> str:
    """The words of a mark's sentence that precede it, from the end of the previous mark."""
    window = text[max(previous, mark.start - _WINDOW) : mark.start]
    ends = list(_SENTENCE_END.finditer(window))
    return window[ends[-1].end() :] if ends else window


def after(text: str, mark: Mark) -> str:
    """The words of a mark's sentence that follow it."""
    window = text[mark.end : mark.end + _WINDOW]
    end = _SENTENCE_END.search(window)
    return window[: end.start() + 1] if end else window


def _rank(text: str, mark: Mark, previous: int) -> Rank:
    said, then = before(text, mark, previous), after(text, mark)
    aside = _aside(text, mark)
    if aside is not None and _FORMAT_ASIDE.search(aside):
        return Rank.EXCLUDED
    if _DENIED.search(said) or _REFUSES.search(said) or _CONDITION_AFTER.match(then):
        return Rank.EXCLUDED
    concludes = max(_last(_CONCLUDES, said), _last(_ANNOUNCES, said))
    in_format = _IN_FORMAT.search(said) is not None
    if _last(_HYPOTHETICAL, said) > concludes or (in_format and concludes < 0):
        return Rank.EXCLUDED
    if not in_format and _last(_FORMAT, said) > concludes:
        return Rank.EXCLUDED
    if _TENTATIVE.search(said) or then.lstrip(" *_\"'`").startswith("?"):
        return Rank.TENTATIVE
    return Rank.CONCLUDING if concludes >= 0 else Rank.PLAIN


def _last(pattern: re.Pattern[str], text: str) -> int:
    """Where the last match begins; -1 without one."""
    return max((found.start() for found in pattern.finditer(text)), default=-1)


def _aside(text: str, mark: Mark) -> str | None:
    """The words before a mark in its parenthesis, or those before its quotation; None outside."""
    window = text[max(0, mark.start - _WINDOW) : mark.start]
    _, opened, inner = window.rpartition("(")
    if opened and ")" not in inner:
        return inner
    line = window.rpartition("\n")[2]
    for quote in ('"', "“"):
        said, found, quoted = line.rpartition(quote)
        if found and ((quote == "“" and "”" not in quoted) or line.count('"') % 2 == 1):
            return said[-40:]
    return None


# Enumerations ------------------------------------------------------------------------------------

_JOIN = re.compile(
    r"[\s,;/|&.…\"'`*_()\-–—:>#]{0,12}"
    r"(?:(?:or|and|to|through|up to|and/or|oder|or a|or even|and then)[\s\"'`*_(]{0,6})?"
    r"(?:\d{1,2}[.)]\s{0,3})?",
    re.IGNORECASE,
)
_DESCRIBED = 120


def without_lists(text: str, marks: Sequence[Mark], options: int) -> list[Mark]:
    """The marks that are not part of a list of options.

    A list is a run of different values with nothing but separators between them, or all options
    once each with short descriptions. Of a run that holds all options and one more mark, that mark
    is kept.

    Args:
        options: number of options of the verdict; 0 where values are numbers.
    """
    kept: list[Mark] = []
    for run in _runs(text, marks, _is_join):
        values = [mark.value for mark in run]
        if len(set(values)) == 1 or (len(run) == 2 and _on_lines(text, *run)):
            kept.extend(run)
        elif options and len(run) == options + 1 and len(set(values[1:])) == options:
            kept.append(run[0])
        elif options and len(run) == options + 1 and len(set(values[:-1])) == options:
            kept.append(run[-1])
    if not options:
        return kept
    listed: set[int] = set()
    for run in _runs(text, kept, _is_description):
        for first in range(len(run)):
            part = run[first : first + options]
            if len({mark.value for mark in part}) == options:
                listed.update(mark.start for mark in part)
    return [mark for mark in kept if mark.start not in listed]


def _runs(text: str, marks: Sequence[Mark], joined: Callable[[str], bool]) -> list[list[Mark]]:
    runs: list[list[Mark]] = []
    for mark in marks:
        if runs and joined(text[runs[-1][-1].end : mark.start]):
            runs[-1].append(mark)
        else:
            runs.append([mark])
    return runs


def _on_lines(text: str, one: Mark, other: Mark) -> bool:
    """Whether two marks are on lines of their own, with no "or" between them."""
    gap = text[one.end : other.start]
    return "\n" in gap and not re.search(r"\w", gap)


def _is_join(gap: str) -> bool:
    return _JOIN.fullmatch(gap) is not None


def _is_description(gap: str) -> bool:
    return len(gap) <= _DESCRIBED and not _CONCLUDES.search(gap) and not _TENTATIVE.search(gap)


# Conclusion --------------------------------------------------------------------------------------


def conclusion(marks: Sequence[Mark], *, cut: bool = False) -> Mark | None:
    """The last mark of the highest rank; None where no mark concludes.

    Args:
        cut: the reply reached its token limit: only an announced verdict counts.
    """
    lowest = Rank.CONCLUDING if cut else Rank.TENTATIVE
    able = [mark for mark in marks if mark.rank >= lowest]
    if not able:
        return None
    highest = max(mark.rank for mark in able)
    return [mark for mark in able if mark.rank == highest][-1]
