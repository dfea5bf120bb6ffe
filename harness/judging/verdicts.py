"""Parsers of judge replies: pure functions from untrusted text to a verdict or None.

Two modes. `strict` (default) reads what the judge concludes in its answer, without its thought (see
`conclusions`); it returns None where there is no conclusion, which is retried and counted. `compat`
returns what the original tools return (FastChat llm_judge/common.py, arena-hard-auto
utils/judge_utils.py), errors included, to reproduce published tables. Every pattern is linear in
the length of the reply.

`VERSION` is part of the judge's fingerprint: raise it whenever a reply can be read differently.
"""

from __future__ import annotations

import ast
import math
import random
import re
from collections.abc import Callable, Iterable
from typing import Literal, cast

from harness.core.errors import unknown
from harness.judging.conclusions import (
    Mark,
    Rank,
    Value,
    after,
    before,
    conclusion,
    find_marks,
    ranked,
    tidied,
    without_lists,
)
from harness.judging.labels import LABEL_STATES
from harness.models.thoughts import split_thought

Mode = Literal["strict", "compat"]
PairwiseVerdict = Literal["A", "B", "tie", "error"]

VERSION = 2
RATING_SCALE = (1.0, 10.0)  # least and greatest rating
COMPAT_MISSING = -1  # the original's rating of a reply without one

# Original patterns; `\d+(?:\.\d*)?` accepts what `\d+\.?\d*` does without its backtracking.
_COMPAT_RATING = (re.compile(r"\[\[(\d+(?:\.\d*)?)\]\]"), re.compile(r"\[(\d+(?:\.\d*)?)\]"))
_COMPAT_LABEL = (re.compile(r"\[\[([AB<>=]+)\]\]"), re.compile(r"\[([AB<>=]+)\]"))

# Content of a rating's bracket: "7", "6,5", "8/10", "8 out of 10", "8 points".
_RATING = re.compile(
    r"([0-9]{1,4})(?:([.,])([0-9]{0,4}))?(?:\s{0,4}(?:/\s{0,4}10|out\s{1,4}of\s{1,4}(?:10|ten)))?"
    r"(?:\s{0,4}(?:points?|pts|stars?))?",
    re.IGNORECASE,
)
_OF_RATING = re.compile(
    r"\b(?:rat(?:e|es|ed|ing)|scor(?:e|es|ed|ing)|grad(?:e|es|ed|ing)|marks?|points?|give|gives|giving"
    r"|award\w*|assign\w*|verdict|final|overall|deserv\w+|earn\w*|merit\w*|settle|worth|evaluat\w+"
    r"|total|conclu\w+|judge?ment|quality|think|fair)\b",
    re.IGNORECASE,
)
_OF_CONTENT = re.compile(
    r"\b(?:output|outputs|print|prints|printed|returns?|returned|result|results|array|matrix|list|equals?"
    r"|expected|wanted|input|index|indices|value|values|code|got|shows?|displays?|element|elements"
    r"|citation|cites?|reference|see|page|section|table|figure|footnote|appendix|paper)\b",
    re.IGNORECASE,
)
_DOUBLE = re.compile(r"\[\s{0,3}\[")
_OUT_OF_TEN = re.compile(r"[ \t*]{0,4}(?:/[ \t]{0,4}10\b|out[ \t]+of[ \t]+(?:10|ten)\b)", re.I)
_PART = re.compile(
    r"(?:^|[,;.\n])[\s*_-]{0,6}((?:[A-Za-z-]{1,20}\s?){1,3})[\s*_]{0,4}[:=][\s*_]{0,4}$"
)

_WHO = re.compile(
    r"\b(?:assistant|model|answer|response|system|chatbot)(?:[ '\u2019]s)?\s+", re.IGNORECASE
)
_PAIRWISE_VALUES: dict[str, PairwiseVerdict] = {"a": "A", "b": "B", "c": "tie", "tie": "tie"}
_WHOLE = {"rating", "score", "grade", "overall", "total", "final", "verdict", "overall rating"}
_BETTER = re.compile(
    r"\W{0,4}(?:is|was|does|performs|clearly|much|slightly|far|a bit|\s|the){0,24}?"
    r"(?:better|stronger|preferable|superior|preferred|beats|wins over|outperforms|over)"
    r"[^\[\].!?\n]{0,30}",
    re.IGNORECASE,
)

# Spellings of the signs in an Arena-Hard label.
_SIGNS = str.maketrans(
    {"≫": ">>", "≪": "<<", "»": ">>", "«": "<<", "⟩": ">", "›": ">", "≻": ">", "≺": "<", "＞": ">"}
)


