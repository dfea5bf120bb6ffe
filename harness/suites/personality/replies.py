"""Parsers of replies about authors: pure functions from untrusted text to a value or a status.

Steps, after PsyCoT's answer format: clean the text (reasoning blocks, full-width characters,
markup, a continued dialogue), then look for a tagged answer (`SCORE: 4`), a bare one (the first
token or line), the text of an option, and the wording of the scale; otherwise the reply is a
refusal, ambiguous or unparsed. A value is always one of those offered, and nothing is inferred from
options that a reply rules out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from harness.suites.personality.questionnaires import POINTS, Item
from harness.suites.personality.reply_text import (
    BOTH,
    GAP,
    HEDGE,
    NOT,
    NOTHING,
    OUT,
    REFUSAL,
    SLOT,
    UNSURE_CLAUSE,
    Answer,
    denied,
    first_answer,
    one_of,
    tidy,
)

__all__ = ["Answer", "read_all", "read_choice", "read_item", "read_score"]

# Ratings

_WORDS = {
    word: number
    for number, words in enumerate(
        ("zero", "one 一", "two ii 二", "three iii 三", "four iv 四", "five v 五", "six", "seven",
         "eight", "nine", "ten")
    )
    for word in words.split()
}  # fmt: skip
_NUMBER = rf"[+-]?\d{{1,9}}(?:[.,]\d{{1,9}})?(?![\d%])|(?:{'|'.join(_WORDS)})(?!\w)"
_LEAD = (
    r"(?:(?:between|from|about|around|approximately|roughly|maybe|probably|perhaps|only|an?|the|at)"
    r"[ \t]{1,3})"
)
_VALUE = re.compile(
    rf"[ \t(:=+]{{0,4}}{_LEAD}{{0,3}}({_NUMBER})"
    rf"(?:{GAP}(/|-|,|&|\bto\b|\bor\b|\band\b|out of(?: a(?: possible)?)?|of){GAP}"
    rf"(?:(?:maybe|perhaps|possibly)[ \t])?({_NUMBER}))?",
    re.I,
)
_NOUN = re.compile(
    r"[ \t]{1,3}(?!(?:out|of|because|since|as|for|on|based|given|and|but|or|with|to|here|from|in"
    r"|due|agree|disagree|neutral|neither|strongly|slightly|points?|stars?|is|seems|would"
    r"|overall)\b)[a-z]|(?:st|nd|rd|th)\b|[a-z_]",
    re.I,
)
_SCORE_TAG = re.compile(
    r"\b(?:score|rating|answer|response|value|grade|verdict)(?:[ \t]{1,3}(?:is|of|would be|will be"
    r"|should be))?\s{0,4}(?:[:=]|-{1,2}>?|→|=>)?\s{0,4}",
    re.I,
)
_LABELLED = re.compile(r"(?m)^[^\d\n:=]{1,30}[:=](?=[ \t]*\S{1,24}[ \t]*$)")
_CUE = re.compile(
    r"(?:\b(?:say|rate|rated|rating|score|scored|give|giving|assign|choose|choosing|pick|select"
    r"|answer|go with|go for|settle on|opt for|lean towards?|estimate|be|is|deserves|it's|at)\b"
    r"|=|→|->)(?:[ \t]+(?!between\b|from\b)[a-z']{1,15}){0,6}?[ \t(]{1,3}"
    rf"(?=(?!one\b)(?:{_LEAD}{{0,3}})(?:{_NUMBER}))",
    re.I,
)
_SCALE_MENTION = re.compile(
    r"(?:scale|range|rate|score|number)?[ \t]{0,2}(?:of|from|between)?[ \t]{0,2}(?<![\d.])1"
    r"[ \t]{0,2}(?:\([^()]{0,30}\)[ \t]?)?(?:-|to|and|through|/)[ \t]{0,2}5(?![\d.])"
    r"(?:[ \t]?\([^()]{0,30}\):?)?|(?<!\d)1\D{1,40}2\D{1,40}3\D{1,40}4\D{1,40}5(?!\d)",
    re.I,
)
_EACH = re.compile(r"(?<!\d)1\W{1,3}2\W{1,3}3\W{1,3}4\W{1,3}5(?!\d)")  # the scale, not an answer
_LIST = re.compile(r"(?m)^[ \t]*\d[.)][ \t]+(?=\S)")
_MILD = r"(?:a little|slightly|somewhat|a bit|mildly|moderately)"
_FULL = r"(?:strongly|completely|totally|fully|very much)"
_SCALE = [
    (3, re.compile(r"\bneutral\b|\bneither\b.{0,20}\bnor\b(?: dis)?[ \t]?agree", re.I)),
    (2, re.compile(rf"\b(?:disagree {_MILD}|{_MILD} disagree)\b", re.I)),
    (1, re.compile(rf"\b(?:disagree {_FULL}|{_FULL} disagree)\b", re.I)),
    (4, re.compile(rf"\b(?:agree {_MILD}|{_MILD} agree)\b", re.I)),
    (5, re.compile(rf"\b(?:agree {_FULL}|{_FULL} agree)\b", re.I)),
]


def read_score(reply: str, slot: int | None = None) -> Answer:
    """Parse a rating from 1 to 5.

    Args:
        slot: number of the asked item; an answer labelled with another number is ignored. None
            accepts the first answer.

    >>> read_score("**S3 - SCORE: 4/5**").value, read_score("3.5").status
    (4, 'out_of_range')
    """
    return first_answer(reply, slot, _score_in)


def _score_in(text: str) -> Answer | None:
    text = _EACH.sub(" ", text)
    tagged = []
    for tag in _SCORE_TAG.finditer(text):
        marked = ":" in tag[0] or "=" in tag[0]
        if marked or not denied(text, tag.start()):
            line = text[tag.end() : tag.end() + 60].split("\n")[0]
            tagged.append(_value(text, tag.end()) or (_worded(line) if marked else None))
    if (found := one_of([answer for answer in tagged if answer is not None])) is not None:
        return found
    if len(_LIST.findall(text)) > 1:
        text = _LIST.sub("", text)
    text = _SCALE_MENTION.sub(" ", text).strip()
    if (bare := _bare_score(text)) is not None:
        return bare
    cued = [_value(text, cue.end()) for cue in _CUE.finditer(text)
            if not denied(text, cue.end())]  # fmt: skip
    if (found := one_of([answer for answer in cued if answer is not None])) is not None:
        return found
    return _loose(text) or _worded(text)


def _bare_score(text: str) -> Answer | None:
    """Answer in the first token, or in the first line with a short label and a value."""
    labels = [_value(text, label.end()) for label in _LABELLED.finditer(text)]
    return _value(text, 0) or next((answer for answer in labels if answer is not None), None)


def _loose(text: str) -> Answer | None:
    """Answer given by a number from 1 to 5 anywhere in the text that does not count something."""
    found = []
    for match in re.finditer(r"(?<!\w)between[ \t]|(?<![\w.,/+-])[1-5](?![\d.,/%]?\d)", text):
        answer = _value(text, match.start())
        if answer is not None and not denied(text, match.start()):
            found.append(answer)
    return one_of(found)


def _value(text: str, place: int) -> Answer | None:
    """Answer in the one or two numbers at `place`; None if they count something ("3 reasons")."""
    match = _VALUE.match(text, place)
    if match is None or _NOUN.match(text, match.end()):
        return None
    first, second = _number(match[1]), _number(match[3])
    if match[3] is not None and second is not None:
        between = match[2].lower()
        if between in ("/", "of") or between.startswith("out"):
            if second != POINTS:
                return BOTH if between == "/" and second < POINTS else OUT
        elif (first, second) == (1, POINTS):
            return None  # the scale, not an answer
        elif second != first:
            return BOTH
    return Answer(int(first), "ok") if first in range(1, POINTS + 1) else OUT


def _number(text: str | None) -> float:
    if text is None:
        return float("nan")
    word = _WORDS.get(text.lower())
    return float(text.replace(",", ".")) if word is None else float(word)


def _worded(text: str) -> Answer | None:
    """Answer in the words of the scale."""
    found = []
    for number, pattern in _SCALE:
        for match in pattern.finditer(text):
            if not denied(text, match.start()):
                found.append(Answer(number, "ok"))
        text = pattern.sub(" ", text)
    if not found and re.fullmatch(r"\W*(?:I )?(?:dis)?agree\W*", text, re.I):
        return BOTH  # could be a little or strongly
    return one_of(found)


# Choices

_CHOICE_TAG = re.compile(
    r"\b(?:choice|answer|option|selection|response|verdict|decision|conclusion|label)"
    r"(?:[ \t]{1,3}(?:is|would be|will be|of))?\s{0,4}((?:[:=]|-{1,2}>?|→|=>)?)\s{0,4}"
    r"(?:(?:option|choice|letter)[ \t]{1,2})?",
    re.I,
)
_LETTER = re.compile(r"[ \t(:.'-]{0,4}([A-Za-z])(?!\w|'\w)\)?")
_MORE = re.compile(rf"{GAP}(?:/|\||,|&|\bor\b|\band\b){GAP}(?:or |and )?\(?([A-H])\b(?!')", re.I)
# An "A" followed by these is not an article.
_VERB = re.compile(
    r"[ \t]{1,3}(?:because|since|as|is|seems|fits|for|given|based|due|would|rather|over|not|or|and"
    r"|applies|with|appears|more|instead|but|than)\b|\W{0,4}$|[ \t]{0,3}[^\w\s'’]|[ \t]{0,3}\n"
)
_CHOICE_CUE = re.compile(
    r"\b(?:say|choose|choosing|pick|select|answer|go with|go for|settle on|opt for|lean(?:ing)?"
    r"(?: more)? towards?|likely(?: to be)?|is|be|be[ ]?come|it's|think|believe|option|choice)"
    r"[ \t]{1,3}(?:option[ \t])?(?=\(?[A-Za-z]\b)",
    re.I,
)
_BOTH_OR_NONE = re.compile(
    r"\b(?:both(?!\s+\w+\s+(?:point|suggest|indicate))|neither|either|none|in between|equally)\b",
    re.I,
)
_LISTED = re.compile(r"(?<!\w)([A-D])[:)](?=[ \t]*\w)")
_LINE_NUMBER = re.compile(r"^\W{0,3}\d{1,2}[ \t]{0,2}[.):-][ \t]*(?=\S)")


def read_choice(reply: str, options: Mapping[str, str], slot: int | None = None) -> Answer:
    """Parse the letter of a choice.

    Args:
        options: text of each option, by letter.
        slot: see `read_score`.

    >>> read_choice("Not sure whether A or B", {"A": "this", "B": "that", "C": "Not sure"}).value
    'C'
    """
    return first_answer(reply, slot, lambda text: _choice_in(text, options))


def _choice_in(text: str, options: Mapping[str, str]) -> Answer | None:
    text = _LINE_NUMBER.sub("", text)
    tagged = []
    for tag in _CHOICE_TAG.finditer(text):
        found = _letter(text, tag.end(), options, lower=True, marked=bool(tag[1]))
        if found is None and tag[1]:
            line = text[tag.end() : tag.end() + 200].split("\n")[0]
            found = _other(line, options) or _digit(line)
        if found is not None and not (not tag[1] and denied(text, tag.start())):
            tagged.append(found)
    if (answer := one_of(tagged)) is not None:
        return answer
    if len(set(_LISTED.findall(text))) > 1:  # the reply repeats the options
        return BOTH
    return _letter(text, 0, options, lower=True, marked=False) or _other(text, options)


def _other(text: str, options: Mapping[str, str]) -> Answer | None:
    """Answer without a tag: an option's text, uncertainty, or a letter in a sentence."""
    unsure = next((letter for letter, words in options.items() if HEDGE.search(words)), None)
    rest = text
    if unsure is not None:
        rest = UNSURE_CLAUSE.sub(" ", text)
    found = _spelled(rest, options, unsure) or _lettered(rest, options)
    if found is None and unsure is not None and rest != text:
        return Answer(unsure, "ok")
    if found in (None, BOTH) and REFUSAL.search(UNSURE_CLAUSE.sub(" ", text)):
        return None
    if found is None and _BOTH_OR_NONE.search(rest):
        return BOTH
    return found or _distinctive(rest, options)


