"""Parsers of judge replies: pure functions from untrusted text to a verdict or None.

Two modes. `strict` (default) removes reasoning blocks and takes the last valid verdict; it returns
None where there is none, which is retried and counted. `compat` returns what the original tools
return (FastChat llm_judge/common.py, arena-hard-auto utils/judge_utils.py), errors included, to
reproduce published tables. Every pattern is linear in the length of the reply.

`VERSION` is part of the judge's fingerprint: raise it whenever a reply can be read differently.
"""

from __future__ import annotations

import ast
import math
import random
import re
from collections.abc import Iterable
from typing import Literal

from harness.core.errors import unknown
from harness.judging.labels import ARENA_LABELS, LABEL_STATES

Mode = Literal["strict", "compat"]
PairwiseVerdict = Literal["A", "B", "tie", "error"]

VERSION = 1
RATING_SCALE = (1.0, 10.0)  # least and greatest rating
COMPAT_MISSING = -1  # the original's rating of a reply without one

_REASONING = re.compile(r"<(/?)(think|thinking|reasoning|reflection)>", re.IGNORECASE)

# Original patterns; `\d+(?:\.\d*)?` accepts what `\d+\.?\d*` does without its backtracking.
_COMPAT_RATING = (re.compile(r"\[\[(\d+(?:\.\d*)?)\]\]"), re.compile(r"\[(\d+(?:\.\d*)?)\]"))
_COMPAT_LABEL = (re.compile(r"\[\[([AB<>=]+)\]\]"), re.compile(r"\[([AB<>=]+)\]"))

_NUMBER = r"[ \t]{0,4}([0-9]{1,4})(?:([.,])([0-9]{0,4}))?[ \t]{0,4}(?:/[ \t]{0,4}10[ \t]{0,4})?"
_RATING = re.compile(r"\[\[" + _NUMBER + r"\]\]")
_SINGLE_RATING = re.compile(r"(?<!\[)\[" + _NUMBER + r"\](?!\])")
_RATING_WORD = re.compile(
    r"\b(?:rat(?:e|ed|ing)|scor(?:e|ed|ing)|grad(?:e|ed)|mark|give|award|assign|verdict|final"
    r"|overall)\b",
    re.IGNORECASE,
)
_OUT_OF_TEN = re.compile(r"[ \t*]{0,4}(?:/[ \t]{0,4}10\b|out[ \t]+of[ \t]+(?:10|ten)\b)", re.I)
_SENTENCE_END = re.compile(r"[.!?;]\s|\n")
_ATTACHED = re.compile(r"[A-Za-z0-9_\])]")

_PAIRWISE = re.compile(r"\[\[[ \t]{0,4}(a|b|c|tie)[ \t]{0,4}\]\]", re.IGNORECASE)
_PAIRWISE_VALUES: dict[str, PairwiseVerdict] = {"a": "A", "b": "B", "c": "tie", "tie": "tie"}

_DOUBLE = re.compile(r"\[\[([^\[\]]{1,24})\]\]")
_SINGLE = re.compile(r"\[([^\[\]]{1,24})\]")
_SIGNS = str.maketrans({"≫": ">>", "≪": "<<", "＞": ">", "＜": "<", "＝": "="})


def strip_reasoning(reply: str) -> str:
    """`reply` without its reasoning: <think>...</think> and similar blocks.

    A block that is never closed extends to the end (a truncated reply has no verdict). A closing
    tag without an opening one ends a block that began in the prompt: the text before it is removed.

    >>> strip_reasoning("<think>maybe [[2]]</think> Rating: [[8]]")
    ' Rating: [[8]]'
    """
    kept: list[str] = []
    depth, start = 0, 0
    for tag in _REASONING.finditer(reply):
        if not tag[1]:
            if depth == 0:
                kept.append(reply[start : tag.start()])
            depth += 1
        elif depth == 0:
            kept.clear()
            start = tag.end()
        else:
            depth -= 1
            start = tag.end()
    if depth == 0:
        kept.append(reply[start:])
    return "".join(kept)