def parse_rating(
    reply: str,
    mode: Mode = "strict",
    *,
    low: float = RATING_SCALE[0],
    high: float = RATING_SCALE[1],
    decimal_comma: bool = True,
    cut: bool = False,
) -> float | None:
    """Rating of an MT-Bench single answer, e.g. "Rating: [[7]]".

    strict: the concluding [[number]] within low..high ("7/10", "8 out of 10" and "6,5" are read).
    Without any double bracket, a [number] counts if its sentence speaks of a rating or it is the
    entire line. Numbers that the sentence calls an output, a value or a citation do not count.
    compat: first [[number]], else first [number], any size; -1 when there is none.

    Args:
        cut: the reply reached its token limit; only an announced rating counts then.

    Raises:
        SyntaxError: compat only, as in the original: the number is no Python literal ("08").

    >>> parse_rating("At first [[9]], yet finally Rating: [[3]]")
    3.0
    """
    if _checked(mode) == "compat":
        return _compat_rating(reply)

    def value_of(content: str) -> float | None:
        found = _RATING.fullmatch(content)
        value = _number(found, decimal_comma) if found else None
        return value if value is not None and low <= value <= high else None

    text = _answer(reply)
    single = _DOUBLE.search(text) is None
    marks = _without_parts(text, _marks(text, value_of, 0, single=single))
    found = conclusion([mark for mark in marks if _is_announced(text, mark)], cut=cut)
    return None if found is None else float(found.value)


def parse_pairwise(reply: str, mode: Mode = "strict", *, cut: bool = False) -> PairwiseVerdict:
    """Verdict of an MT-Bench pair: "A", "B", "tie" ([[C]]), or "error" when there is none.

    strict: the concluding marker, in any case, [[Tie]] included; listed options are none.
    compat: substring test in the order [[A]], [[B]], [[C]].

    Args:
        cut: the reply reached its token limit; only an announced verdict counts then.
    """
    if _checked(mode) == "compat":
        for marker, verdict in (("[[A]]", "A"), ("[[B]]", "B"), ("[[C]]", "tie")):
            if marker in reply:
                return verdict  # type: ignore[return-value]
        return "error"
    text = _answer(reply)
    found = conclusion(_compared(text, _marks(text, _choice, 3)), cut=cut)
    return "error" if found is None else cast(PairwiseVerdict, found.value)


def parse_arena_label(reply: str, mode: Mode = "strict", *, cut: bool = False) -> str | None:
    """Label of an Arena-Hard game, e.g. "A>>B"; None when there is none.

    strict: the concluding label of the legal ten in double brackets, else in single ones that are
    announced or an entire line; blanks, lower case, "Assistant A" and the signs ≫ ≪ are read;
    listed options are no verdict.
    compat: last match of the original character class; the result may be no legal label
    ("[[A]]" gives "A"), which the label table then refuses with a KeyError.

    Args:
        cut: the reply reached its token limit; only an announced verdict counts then.

    >>> parse_arena_label("[[A>B]] and by the way [[=]]")
    'A>B'
    """
    if _checked(mode) == "compat":
        shout = reply.upper()
        for pattern in _COMPAT_LABEL:
            matches = pattern.findall(shout)
            if matches:
                return str(matches[-1])
        return None
    text = _answer(reply)
    marks = _marks(text, _label, 5) or [
        mark for mark in _marks(text, _label, 5, single=True) if _is_announced(text, mark)
    ]
    found = conclusion(marks, cut=cut)
    return None if found is None else str(found.value)


def _answer(reply: str) -> str:
    """The tidied reply without its thought; "" where the thought never ends."""
    return tidied(split_thought(reply).answer or "")


def _marks(
    text: str, value_of: Callable[[str], Value | None], options: int, *, single: bool = False
) -> list[Mark]:
    found = ranked(text, find_marks(text, value_of, single=single))
    return without_lists(text, found, options)


def probability_from_logprobs(
    top_logprobs: Iterable[tuple[str, float]], *, first: str = "m", second: str = "M"
) -> float | None:
    """Probability p in [0, 1] of the first identifier, from the log-probabilities of one token.

    p = exp(l_first) / (exp(l_first) + exp(l_second)), where an absent token has l = -inf; None if
    neither token is among the alternatives.

    >>> probability_from_logprobs([("m", -0.5), ("M", -0.5)])
    0.5
    """
    best = {first: -math.inf, second: -math.inf}
    for token, logprob in top_logprobs:
        if token in best and not math.isnan(logprob):
            best[token] = max(best[token], logprob)
    ahead, behind = best[first], best[second]
    if ahead == behind == -math.inf:
        return None
    # Of the difference only: a constant added to both cancels, and nothing under- or overflows.
    found = 0.5 if ahead == behind else _logistic(ahead - behind)
    # Rounded to a multiple of 2**-52: 1 - p is then exact, and stored judgments keep their bytes.
    return (1.0 + found) - 1.0