def _letter(
    text: str, place: int, options: Mapping[str, str], *, lower: bool, marked: bool
) -> Answer | None:
    """Answer given by the letter at `place`; None if it is a word of a sentence."""
    match = _LETTER.match(text, place)
    if match is None or (match[1].islower() and not lower):
        return None
    letter, rest = match[1].upper(), text[match.end() : match.end() + 200]
    follows = _VERB.match(rest)
    own = options.get(letter, "").lower()
    spelled = own and rest.strip().lower().startswith(own)
    if follows is None and not spelled and (letter in "AI" or match[1].islower()):
        return None  # "A careful reading", "a person"
    if letter > "H" and not (marked and re.match(r"\W*(?:\n|$)", rest)):
        return None  # "I", or the "Q:" of a question
    more = _MORE.match(rest)
    if more is not None and more[1].upper() != letter and (more[1].isupper() or marked):
        return BOTH
    other = [words for name, words in options.items() if name != letter and words]
    head = rest.split("\n")[0].lower().lstrip(" \t:;,.()'-")
    contradicts = any(re.match(rf"{re.escape(words.lower())}\b", head) for words in other)
    if contradicts and not (own and head.startswith(own)):
        return BOTH  # the letter of one option and the text of another
    return Answer(letter, "ok") if letter in options else OUT