def parse_rating(
    reply: str,
    mode: Mode = "strict",
    *,
    low: float = RATING_SCALE[0],
    high: float = RATING_SCALE[1],
    decimal_comma: bool = True,
) -> float | None:
    """Rating of an MT-Bench single answer, e.g. "Rating: [[7]]".

    strict: the last [[number]] within low..high ("7/10", blanks and "6,5" are accepted; a bracket
    attached to a name, as in `a[[3]]`, is code). In a reply without double brackets, the last
    [number] counts if its sentence mentions a rating or if it is the entire line.
    compat: first [[number]], else first [number], of any size; -1 if there is none.

    Raises:
        SyntaxError: compat only, as in the original: the number is no Python literal ("08").

    >>> parse_rating("At first [[9]], yet finally Rating: [[3]]")
    3.0
    """
    if _checked(mode) == "compat":
        return _compat_rating(reply)
    text = strip_reasoning(reply)
    if "[[" in text:
        doubles = [m for m in _RATING.finditer(text) if not _is_index(text, m.start())]
        values = [_number(m, decimal_comma) for m in doubles]
    else:
        singles = _SINGLE_RATING.finditer(text)
        values = [_number(m, decimal_comma) for m in singles if _speaks_of_rating(text, m)]
    legal = [value for value in values if value is not None and low <= value <= high]
    return legal[-1] if legal else None


def parse_pairwise(reply: str, mode: Mode = "strict") -> PairwiseVerdict:
    """Verdict of an MT-Bench pair: "A", "B", "tie" ([[C]]), or "error" if there is none.

    strict: the last marker, upper or lower case, [[Tie]] included; a reply whose only markers are
    the three options in their order repeats the instruction and is an error.
    compat: substring test in the order [[A]], [[B]], [[C]].
    """
    if _checked(mode) == "compat":
        for marker, verdict in (("[[A]]", "A"), ("[[B]]", "B"), ("[[C]]", "tie")):
            if marker in reply:
                return verdict  # type: ignore[return-value]
        return "error"
    found = [_PAIRWISE_VALUES[m[1].lower()] for m in _PAIRWISE.finditer(strip_reasoning(reply))]
    if not found or found == ["A", "B", "tie"]:
        return "error"
    return found[-1]


def parse_arena_label(reply: str, mode: Mode = "strict") -> str | None:
    """Label of an Arena-Hard game, e.g. "A>>B"; None if there is none.

    strict: the last of the ten legal labels in double brackets, else in single ones; blanks, lower
    case and the signs ≫ ≪ are accepted; a reply that only repeats the five options in the order of
    the prompt has no verdict.
    compat: the last match of the original character class; the result may be an illegal label
    ("[[A]]" gives "A"), for which the label table raises a KeyError.

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
    text = strip_reasoning(reply)
    for pattern in (_DOUBLE, _SINGLE):
        labels = [label for m in pattern.finditer(text) if (label := _label(m[1]))]
        if labels:
            return None if tuple(labels) == ARENA_LABELS else labels[-1]
    return None


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


def _is_index(text: str, start: int) -> bool:
    """Whether a bracket is attached to a name (`a[[3]]`) other than rating or score."""
    if start == 0 or not _ATTACHED.match(text[start - 1]):
        return False
    return not text[max(0, start - 6) : start].lower().endswith(("rating", "score"))


def _speaks_of_rating(text: str, match: re.Match[str]) -> bool:
    """Whether a single-bracket number is a rating, not a citation or an index."""
    if _is_index(text, match.start()):
        return False
    window = text[max(0, match.start() - 200) : match.start()]
    before = _SENTENCE_END.split(window)[-1]
    after = text[match.end() : match.end() + 40]
    if _OUT_OF_TEN.match(after) or _RATING_WORD.search(before):
        return True
    rest = after.split("\n", 1)[0]
    return not before.strip(" \t*") and not rest.strip(" \t*.")


def _label(content: str) -> str | None:
    """The legal Arena-Hard label that `content` spells (blanks, case and signs aside), or None."""
    plain = content.replace("&gt;", ">").replace("&lt;", "<").translate(_SIGNS)
    label = "".join(plain.split()).upper()
    return label if label in LABEL_STATES else None


def _logistic(gap: float) -> float:
    """1 / (1 + exp(-gap)) without overflow."""
    if gap >= 0:
        return 1.0 / (1.0 + math.exp(-gap))
    odds = math.exp(gap)
    return odds / (1.0 + odds)