def identifier_mass(
    top_logprobs: Iterable[tuple[str, float]], *, first: str = "m", second: str = "M"
) -> float:
    """Probability of the two identifiers together, among all tokens.

    Where it is small, the judge meant to say something else, and `probability_from_logprobs` weighs
    what it did not say.

    >>> round(identifier_mass([("The", -0.1), ("m", -3.0), ("M", -4.0)]), 3)
    0.068
    """
    found: dict[str, float] = {}
    for token, logprob in top_logprobs:
        if token in (first, second) and not math.isnan(logprob):
            found[token] = max(found.get(token, -math.inf), logprob)
    return min(1.0, math.fsum(map(math.exp, found.values())))


def is_switched(instruction: str, seed: int = 0) -> bool:
    """Whether AlpacaEval shows the model's answer first; depends on the instruction alone.

    The original draw: Random("is_switched_outputs" + instruction + seed) chooses from
    [False, True], so all models are judged in the same order.
    """
    draw = random.Random(f"is_switched_outputs{instruction}{seed}")
    return draw.choices([False, True], k=1)[0]


def _checked(mode: str) -> str:
    if mode not in ("strict", "compat"):
        raise unknown("parser mode", mode, ("strict", "compat"))
    return mode


def _compat_rating(reply: str) -> float:
    for pattern in _COMPAT_RATING:
        match = pattern.search(reply)
        if match:
            value: float = ast.literal_eval(match[1])
            return value
    return COMPAT_MISSING


def _number(match: re.Match[str], decimal_comma: bool) -> float | None:
    whole, mark, decimals = match[1], match[2], match[3]
    if mark == "," and not (decimal_comma and decimals):
        return None
    return float(f"{whole}.{decimals or 0}")


def _is_announced(text: str, mark: Mark) -> bool:
    """Whether a value is given as a verdict rather than quoted, cited or computed."""
    if mark.rank == Rank.CONCLUDING:
        return True
    said, then = before(text, mark, 0), after(text, mark)
    if _OUT_OF_TEN.match(then):
        return True
    announced, content = _OF_RATING.search(said), _OF_CONTENT.search(said)
    double = _is_double(text, mark)
    if announced and not (content and (not double or content.start() > announced.start())):
        return True
    if content or _OF_CONTENT.search(then):
        return False
    alone, ends = not re.search(r"\w", said), not re.search(r"\w", then)
    if double:
        return alone or ends or bool(_OF_RATING.search(then))
    return alone and ends


def _is_double(text: str, mark: Mark) -> bool:
    return _DOUBLE.match(text, mark.start) is not None


def _without_parts(text: str, marks: list[Mark]) -> list[Mark]:
    """The marks, unless all they give is one number per criterion ("Depth: [[4]]")."""
    plain = [mark for mark in marks if mark.rank >= Rank.PLAIN]
    named = [_PART.search(before(text, mark, 0)) for mark in plain]
    criteria = {found[1].strip().lower() for found in named if found} - _WHOLE
    if len(criteria) == len(plain) and len({m.value for m in plain}) > 1:
        return []
    return marks


def _choice(content: str) -> str | None:
    plain = _WHO.sub("", content.lower() + " ").strip()
    return _PAIRWISE_VALUES.get(plain)


def _compared(text: str, marks: list[Mark]) -> list[Mark]:
    """The marks, where "[[A]] is better than [[B]]" keeps the better one."""
    kept: list[Mark] = []
    for mark in marks:
        gap = text[kept[-1].end : mark.start] if kept else ""
        if kept and len(gap) <= 80 and "than" in gap and _BETTER.match(gap):
            continue
        kept.append(mark)
    return kept


def _label(content: str) -> str | None:
    """A legal Arena-Hard label spelled with blanks, lower case or other signs, else None."""
    plain = _WHO.sub("", content).translate(_SIGNS)
    label = "".join(plain.split()).upper()
    return label if label in LABEL_STATES else None


def _logistic(gap: float) -> float:
    """1 / (1 + exp(-gap)) without overflow."""
    if gap >= 0:
        return 1.0 / (1.0 + math.exp(-gap))
    odds = math.exp(gap)
    return odds / (1.0 + odds)