def _digit(line: str) -> Answer | None:
    return OUT if re.match(r"[ \t(]*\d{1,3}\W*$", line) else None


def _spelled(text: str, options: Mapping[str, str], unsure: str | None) -> Answer | None:
    """Answer given by the text of an option that is not denied; longer options first."""
    found, ruled_out = [], False
    for letter, words in sorted(options.items(), key=lambda pair: -len(pair[1])):
        words = words.strip().rstrip(".")
        if not words or letter == unsure:
            continue
        pattern = re.compile(rf"(?<!\w){re.escape(words)}(?!\w)", re.I)
        for match in pattern.finditer(text):
            if denied(text, match.start()):
                ruled_out = True
            else:
                found.append(Answer(letter, "ok"))
        text = pattern.sub(lambda match: "_" * len(match[0]), text)
    return NOTHING if ruled_out and not found else one_of(found)


def _lettered(text: str, options: Mapping[str, str]) -> Answer | None:
    """Answer given by a letter in a sentence; letters after a verb of choice have priority."""
    chosen: list[Answer] = []
    named: list[Answer] = []
    cues = {cue.end() for cue in _CHOICE_CUE.finditer(text)}
    for match in re.finditer(r"(?<![\w'])\(?([A-Z])\)?(?!\w|'\w)", text):
        answer = _letter(text, match.start(), options, lower=False, marked=False)
        if answer is None or answer == OUT or denied(text, match.start()):
            continue
        (chosen if match.start() in cues else named).append(answer)
    return one_of(chosen) or one_of(named)


def _distinctive(text: str, options: Mapping[str, str]) -> Answer | None:
    """Answer given by a short reply with a word that only one option contains, such as "low"."""
    tokens = re.findall(r"[a-z]{3,}", text.lower())
    if not 0 < len(tokens) <= 6 or NOT.search(text):
        return None
    words = {
        letter: set(re.findall(r"[a-z]{3,}", option.lower())) for letter, option in options.items()
    }
    found = []
    for letter, own in words.items():
        others = set().union(*(other for name, other in words.items() if name != letter))
        if (own - others) & set(tokens):
            found.append(Answer(letter, "ok"))
    return one_of(found)


# All items in one reply


def read_all(reply: str, items: Sequence[Item]) -> tuple[list[Answer], str]:
    """Parse a reply to all items: the answer to each item, and the rest, with the choice.

    Items are found by their labels (S0, S1, ...); without labels, by lines, if there is one line
    per item.
    """
    text = tidy(reply)
    choices = list(re.finditer(r"\bchoice\s{0,3}[:=]", text, re.I))
    end = choices[-1].start() if choices else len(text)
    body, rest = text[:end], text[end:]
    found = list(SLOT.finditer(body))
    given: dict[int, set[Answer]] = {}
    ends = [match.start() for match in found[1:]] + [len(body)]
    parts = [(int(match[1]), body[match.end() : stop]) for match, stop in zip(found, ends)]
    lines = [line for line in body.splitlines() if line.strip()]
    if not found and len(lines) == len(items):
        parts = list(enumerate(_LINE_NUMBER.sub("", line) for line in lines))
    for slot, part in parts:
        if slot < len(items):
            given.setdefault(slot, set()).add(read_item(part, items[slot]))
    if not choices and found:
        rest = "\n".join(body[found[-1].start() :].splitlines()[1:])
    missing = Answer(None, "unparsed" if text else "empty")
    return [one_of(list(given.get(n, {missing}))) or missing for n in range(len(items))], rest


def read_item(reply: str, item: Item, slot: int | None = None) -> Answer:
    """Parse the answer to one item of either kind."""
    if item.kind == "rating":
        return read_score(reply, slot)
    return read_choice(reply, item.choices, slot)
